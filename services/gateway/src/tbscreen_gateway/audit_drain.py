"""Brings the audit stream's entries into the audit log, in one gateway at a time."""

import asyncio
import logging
import threading
import time
from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.audit_files import AuditLogError
from tbscreen_gateway.audit_log import BATCH, AuditLog
from tbscreen_shared.audit import EMPTY
from tbscreen_shared.jobs import AuditStream
from tbscreen_shared.workers import new_worker_name

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 1.0

_LEASE_S: Final = 5
"""After which another gateway takes a dead one's place. The entries wait in the stream."""

_ANCHOR_ENTRIES: Final = 1000
_ANCHOR_S: Final = 3600.0


class AuditDrain:
    """Writes what waits in the stream.

    Two locks make one writer of many gateways. The folder's lock keeps two from one file and falls
    with its process. The stream's lease keeps gateways with folders of their own, which would
    each write a part, from each other.
    """

    def __init__(self, stream: AuditStream, log: AuditLog) -> None:
        self._stream = stream
        self._log = log
        self._name = new_worker_name()
        self._lock = threading.Lock()
        self._began = False
        self._refused_since: float | None = None
        self._anchored, self._anchored_at = EMPTY, time.monotonic()
        self.problem: str | None = None
        """Why this gateway can not write what it should, for people."""

    def drain(self) -> int:
        """Writes the oldest entries; returns how many there were, 0 where another gateway writes.

        Raises:
            AuditLogError: the log can not be written; the entries stay in the stream.
            RedisError: the stream can not be reached.
        """
        with self._lock:
            if not self._log.try_lock():
                self._began, self.problem = False, None
                return 0
            taken = self._stream.take(self._name, lease_s=_LEASE_S, count=BATCH)
            if taken.holder:
                self._began = False
                self._note_refusal(taken.holder)
                return 0
            self._refused_since = None
            if taken.is_new or not self._began:
                self._log.begin(taken.head)
                if self._log.head not in (EMPTY, taken.head):
                    self._stream.written(self._log.head, ())
                self._began = True
                self._print_anchor()
            if taken.entries:
                head = self._log.append(taken.entries)
                self._stream.written(head, [one.id for one in taken.entries])
                self._print_anchor_at_times()
            self.problem = None
            return len(taken.entries)

    async def run(self) -> None:
        """Writes every second, for ever."""
        failed: str | None = None
        while True:
            count, failure = 0, None
            try:
                count = await run_in_threadpool(self.drain)
            except AuditLogError as error:
                self.problem = failure = str(error)
                await run_in_threadpool(self._hand_over)
            except RedisError as error:
                failure = type(error).__name__
            # Once for each outage: it may last for hours.
            if failure not in (None, failed):
                logger.error("could not write the audit log", extra={"error": failure})
            failed = failure
            if count < BATCH:
                await asyncio.sleep(_INTERVAL_S)

    def close(self) -> None:
        """Writes what waits, once more, and lets another gateway go on."""
        with suppress(AuditLogError, RedisError):
            self.drain()
            if self._began:
                self._print_anchor()
        self._hand_over()

    def _hand_over(self) -> None:
        with self._lock:
            self._began = False
            with suppress(RedisError):  # it lapses by itself
                self._stream.release(self._name)
            self._log.close()

    def _note_refusal(self, holder: str) -> None:
        """A dead gateway's lease lapses; one that does not is of another folder."""
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        if now - self._refused_since > 3 * _LEASE_S:
            self.problem = (
                f"The audit log is written to another folder, by {holder}: gateways of one Redis "
                "need one volume for it."
            )

    def _print_anchor_at_times(self) -> None:
        entries = abs(self._log.head.seq - self._anchored.seq)
        if entries >= _ANCHOR_ENTRIES or time.monotonic() - self._anchored_at >= _ANCHOR_S:
            self._print_anchor()

    def _print_anchor(self) -> None:
        """The service's log is kept elsewhere: a chain that is made anew lacks the hash in it."""
        head = self._log.head
        if head != self._anchored:
            logger.info("audit anchor", extra=head._asdict())
        self._anchored, self._anchored_at = head, time.monotonic()
