"""When each of those who are turned away may come again: one after the other."""

import threading
import time
from typing import Final

_LONGEST_S: Final = 300.0


class Turns:
    """Hands out the places that jobs leave when they end, each to one of those who wait for one.

    All who are told the same time come back at the same time, and all but one are turned away
    again. This process's alone; thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken_until = 0.0

    def wait_s(self, *, rate: float, jobs: int, ahead: float) -> float:
        """Returns for how many seconds to wait, at most 300.

        Args:
            rate: how many places become free, per second; above 0.
            jobs: how many places are wanted.
            ahead: how many have to become free before the first is.
        """
        with self._lock:
            now = time.monotonic()
            begin = max(self._taken_until, now + ahead / rate)
            self._taken_until = min(begin + jobs / rate, now + _LONGEST_S)
            return self._taken_until - now

    def forget(self) -> None:
        """There are places: who comes next waits for nobody."""
        with self._lock:
            self._taken_until = 0.0
