"""The supervisor over real child processes. Each test runs it as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHILD = """
import os, signal, sys, time
name, log, behaviour = sys.argv[1:]
def note(what):
    with open(log, "a") as stream:
        stream.write(f"{what} {name} {os.getpid()}\\n")
def end(*_):
    note("term")
    if behaviour != "stubborn":
        raise SystemExit(0)
signal.signal(signal.SIGTERM, end)
if behaviour == "parent" and os.fork() == 0:
    name += "-grandchild"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
note("start")
print(f"hello from {name}", flush=True)
if behaviour == "crashing":
    raise SystemExit(7)
if behaviour == "crashing on" and not os.path.exists(log + ".room"):
    raise SystemExit(7)
note("steady")
while True:
    time.sleep(0.02)
"""

DRIVER = """
import asyncio, json, os, sys
from pathlib import Path
from rich.console import Console
from tbscreen.serve.checks import lock_folder
from tbscreen.serve.child import ChildSpec
from tbscreen.serve.errors import ServeError
from tbscreen.serve.journal import Journal
from tbscreen.serve.leash import Leash
from tbscreen.serve import supervisor as supervisor_module
from tbscreen.serve.supervisor import RestartPolicy, Supervisor

folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
supervisor_module._SAME_SIGNAL_S = options["same_signal_s"]

def spec(name, behaviour):
    async def is_ready():
        return f"start {name} " in (folder / "log").read_text()
    async def never():
        return False
    return ChildSpec(
        name,
        (sys.executable, str(folder / "child.py"), name, str(folder / "log"), behaviour),
        dict(os.environ),
        options["grace_s"],
        is_ready=never if behaviour == "unready" else is_ready,
        may_crash_on=behaviour == "crashing on",
    )

async def when_started():
    (folder / "log").open("a").write("ready\\n")

(folder / "log").touch()
with Leash(lock_fd=lock_folder(folder, patience_s=10)) as leash:
    supervisor = Supervisor(
        [spec(*pair) for pair in options["children"]],
        leash=leash,
        journal=Journal(Console(stderr=True)),
        policy=RestartPolicy(first_delay_s=0.05, deaths=options["deaths"]),
        start_timeout_s=options["start_timeout_s"],
    )
    try:
        asyncio.run(supervisor.run(when_started))
    except ServeError as error:
        sys.exit(f"gave up: {error}")
"""

Start = Callable[..., "Run"]


class Run:
    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder = folder
        self.process = process

    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 15) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def wait_until_ready(self) -> "Run":
        self.wait_for(lambda: "ready" in self.log())
        return self

    def pids(self, name: str) -> list[int]:
        return [int(line.split()[2]) for line in self.log() if line.startswith(f"start {name} ")]

    def events(self, what: str) -> list[str]:
        return [line.split()[1] for line in self.log() if line.startswith(f"{what} ")]

    def all_gone(self) -> bool:
        return not any(
            is_alive(int(line.split()[2])) for line in self.log() if line.startswith("start")
        )

    def watchdogs(self) -> list[int]:
        return [pid for pid in children_of(self.process.pid) if b"watchdog.py" in command_of(pid)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def finish(self, timeout_s: float = 15) -> str:
        _, stderr = self.process.communicate(timeout=timeout_s)
        return stderr


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    (tmp_path / "driver.py").write_text(textwrap.dedent(DRIVER))
    runs: list[Run] = []

    def begin(
        *children: tuple[str, str],
        grace_s: float = 5.0,
        deaths: int = 4,
        start_timeout_s: float = 20.0,
        same_signal_s: float = 0.5,
    ) -> Run:
        options = {
            "children": children,
            "grace_s": grace_s,
            "deaths": deaths,
            "start_timeout_s": start_timeout_s,
            "same_signal_s": same_signal_s,
        }
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "driver.py"), str(tmp_path), json.dumps(options)],
            stderr=subprocess.PIPE,
            text=True,
        )
        runs.append(Run(tmp_path, process))
        return runs[-1]

    yield begin
    for run in runs:
        run.process.kill()
        run.process.communicate()
    for run in runs:
        run.wait_for(run.all_gone)


THREE = (("one", "plain"), ("two", "plain"), ("three", "plain"))


def test_starts_in_order_and_stops_in_reverse(start: Start) -> None:
    run = start(*THREE).wait_until_ready()
    run.process.send_signal(signal.SIGTERM)
    stderr = run.finish()
    assert run.process.returncode == 0
    assert run.events("start") == ["one", "two", "three"]
    assert run.events("term") == ["three", "two", "one"]
    assert run.all_gone()
    assert "one      | hello from one" in stderr.splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_ending_signal_ends_everything(start: Start, number: signal.Signals) -> None:
    run = start(*THREE).wait_until_ready()
    run.process.send_signal(number)
    run.finish()
    assert (run.process.returncode, run.all_gone()) == (0, True)


def test_signal_during_the_start_ends_what_was_started(start: Start) -> None:
    run = start(("one", "plain"), ("two", "unready"), ("three", "plain"))
    run.wait_for(lambda: "two" in run.events("start"))
    run.process.send_signal(signal.SIGTERM)
    run.finish()
    assert run.process.returncode == 0
    assert run.events("start") == ["one", "two"]
    assert run.all_gone()


def test_killed_child_is_named_and_started_again(start: Start) -> None:
    run = start(*THREE).wait_until_ready()
    os.kill(run.pids("two")[0], signal.SIGKILL)
    run.wait_for(lambda: len(run.pids("two")) == 2)
    run.process.send_signal(signal.SIGTERM)
    assert "two was killed by SIGKILL; starting it again in 0.05 s" in run.finish()
    assert run.events("start") == ["one", "two", "three", "two"]
    assert run.events("term") == ["three", "two", "one"]


def test_crash_loop_ends_everything_and_says_so(start: Start) -> None:
    run = start(("one", "plain"), ("two", "crashing"))
    stderr = run.finish()
    assert run.process.returncode == 1
    assert run.events("start").count("two") == 4
    assert "two exited with code 7; starting it again in 0.2 s" in stderr
    assert "gave up: two exited with code 7; that was its death number 4 within 60 s" in stderr
    assert run.all_gone()


def test_child_that_may_crash_on_is_started_again_however_often_it_dies(
    start: Start, tmp_path: Path
) -> None:
    run = start(("two", "crashing on"), ("three", "unready"))
    assert "gave up: two exited" in run.finish(), "not while the whole has not started"
    (tmp_path / "log").unlink()
    room = tmp_path / "log.room"
    room.touch()
    run = start(("one", "plain"), ("two", "crashing on")).wait_until_ready()
    run.wait_for(lambda: "two" in run.events("steady"))
    room.unlink()
    os.kill(run.pids("two")[0], signal.SIGKILL)
    run.wait_for(lambda: len(run.pids("two")) >= 6)
    room.touch()
    # The sixth may look only now, and stay.
    run.wait_for(lambda: run.events("steady").count("two") == 2)
    assert is_alive(run.pids("two")[-1])
    run.process.send_signal(signal.SIGTERM)
    run.finish()
    assert run.process.returncode == 0
    assert run.events("start").count("one") == 1


def test_start_that_takes_too_long_ends_everything(start: Start) -> None:
    run = start(("one", "plain"), ("two", "unready"), start_timeout_s=6.0)
    assert "gave up: two was not ready within 6 s" in run.finish()
    assert run.process.returncode == 1
    assert run.all_gone()


def test_stubborn_child_is_killed_after_its_grace(start: Start) -> None:
    run = start(("one", "plain"), ("two", "stubborn"), grace_s=3).wait_until_ready()
    run.process.send_signal(signal.SIGTERM)
    assert "two did not end within 3 s; killing it" in run.finish()
    assert run.events("term") == ["two", "one"]
    assert (run.process.returncode, run.all_gone()) == (0, True)


def test_second_interrupt_kills(start: Start) -> None:
    run = start(("one", "plain"), ("two", "stubborn"), grace_s=60).wait_until_ready()
    run.process.send_signal(signal.SIGINT)
    run.wait_for(lambda: "two" in run.events("term"))
    time.sleep(0.7)
    assert is_alive(run.pids("two")[0])
    run.process.send_signal(signal.SIGINT)
    run.finish(timeout_s=10)
    assert run.all_gone()


def test_interrupt_that_arrives_twice_at_once_does_not_kill(start: Start) -> None:
    children = ("one", "plain"), ("two", "stubborn")
    run = start(*children, grace_s=2, same_signal_s=60).wait_until_ready()
    run.process.send_signal(signal.SIGINT)
    run.wait_for(lambda: "two" in run.events("term"))
    run.process.send_signal(signal.SIGINT)
    assert "two did not end within 2 s" in run.finish()


def test_children_have_sessions_of_their_own(start: Start) -> None:
    run = start(*THREE).wait_until_ready()
    for name in ("one", "two", "three"):
        (pid,) = run.pids(name)
        assert os.getsid(pid) == pid
    (watchdog,) = run.watchdogs()
    assert os.getsid(watchdog) == watchdog


def test_children_do_not_outlive_a_killed_supervisor(start: Start) -> None:
    run = start(("one", "parent"), ("two", "stubborn"), grace_s=3).wait_until_ready()
    run.wait_for(lambda: bool(run.pids("one-grandchild")))
    run.kill()
    run.wait_for(run.all_gone)
    assert run.events("term") == ["two", "one"]


def test_folder_stays_locked_until_a_killed_supervisors_children_are_gone(start: Start) -> None:
    first = start(("one", "stubborn"), grace_s=1.5).wait_until_ready()
    started = time.monotonic()
    first.kill()
    second = start(("two", "plain"))
    second.wait_for(lambda: bool(second.pids("two")))
    assert time.monotonic() - started > 1
    second.wait_for(lambda: not is_alive(first.pids("one")[0]))


def test_dead_watchdog_is_replaced(start: Start) -> None:
    run = start(*THREE).wait_until_ready()
    (first,) = run.watchdogs()
    os.kill(first, signal.SIGKILL)
    run.wait_for(lambda: run.watchdogs() not in ([], [first]))
    time.sleep(0.5)  # the new one reads its orders
    run.kill()
    run.wait_for(run.all_gone)


def test_dead_childs_own_children_do_not_live_on(start: Start) -> None:
    run = start(("one", "parent")).wait_until_ready()
    run.wait_for(lambda: bool(run.pids("one-grandchild")))
    os.kill(run.pids("one")[0], signal.SIGKILL)
    run.wait_for(lambda: len(run.pids("one")) == 2)
    run.wait_for(lambda: not is_alive(run.pids("one-grandchild")[0]))
