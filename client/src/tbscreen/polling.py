"""Asks for jobs and batches until they are finished."""

import math
import time
from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import quote

from tbscreen.answers import parse, retry_after_s
from tbscreen.models import Batch, Job
from tbscreen.sending import Sender

WHOLE_BATCH: Final = {"limit": "1000"}

_LONG_POLL_S: Final = 30.0

_Polled = TypeVar("_Polled")


class Polling:
    """See `Client` for what its methods raise.

    Args:
        sender: sends each request.
        retry_for_s: seconds for which one is retried.
    """

    def __init__(self, sender: Sender, retry_for_s: float) -> None:
        self._sender = sender
        self._retry_for_s = retry_for_s

    def job(self, job_id: str, wait_s: float) -> Job:
        """Returns a job as it is, or finished if that happens within the wait."""
        return self._ask_job(job_id, wait_s, self._retry_for_s)[0]

    def final_job(self, job_id: str, timeout_s: float) -> Job:
        """Returns a job once it is finished, or as it is after `timeout_s`."""
        return self._wait(
            lambda *bounds: self._ask_job(job_id, *bounds), lambda job: job.is_final, timeout_s
        )

    def batch(self, batch_id: str, wait_s: float) -> Batch:
        """Returns a batch as it is, or finished if that happens within the wait; its first page."""
        return self._ask_batch(batch_id, wait_s, self._retry_for_s)[0]

    def finished_batch(self, batch_id: str, timeout_s: float) -> Batch:
        """Returns a batch once it is finished, or as it is after `timeout_s`; its first page."""
        return self._wait(
            lambda *bounds: self._ask_batch(batch_id, *bounds),
            lambda batch: batch.finished,
            timeout_s,
        )

    def all_items(self, batch: Batch) -> Batch:
        """Returns the batch with the items of the pages after its own."""
        items, cursor = list(batch.items), batch.next_cursor
        while cursor is not None:
            params = {**WHOLE_BATCH, "cursor": cursor}
            page = parse(Batch, self._sender.send("GET", batch_url(batch.id), params=params))
            items += page.items
            cursor = page.next_cursor
        return batch.model_copy(update={"items": items, "next_cursor": None})

    def _wait(
        self,
        ask: Callable[[float, float], tuple[_Polled, float]],
        is_final: Callable[[_Polled], bool],
        timeout_s: float,
    ) -> _Polled:
        """Asks until the answer is final or `timeout_s` is over; returns the last one."""
        deadline = time.monotonic() + timeout_s
        while True:
            asked = time.monotonic()
            wait_s = max(0.0, min(_LONG_POLL_S, deadline - asked))
            polled, pause_s = ask(wait_s, min(self._retry_for_s, deadline - asked))
            now = time.monotonic()
            if is_final(polled) or now >= deadline:
                return polled
            # An answer that was held for as long as asked has waited enough.
            if now - asked < wait_s:
                time.sleep(max(0.0, min(pause_s, deadline - now)))

    def _ask_job(self, job_id: str, wait_s: float, retry_for_s: float) -> tuple[Job, float]:
        response = self._sender.send(
            *("GET", job_url(job_id)),
            params=_waiting(wait_s),
            held_s=wait_s,
            retry_for_s=retry_for_s,
        )
        return parse(Job, response), retry_after_s(response.headers, default=1.0)

    def _ask_batch(self, batch_id: str, wait_s: float, retry_for_s: float) -> tuple[Batch, float]:
        response = self._sender.send(
            *("GET", batch_url(batch_id)),
            params={**WHOLE_BATCH, **_waiting(wait_s)},
            held_s=wait_s,
            retry_for_s=retry_for_s,
        )
        return parse(Batch, response), retry_after_s(response.headers, default=1.0)


def job_url(job_id: str) -> str:
    """Returns where a job is."""
    return f"v1/jobs/{quote(job_id, safe='')}"


def batch_url(batch_id: str) -> str:
    """Returns where a batch is."""
    return f"v1/batches/{quote(batch_id, safe='')}"


def _waiting(wait_s: float) -> dict[str, str]:
    return {"wait": str(math.ceil(wait_s))} if wait_s > 0 else {}
