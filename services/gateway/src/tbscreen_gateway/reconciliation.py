"""Sends the tasks again that were lost between the job's record and a worker's hand.

kombu pops a task before it writes it down as unacknowledged; a worker killed between the two takes
the only copy with it. A gateway killed between record and task leaves a record without one. And a
task in a dead worker's hands comes back only after the visibility timeout: the job's lease, which
nobody renews, tells sooner, and where the worker died before its claim, that nobody claims it.
"""

import asyncio
import base64
import json
import logging
import time
from collections import Counter
from typing import Final, cast

from redis import Redis
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_gateway.task_queue import TaskNotSentError, TaskQueue
from tbscreen_shared.jobs import JobStore
from tbscreen_shared.queue import QUEUE_NAME

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 1.0

_GRACE_S: Final = 2.0
"""How long a job must be seen without a lease: after a pause of Redis all have lapsed at once, and
the living renew theirs within a second."""

_TASKLESS_S: Final = 4.0
"""How old a queued job is when its task is looked for: until then it may be about to be sent."""

_MISSING_S: Final = 2.0
"""For how long it must be nowhere: on its way from the queue into a hand it is in neither."""

_UNCLAIMED_S: Final = 7.0
"""How long a task may be in hand without a claim. A worker takes no more tasks than it has
processes, so that each is claimed at once; where there is no model, it is looked for for 5 s."""

_JOBS_LOOKED_AT: Final = 300
_OLDEST_LOOKED_AT: Final = 400
"""The oldest tasks are the oldest jobs', mostly: these spare reading the others in a backlog."""

_TASKS_LOOKED_AT: Final = 1000
"""At either end. A task that could not be put to the front, or that a worker without a model gave
back, is among the newest; a duplicate stands beside its twin."""

_NEWEST_LOOKED_AT: Final = 100
"""Among so many a task is found that was sent just now, other gateways' uploads notwithstanding."""

_TO_FRONT: Final = """
-- KEYS: queue. ARGV: task. kombu takes from the right end.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 then redis.call('RPUSH', KEYS[1], ARGV[1]) end
"""

_UNACKED: Final = "unacked"
"""The hash in which kombu keeps what workers have in hand (`Channel.unacked_key`)."""


class Reconciler:
    """Finds queued jobs whose task is nowhere. A task sent once too often does no harm."""

    def __init__(
        self, redis: "Redis", jobs: JobStore, tasks: TaskQueue, *, visibility_timeout_s: int
    ) -> None:
        self._redis = redis
        self._jobs = jobs
        self._tasks = tasks
        self._patience_s = visibility_timeout_s
        self._missing_since: dict[str, float] = {}
        self._missed_since: dict[str, float] = {}
        self._unclaimed_since: dict[str, float] = {}
        self._to_front = redis.register_script(_TO_FRONT)

    def resend_lost(self) -> int:
        """Sends lost tasks again, each once for each loss; returns how many.

        One that is lost again before a worker has claimed it waits for a visibility timeout.

        Raises:
            RedisError: Redis can not be reached.
            TaskNotSentError: a task could not be sent; it is tried again at the next look.
        """
        count = 0
        for job_id in (*self._without_task(), *self._unclaimed(), *self._abandoned()):
            if self._jobs.may_resend(job_id, every_s=self._patience_s):
                self._resend(job_id)
                count += 1
        return count

    async def run(self) -> None:
        """Looks every few seconds, for ever."""
        while True:
            try:
                count = await run_in_threadpool(self.resend_lost)
            except (RedisError, TaskNotSentError) as error:
                logger.warning(
                    "could not look for lost tasks", extra={"error": type(error).__name__}
                )
            else:
                if count:
                    logger.warning("sent lost tasks again", extra={"count": count})
            await asyncio.sleep(_INTERVAL_S)

    def _resend(self, job_id: str) -> None:
        try:
            self._tasks.send(job_id)
        except TaskNotSentError:
            self._jobs.not_resent(job_id)
            raise
        # It has waited its turn already, and was sent behind all that came since.
        newest = cast("list[str]", self._redis.lrange(QUEUE_NAME, 0, _NEWEST_LOOKED_AT - 1))
        for task in newest:
            if _job_id_of(task) == job_id:
                self._to_front(keys=[QUEUE_NAME], args=[task])
                return

    def _without_task(self) -> list[str]:
        missing = self._jobs.overdue(older_than_s=_TASKLESS_S, limit=_JOBS_LOOKED_AT)
        for count in (_OLDEST_LOOKED_AT, _TASKS_LOOKED_AT):
            if missing:
                present = self._jobs_with_tasks(count)
                missing = [job_id for job_id in missing if job_id not in present]
        if missing:
            newest = cast("list[str]", self._redis.lrange(QUEUE_NAME, 0, _TASKS_LOOKED_AT - 1))
            given_back = {_job_id_of(text) for text in newest}
            missing = [job_id for job_id in missing if job_id not in given_back]
        return _seen_for(_MISSING_S, self._missing_since, missing)

    def _abandoned(self) -> list[str]:
        """Returns the started jobs that no worker has had in hand for `_GRACE_S`."""
        abandoned = self._jobs.abandoned(limit=_JOBS_LOOKED_AT)
        return _seen_for(_GRACE_S, self._missed_since, abandoned)

    def _unclaimed(self) -> list[str]:
        """Returns the queued jobs whose one task has been in hand for `_UNCLAIMED_S`.

        Where none can claim, as without a model, each then has two, and not ever more.
        """
        in_hand = cast("list[str]", self._redis.hvals(_UNACKED))
        job_ids = [job_id for text in in_hand if (job_id := _job_id_of(text)) is not None]
        queued = self._jobs.queued_among(job_ids)
        unclaimed = _seen_for(_UNCLAIMED_S, self._unclaimed_since, queued)
        if not unclaimed:
            return []
        tasks = self._jobs_with_tasks(_TASKS_LOOKED_AT)
        return [job_id for job_id in unclaimed if tasks[job_id] < 2]

    def _jobs_with_tasks(self, count: int) -> Counter[str | None]:
        """Returns how many tasks in hand, or among the `count` oldest that wait, each job has."""
        # Not in MULTI, which a full Redis refuses: in the order that tasks go through them instead.
        with self._redis.pipeline(transaction=False) as both:
            # kombu pushes on the left: the oldest are at the right end.
            both.lrange(QUEUE_NAME, -count, -1)
            both.hvals(_UNACKED)
            waiting, in_hand = cast("tuple[list[str], list[str]]", both.execute())
        return Counter(_job_id_of(text) for text in (*waiting, *in_hand))


def _seen_for(seconds: float, since: dict[str, float], job_ids: list[str]) -> list[str]:
    """Notes in `since` when each job was first seen; returns those seen for so long."""
    now = time.monotonic()
    seen = {job_id: since.get(job_id, now) for job_id in job_ids}
    since.clear()
    since.update(seen)
    return [job_id for job_id, first in seen.items() if now - first >= seconds]


def _job_id_of(text: str) -> str | None:
    """Returns the job a message's task is for, None for a message that is no such task."""
    try:
        message = json.loads(text)
        if isinstance(message, list):
            # In hand, with its exchange and routing key.
            message = message[0]
        return str(json.loads(base64.b64decode(message["body"]))[0][0])
    except (ValueError, LookupError, TypeError):
        return None
