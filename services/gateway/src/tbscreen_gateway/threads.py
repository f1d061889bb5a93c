"""Blocking work that must be done even where nobody waits for it any more."""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool

_RUNNING: Final[set[asyncio.Task[object]]] = set()
"""The event loop itself keeps no hold of its tasks."""


async def finish_in_thread(work: Callable[[], object]) -> None:
    """Runs work in the thread pool, to its end, also when the caller is cancelled.

    A cancelled request must still remove its files, and those of a batch are too many for the event
    loop: each is a call to a disk that may be slow.
    """
    task = asyncio.ensure_future(run_in_threadpool(work))
    _RUNNING.add(task)
    task.add_done_callback(_RUNNING.discard)
    await asyncio.shield(task)
