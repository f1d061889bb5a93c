"""Which workers live, by the beats they leave in Redis."""

import logging
import os
import secrets
import socket
from typing import Final, cast

from pydantic import ValidationError
from redis import Redis

from tbscreen_shared.contracts import WorkerBeat

_INDEX: Final = "tbscreen:workers"

BEAT_INTERVAL_S: Final = 3.0
BEAT_TTL_S: Final = 10
"""A worker that missed three beats counts as dead."""

_log: Final = logging.getLogger(__name__)


def host_prefix() -> str:
    """Returns what the names of this host's worker processes begin with."""
    return f"{socket.gethostname()}/"


def new_worker_name() -> str:
    """Returns a name for this process that no other has had: a container repeats host and pid."""
    return f"{host_prefix()}{os.getpid()}-{secrets.token_hex(4)}"


def pid_on_this_host(worker: str) -> int | None:
    """Returns the process id within a worker's name, None where it is another host's."""
    if not worker.startswith(host_prefix()):
        return None
    pid = worker.removeprefix(host_prefix()).partition("-")[0]
    return int(pid) if pid.isdecimal() else None


class WorkerRegistry:
    """The beats of all worker processes. Every method may raise `redis.exceptions.RedisError`."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def beat(self, beat: WorkerBeat) -> None:
        """Says that a worker process lives."""
        with self._redis.pipeline() as pipe:
            pipe.set(_key(beat.name), beat.model_dump_json(), ex=BEAT_TTL_S)
            pipe.sadd(_INDEX, beat.name)
            pipe.execute()

    def leave(self, name: str) -> None:
        """Says that a worker process ends."""
        # Not in MULTI, which a full Redis refuses.
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.delete(_key(name))
            pipe.srem(_INDEX, name)
            pipe.execute()

    def alive(self) -> list[WorkerBeat]:
        """Returns the workers whose last beat is younger than `BEAT_TTL_S`, by name.

        A beat that can not be read, such as another release's, is skipped.
        """
        names = sorted(cast("set[str]", self._redis.smembers(_INDEX)))
        if not names:
            return []
        beats = cast("list[str | None]", self._redis.mget([_key(name) for name in names]))
        dead = [name for name, beat in zip(names, beats, strict=True) if beat is None]
        if dead:
            self._redis.srem(_INDEX, *dead)
        read = [_read(name, beat) for name, beat in zip(names, beats, strict=True) if beat]
        return [beat for beat in read if beat is not None]


def _read(name: str, beat: str) -> WorkerBeat | None:
    try:
        return WorkerBeat.model_validate_json(beat)
    except ValidationError:
        _log.warning("a worker's beat can not be read", extra={"worker": name})
        return None


def _key(name: str) -> str:
    return f"tbscreen:worker:{name}"
