"""Shows that the job in hand is in living hands, so that a dead worker's goes to another soon."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from redis.exceptions import RedisError

from tbscreen_shared.blobs import BlobStoreMissingError
from tbscreen_shared.jobs import Claim, ClaimOutcome, JobStore
from tbscreen_shared.workers import pid_on_this_host

_RENEW_EVERY_S: Final = 1.0

_log: Final = logging.getLogger(__name__)


class JobLeases:
    """Claims jobs for one process and renews the lease of the one in hand, in a thread.

    Args:
        jobs: the job records.
        worker: this process's name, never used by another.
    """

    def __init__(self, jobs: JobStore, worker: str) -> None:
        self._jobs = jobs
        self._worker = worker
        self._in_hand: str | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Starts renewing."""
        self._thread.start()

    def stop(self) -> None:
        """Stops renewing; a job in hand goes to another worker once its lease has lapsed."""
        self._stopping.set()
        self._thread.join()

    @contextmanager
    def claiming(self, job_id: str) -> Iterator[Claim]:
        """Claims a delivery, and keeps the job leased while the block runs.

        A block that raises gives the lease back: the delivery returns to the queue. It does not
        count where it raises BlobStoreMissingError.

        Raises:
            redis.exceptions.RedisError: Redis can not be reached; the job was not claimed.
        """
        claim = self._jobs.claim(job_id, worker=self._worker)
        if claim.outcome is ClaimOutcome.HELD and _is_dead(claim.holder):
            claim = self._jobs.claim(job_id, worker=self._worker, lost_worker=claim.holder)
        if claim.outcome is not ClaimOutcome.CLAIMED:
            yield claim
            return
        self._in_hand = job_id
        try:
            yield claim
        except BaseException as error:
            self._put_down()
            counts = not isinstance(error, BlobStoreMissingError)
            with suppress(RedisError):  # it lapses by itself
                self._jobs.release(job_id, worker=self._worker, counts=counts)
            raise
        self._put_down()

    def _put_down(self) -> None:
        # Under the lock: a renewal on its way must not come after the release.
        with self._lock:
            self._in_hand = None

    def _run(self) -> None:
        while not self._stopping.wait(_RENEW_EVERY_S):
            with self._lock:
                if self._in_hand is None:
                    continue
                try:
                    kept = self._jobs.renew(self._in_hand, worker=self._worker)
                # A hostile image may take all the memory that is allowed while it is decoded.
                except (RedisError, MemoryError) as error:
                    with suppress(MemoryError):
                        _log.warning("the lease was not renewed: %s", type(error).__name__)
                    continue
            if not kept:
                _log.info("the job in hand has ended, or is another worker's now")


def _is_dead(worker: str) -> bool:
    """Tells whether a process of this host is gone; of another host's nothing is known."""
    pid = pid_on_this_host(worker)
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
