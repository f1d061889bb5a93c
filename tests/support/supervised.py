"""A supervisor in a process of its own, over children that behave as they are told."""

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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
if behaviour == "talkative":
    print(("a line like any other " * 50 + "\\n") * 100, flush=True)  # more than a pipe holds
note("steady")
while True:
    time.sleep(0.02)
"""

DRIVER = """
import asyncio, json, os, subprocess, sys, threading
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
if options["same_signal_s"] is not None:
    supervisor_module._SAME_SIGNAL_S = options["same_signal_s"]

def refusing(call, what, error):
    def call_or_refuse(*arguments, **options):
        if (folder / f"no {what}").exists():
            (folder / f"no {what}").unlink()
            raise error
        return call(*arguments, **options)
    return call_or_refuse

subprocess.Popen = refusing(subprocess.Popen, "process", BlockingIOError(11, "no room"))
threading.Thread.start = refusing(threading.Thread.start, "thread", RuntimeError("no room"))

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

    def refuse_once(self, what: str) -> None:
        """The supervisor gets no "process", or no "thread", when it next begins one."""
        (self.folder / f"no {what}").touch()

    def was_refused(self, what: str) -> bool:
        return not (self.folder / f"no {what}").exists()

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


@contextmanager
def supervised_runs(folder: Path) -> Iterator[Start]:
    (folder / "child.py").write_text(textwrap.dedent(CHILD))
    (folder / "driver.py").write_text(textwrap.dedent(DRIVER))
    runs: list[Run] = []

    def begin(
        *children: tuple[str, str],
        grace_s: float = 5.0,
        deaths: int = 4,
        start_timeout_s: float = 20.0,
        same_signal_s: float | None = None,
        stderr: IO[str] | int = subprocess.PIPE,
    ) -> Run:
        options = {
            "children": children,
            "grace_s": grace_s,
            "deaths": deaths,
            "start_timeout_s": start_timeout_s,
            "same_signal_s": same_signal_s,
        }
        process = subprocess.Popen(
            [sys.executable, str(folder / "driver.py"), str(folder), json.dumps(options)],
            stderr=stderr,
            text=True,
        )
        runs.append(Run(folder, process))
        return runs[-1]

    try:
        yield begin
    finally:
        for run in runs:
            run.process.kill()
            run.process.communicate()
        for run in runs:
            run.wait_for(run.all_gone)
