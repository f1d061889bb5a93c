"""One supervised process: started in its own session, relayed, stopped, killed with its group."""

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tbscreen.serve.journal import Journal
from tbscreen.serve.leash import Leash

_POLL_S: Final = 0.05


@dataclass(frozen=True)
class ChildSpec:
    """A process to keep running.

    Attributes:
        name: as it is shown.
        command: program and arguments.
        environment: all of it.
        directory: working directory, or None for this process's.
        stop_grace_s: seconds between SIGTERM and SIGKILL.
        is_ready: whether what it offers can be used; the next child is started after that. None
            where nothing waits for it.
        shows: which of its lines are worth showing.
        may_crash_on: once everything has started it is started again however often it dies.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    stop_grace_s: float
    directory: Path | None = None
    is_ready: Callable[[], Awaitable[bool]] | None = None
    shows: Callable[[str], bool] = lambda _: True
    may_crash_on: bool = False


class Child:
    """A spec and its process, if it runs at the moment.

    Args:
        spec: what to run.
        rank: place in the order of start.
        leash: the watchdog.
        journal: where its output goes.
    """

    def __init__(self, spec: ChildSpec, *, rank: int, leash: Leash, journal: Journal) -> None:
        self.spec = spec
        self._rank = rank
        self._leash = leash
        self._journal = journal
        self._process: subprocess.Popen[str] | None = None
        self._gone = asyncio.Event()
        self._gone.set()

    async def run(self) -> int:
        """Starts the process and waits for its end.

        Returns:
            Its exit code, or minus the number of the signal that killed it.

        Raises:
            OSError: it can not be started.
            RuntimeError: this process can have no more threads; the child has been killed.
        """
        # Its own session: Ctrl-C at the terminal reaches the supervisor alone.
        process = subprocess.Popen(
            self.spec.command,
            cwd=self.spec.directory,
            env=dict(self.spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._process = process
        self._gone.clear()
        try:
            self._leash.watch(self._rank, process.pid, self.spec.stop_grace_s)
            threading.Thread(target=self._relay, args=(process,), daemon=True).start()
            return await asyncio.to_thread(process.wait)
        finally:
            # A process pool must not go on without the process that feeds it.
            _kill_group(process.pid)
            # Only where there was no thread to wait for it.
            while process.poll() is None:
                await asyncio.sleep(_POLL_S)
            self._leash.release(self._rank)
            self._process = None
            self._gone.set()

    async def stop(self) -> None:
        """Ends the process: SIGTERM, then SIGKILL for what remains after the grace."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._gone.wait(), self.spec.stop_grace_s)
        except TimeoutError:
            self._journal.say(
                f"{self.spec.name} did not end within {self.spec.stop_grace_s:g} s; killing it"
            )
            self.kill()
            await self._gone.wait()

    def kill(self) -> None:
        """Kills the process and its group."""
        if self._process is not None:
            _kill_group(self._process.pid)

    def _relay(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if line.strip() and self.spec.shows(line):
                    self._journal.relay(self.spec.name, line.rstrip("\r\n"))


def describe_exit(code: int) -> str:
    """Returns how a process ended, from what `Child.run` returned."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _kill_group(pid: int) -> None:
    # macOS answers EPERM, not ESRCH, for a group of which only zombies are left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
