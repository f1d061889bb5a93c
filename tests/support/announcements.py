"""Hears every final state that the stack announces, over Redis' own losses."""

import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from support.compose import ComposeStack

_CHANNEL = "tbscreen:done:"
_RECONNECT_S = 0.2


class DoneAnnouncements:
    """How often each job's final state was announced. What falls into a reconnection is missed."""

    def __init__(self, stack: ComposeStack) -> None:
        self._stack = stack
        self._heard: Counter[str] = Counter()
        self._process: subprocess.Popen[str] | None = None
        self._stopping = threading.Event()
        self.subscribed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcements")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._process is not None:
            self._process.kill()
        self._thread.join()

    def forget(self) -> None:
        self._heard = Counter()

    def job_ids(self) -> set[str]:
        return set(self._heard)

    def repeated(self) -> list[str]:
        """The ids of jobs that were announced more than once."""
        return [job_id for job_id, count in self._heard.items() if count > 1]

    def _run(self) -> None:
        while not self._stopping.is_set():
            # Redis, or its container, may be away.
            with suppress(OSError, subprocess.SubprocessError, RuntimeError):
                self._hear()
            self.subscribed.clear()
            self._stopping.wait(_RECONNECT_S)

    def _hear(self) -> None:
        # Unbuffered through --csv: one line a message.
        command = self._stack.redis_command("--csv", "PSUBSCRIBE", f"{_CHANNEL}*")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as self._process:
            assert self._process.stdout is not None
            try:
                for line in self._process.stdout:
                    fields = [field.strip('"') for field in line.strip().split(",")]
                    if fields[0] == "psubscribe":
                        self.subscribed.set()
                    elif fields[0] == "pmessage" and len(fields) == 4:
                        self._heard[fields[2].removeprefix(_CHANNEL)] += 1
            finally:
                self._process.kill()


@contextmanager
def heard_announcements(stack: ComposeStack) -> Iterator[DoneAnnouncements]:
    heard = DoneAnnouncements(stack)
    heard.start()
    try:
        if not heard.subscribed.wait(20):
            raise RuntimeError("the stack's Redis could not be listened to")
        yield heard
    finally:
        heard.stop()
