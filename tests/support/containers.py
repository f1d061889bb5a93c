"""What is done to single containers: processes killed in them, networks taken, clocks moved."""

import subprocess
import time

# By their parents: the init process and those of `docker exec` name the program as well.
_SIGNAL = """
import os, pathlib, signal, sys
mark, which, name = sys.argv[1].encode(), sys.argv[2], sys.argv[3]
parents = {}
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if mark not in (entry / "cmdline").read_bytes():
            continue
        _, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        continue
    parents[int(entry.name)] = int(parent)
[main] = [pid for pid, parent in parents.items() if parent == 1]
child = min((pid for pid, parent in parents.items() if parent == main), default=0)
target = main if which == "main" else child
if target:
    os.kill(target, signal.Signals[name])
print(target)
"""

# The official Redis image has no Python.
_KILL_REDIS = """
for p in /proc/[0-9]*; do
  read -r name < "$p/comm" && [ "$name" = redis-server ] && kill -KILL "${p#/proc/}"
done
exit 0
"""


def docker(*arguments: str, timeout_s: float = 120) -> str:
    """Runs a docker command and returns what it wrote to standard output."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(arguments)[:200]}: {done.stderr.strip()}")
    return done.stdout.strip()


def run_python(container: str, script: str, *arguments: str) -> str:
    return docker("exec", container, "python", "-c", script, *arguments)


def kill_main(container: str, program: str) -> None:
    """SIGKILL for the main process of a container, as a fault inside it would end it.

    `docker kill` is another thing: Docker takes it for the operator's wish, and starts nothing
    again.
    """
    # The exec may die with the container before it can say that it was done.
    subprocess.run(
        ["docker", "exec", container, "python", "-c", _SIGNAL, program, "main", "SIGKILL"],
        capture_output=True,
        timeout=60,
        check=False,
    )


def signal_child(container: str, program: str, signal_name: str) -> int:
    """Sends a signal to a container's pool process; returns its pid in there, 0 for none."""
    return int(run_python(container, _SIGNAL, program, "child", signal_name))


def kill_redis(container: str) -> None:
    """SIGKILL for redis-server in its container."""
    subprocess.run(
        ["docker", "exec", container, "sh", "-c", _KILL_REDIS],
        capture_output=True,
        timeout=60,
        check=False,
    )


def networks_of(container: str) -> list[str]:
    template = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
    return docker("inspect", "--format", template, container).split()


def started_at(container: str) -> str:
    """Docker's time of the container's last start; it changes with each restart."""
    return docker("inspect", "--format", "{{.State.StartedAt}}", container)


def wait_until_restarted(container: str, before: str, *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while started_at(container) == before:
        if time.monotonic() > deadline:
            raise RuntimeError(f"container {container[:12]} was not started again")
        time.sleep(0.05)
