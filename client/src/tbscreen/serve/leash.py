"""The supervisor's end of the watchdog."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

_SCRIPT: Final = Path(__file__).with_name("watchdog.py")


class Leash:
    """Keeps a watchdog process for as long as it is open, and a new one if that dies.

    Args:
        lock_fd: descriptor of the data folder's lock, which the watchdog holds as well.
    """

    def __init__(self, lock_fd: int) -> None:
        self._lock_fd = lock_fd
        self._watched: dict[int, tuple[int, float]] = {}
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self._pipe.close()
        self._process.wait()

    def watch(self, rank: int, pid: int, grace_s: float) -> None:
        """Puts a child, the leader of its process group, under the watchdog's care."""
        self._watched[rank] = pid, grace_s
        self._tell(f"watch {rank} {pid} {grace_s}")

    def release(self, rank: int) -> None:
        """Takes a child out: it has ended."""
        self._watched.pop(rank, None)
        self._tell(f"release {rank}")

    def renew(self) -> None:
        """Starts another watchdog if the last one has died.

        Raises:
            OSError: it can not be started; until it is, orders are kept for it.
        """
        if self._process.poll() is None:
            return
        process = self._start()
        with suppress(BrokenPipeError):
            self._pipe.close()
        self._process = process
        for rank, (pid, grace_s) in self._watched.items():
            self._tell(f"watch {rank} {pid} {grace_s}")

    @property
    def _pipe(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(self._lock_fd,),
            start_new_session=True,
            text=True,
        )

    def _tell(self, order: str) -> None:
        # A dead watchdog is replaced by `renew`, which repeats all orders.
        with suppress(BrokenPipeError):
            self._pipe.write(order + "\n")
            self._pipe.flush()
