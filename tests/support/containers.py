"""What is done to single containers: processes killed in them, networks taken, clocks moved."""

import subprocess
import time

# Leaves out the container's init process, whose command line names the program as well, and itself.
_KILL = """
import os, pathlib, signal, sys, time
mark, which = sys.argv[1].encode(), sys.argv[2]
def look():
    parents, busy = {}, set()
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        try:
            if pid in (1, os.getpid()) or mark not in (entry / "cmdline").read_bytes():
                continue
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        parents[pid] = int(parent)
        if state == "R":
            busy.add(pid)
    mains = [pid for pid, parent in parents.items() if parent not in parents]
    children = [pid for pid, parent in parents.items() if parent in mains]
    return mains, children, busy
deadline = time.monotonic() + 3
while True:
    mains, children, busy = look()
    at_work = [child for child in children if child in busy]
    if at_work or not children or time.monotonic() > deadline:
        break
targets = mains if which == "main" else at_work or children
os.kill(targets[0], signal.SIGKILL)
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

    Where it has a pool, the moment is one in which a process of that is computing.

    `docker kill` is another thing: Docker takes it for the operator's wish, and starts nothing
    again.
    """
    # The exec may die with the container before it can say that it was done.
    subprocess.run(
        ["docker", "exec", container, "python", "-c", _KILL, program, "main"],
        capture_output=True,
        timeout=60,
        check=False,
    )


def kill_child(container: str, program: str) -> None:
    """SIGKILL for a pool process, where possible one that is computing at this moment."""
    run_python(container, _KILL, program, "child")


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
