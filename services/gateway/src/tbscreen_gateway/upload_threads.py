"""Threads for what comes in: few, and apart from those that everything else is answered in."""

from collections.abc import Callable
from functools import partial
from typing import Final, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = 4
"""The shared pool has 40. More take no more in: parsing takes turns, and the event loop waits for
each. Measured with 40 archives at once: see ADR 23."""

_limiter: Final[RunVar[CapacityLimiter]] = RunVar("upload_threads")


async def run_for_upload(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs one step of taking an upload in, some MiB at most: then others have their turn."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await to_thread.run_sync(partial(call, *args, **kwargs), limiter=limiter)
