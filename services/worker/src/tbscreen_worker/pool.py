"""Celery's pool of processes, without the lock that one of them can take to its grave.

billiard counts the results of a child that the main process has read, and a child that ends looks
at this count, under a lock that both share. After a job's time limit it is told to end by SIGTERM,
looks ten times a second, and is sent SIGKILL a tenth of a second later: if it holds the lock then,
nobody gets it any more. The main process wants it for the next result that it reads of that child,
and stands still for ever (billiard 4.3.2, `Worker._ensure_messages_consumed`).
"""

from typing import Any, Final

from celery.concurrency import asynpool, prefork


class _Child(asynpool.Worker):  # type: ignore[misc]  # here and below: Celery's have no types
    """Ends without a look at the count: Celery reads what an ended child has left in its pipe."""

    def __init__(self, *args: Any, on_ready_counter: object = None, **options: Any) -> None:
        super().__init__(*args, **options)


class _Processes(asynpool.AsynPool):  # type: ignore[misc]
    Worker: Final = _Child


class UncountedPool(prefork.TaskPool):  # type: ignore[misc]
    """For Celery's `pool_cls`."""

    Pool: Final = _Processes
