"""`tbscreen serve` as a process, whose parts can be killed."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from support.blob_files import blob_files
from support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
MODELS_DIR = Path(os.environ.get("TBSCREEN_MODELS_DIR", ROOT / "models"))
TBSCREEN = (sys.executable, "-P", "-m", "tbscreen")
_MARKS = {"gateway": "tbscreen_gateway", "worker": "tbscreen_worker", "redis": "redis-server"}


class Serving:
    """A running `tbscreen serve`. Its lines are in `log`."""

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        arguments: list[str],
        stdout: int | IO[str],
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = directory / "data"
        self.log = directory / "serve.log"
        self._seen: set[int] = set()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(*TBSCREEN, "serve", "--port", str(self.port)),
                    *("--data-dir", str(self.data_dir), "--models-dir", str(MODELS_DIR)),
                    *arguments,
                ],
                cwd=directory,
                env={**os.environ, **environment},
                stdout=stdout,
                stderr=log,
                text=True,
            )

    def wait_until_ready(self, timeout_s: float = 60) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        line = self.process.stdout.readline() if ready else ""
        assert " is ready at " in line, f"not ready: {line!r}\n{self.log.read_text()[-4000:]}"
        self._seen |= set(self.pids())
        return line

    def pids(self) -> dict[int, str]:
        """The pids of the supervisor's descendants, with their command lines."""
        found: dict[int, str] = {}
        waiting = [self.process.pid]
        while waiting:
            for pid in _children_of(waiting.pop()):
                found[pid] = _command_of(pid)
                waiting.append(pid)
        self._seen |= set(found)
        return found

    def leader(self, name: str) -> int:
        """The pid of the named child that the supervisor started itself."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for pid in _children_of(self.process.pid):
                if _MARKS[name] in _command_of(pid):
                    self._seen |= set(self.pids())
                    return pid
            time.sleep(0.05)
        raise AssertionError(f"no {name}")

    def pool_of_worker(self) -> list[int]:
        return _children_of(self.leader("worker"))

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait_until_gone(self, timeout_s: float = 40) -> None:
        """Waits until no process that was ever seen under the supervisor is alive."""
        deadline = time.monotonic() + timeout_s
        while alive := [pid for pid in self._seen if _is_alive(pid)]:
            assert time.monotonic() < deadline, {pid: _command_of(pid) for pid in alive}
            time.sleep(0.05)

    def uploads_at_rest(self) -> list[str]:
        return [path.name for path in blob_files(self.data_dir / "blobs")]


@contextmanager
def running_serve(
    directory: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    stdout: int | IO[str] = subprocess.PIPE,
) -> Iterator[Serving]:
    """Yields it once it has said that it is ready; with another `stdout`, at once."""
    serving = Serving(directory, environment or {}, list(arguments), stdout)
    try:
        if stdout == subprocess.PIPE:
            serving.wait_until_ready()
        yield serving
    finally:
        if serving.process.poll() is None:
            serving.pids()
            serving.process.send_signal(signal.SIGTERM)
        try:
            serving.process.communicate(timeout=60)
        finally:
            serving.process.kill()
        serving.wait_until_gone()


def run_tbscreen(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*TBSCREEN, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def _children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"
