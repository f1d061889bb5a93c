"""Ends a worker that lives and takes no job, so that whoever runs it starts it again.

Workers over Redis have been seen to reconnect and never consume again, in silence (celery issues
8030, 8091, 10205). The causes that are known are mended in prefetch.py; this is for the others.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from celery import signals
from celery.worker import state
from redis.exceptions import RedisError

_LOOK_EVERY_S: Final = 1.0

EXIT_STATUS: Final = 70
"""EX_SOFTWARE of sysexits.h: compose and `tbscreen serve` start such a worker again."""

_log: Final = logging.getLogger(__name__)


class StallWatchdog:
    """A thread of the main process, which holds no job itself.

    Args:
        waiting: returns how many tasks wait in the queue.
        patience_s: how long none may be taken; a free worker takes one within milliseconds.
        job_limit_s: how much longer where jobs are in hand: by then each has ended or was killed.
            One may be kept in hand for ever, in a pool that does not go on after the kill.
    """

    def __init__(
        self, waiting: Callable[[], int], *, patience_s: float, job_limit_s: float
    ) -> None:
        self._waiting = waiting
        self._patience_s = patience_s
        self._job_limit_s = job_limit_s
        self._received = 0
        self._thread = threading.Thread(target=self._run, name="stall-watchdog", daemon=True)

    def start(self) -> None:
        """Watches from the moment that the worker consumes."""

        def count(**_: Any) -> None:
            self._received += 1

        def begin(**_: Any) -> None:
            self._thread.start()

        signals.task_received.connect(count, weak=False)
        signals.worker_ready.connect(begin, weak=False)

    def _run(self) -> None:
        received, idle_since = self._received, time.monotonic()
        while True:
            time.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            if not self._should_consume() or received != self._received:
                received, idle_since = self._received, now
            elif now - idle_since >= self._patience_now_s():
                _log.critical("tasks wait and this worker takes none: it ends, to be started again")
                os._exit(EXIT_STATUS)

    def _patience_now_s(self) -> float:
        return self._patience_s + (self._job_limit_s if state.reserved_requests else 0)

    def _should_consume(self) -> bool:
        if state.should_stop is not None or state.should_terminate is not None:
            return False
        try:
            return self._waiting() > 0
        except RedisError:
            # Nothing can be taken; the time begins once Redis answers again.
            return False
