"""Sends tasks. Behind a Protocol, so that a test may refuse to."""

from threading import BoundedSemaphore
from typing import Final, Protocol

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tbscreen_shared.queue import SCREEN_TASK, make_celery_app
from tbscreen_shared.redis_connections import Silence
from tbscreen_shared.settings import SharedSettings

_SENDERS: Final = 10
"""kombu's connections. Who comes after them would wait for one without end."""

_PLACE_TIMEOUT_S: Final = 1.0
"""A task is sent within milliseconds."""


class TaskNotSentError(Exception):
    """A task could not be put on the queue; it may yet have arrived."""


class TaskQueue(Protocol):
    """Where a job's task goes."""

    def send(self, job_id: str) -> None:
        """Puts the job's task on the queue.

        Raises:
            TaskNotSentError: the queue can not be reached.
        """

    def close(self) -> None:
        """Ends the connections."""


class CeleryTaskQueue:
    """The real queue. Safe to use from many threads.

    Args:
        settings: how to reach it.
        silence: while it lasts nothing is sent: kombu's connections would wait for themselves.
    """

    def __init__(self, settings: SharedSettings, silence: Silence | None = None) -> None:
        self._silence = silence
        self._places = BoundedSemaphore(_SENDERS)
        self._celery: Celery = make_celery_app(settings)
        # Both are made lazily and without a lock; two first requests at once would make two.
        self._celery.finalize()
        self._producers = self._celery.amqp.producer_pool

    def send(self, job_id: str) -> None:
        """See `TaskQueue`."""
        if self._silence is not None and self._silence.lasts:
            raise TaskNotSentError("Redis does not answer")
        if not self._places.acquire(timeout=_PLACE_TIMEOUT_S):
            raise TaskNotSentError("others wait for Redis to take theirs")
        try:
            self._celery.send_task(SCREEN_TASK, args=[job_id], task_id=job_id)
        # AttributeError: kombu 5.7 loses its channel's connection where Redis dies in mid-publish
        # (`_connparams`: 'NoneType' object has no attribute 'client').
        except (OperationalError, RedisError, OSError, AttributeError) as error:
            raise TaskNotSentError(type(error).__name__) from error
        finally:
            self._places.release()

    def close(self) -> None:
        """See `TaskQueue`."""
        self._celery.close()
