"""The wish to make a job or a batch, what becomes of it, and what an Idempotency-Key has made.

The key is bound in the script that records what it makes: neither is ever there without the other,
whatever dies in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from redis import Redis

from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.jobs import keys, transitions

_FORGONE_S: Final = 3600
"""For how long an id that was given up can not be made: longer than a network delays a packet."""

_KEYS_AT_ONCE: Final = 500
"""So many take Redis about a millisecond, in which it does nothing else."""

_LET_EXPIRE: Final = (
    transitions.PRELUDE
    + """
-- ARGV: digests of keys. A record without a time to live is of what has not ended.
for _, digest in ipairs(ARGV) do
  local key = IDEMPOTENCY .. digest
  local id = string.match(redis.call('GET', key) or '', '^%S+') or ''
  local left_ms = math.max(redis.call('PTTL', JOB .. id), redis.call('PTTL', BATCH .. id))
  if left_ms ~= -1 then
    redis.call('SREM', BOUND, digest)
    -- Erases it at once where there is no record: -2 is left.
    redis.call('PEXPIRE', key, left_ms)
  end
end
"""
)


@dataclass(frozen=True)
class Requester:
    """Who asks for a change, for the audit log.

    Attributes:
        key_id: id of the API key; empty where none is needed.
        request_id: of the HTTP request.
    """

    key_id: str = ""
    request_id: str = ""


NOBODY: Final = Requester()


@dataclass(frozen=True)
class NewJob:
    """An accepted upload, about to become a job.

    Attributes:
        id: UUIDv7.
        blob: key of the upload in the blob store.
        sha256: of the upload's bytes, hexadecimal.
        format: by content.
        size_bytes: of the upload.
        requester: who sent it.
        callback_url: where the job is sent when it has ended; empty for nowhere.
        callback_seal: shows a gateway that a gateway has accepted the URL for this job.
        batch_id: the batch it belongs to; empty for none.
        retry_of: id of the dead job whose upload this one reads again; empty for none.
    """

    id: str
    blob: str
    sha256: str
    format: ImageFormat
    size_bytes: int = 0
    requester: Requester = NOBODY
    callback_url: str = ""
    callback_seal: str = ""
    batch_id: str = ""
    retry_of: str = ""


@dataclass(frozen=True)
class IdempotencyKey:
    """One caller's key, and for what.

    Attributes:
        digest: stands for caller and key.
        fingerprint: tells what was sent with it from anything else; without blanks.
    """

    digest: str
    fingerprint: str


class CreateOutcome(StrEnum):
    """What became of the wish."""

    MADE = "made"
    """Also where this very call made it before, and redis-py repeated it for its lost answer."""

    REPLAYED = "replayed"
    """Its key had made another, which still is."""

    CONFLICT = "conflict"
    """Its key came with something else before, which still is."""

    FORGONE = "forgone"
    """It was given up before this call arrived."""

    FULL = "full"
    """The queue had no room for it any more."""


@dataclass(frozen=True)
class Creation:
    """What became of the wish. `id` is what there is now: the wished one, or that of the key."""

    outcome: CreateOutcome
    id: str

    @classmethod
    def of(cls, answer: Sequence[str]) -> "Creation":
        """Reads what a script answers."""
        outcome, made = answer
        return cls(CreateOutcome(outcome), made)


def queue_bound(max_queue_length: int | None) -> int | str:
    """Returns how the scripts take the number of jobs that may wait."""
    return "" if max_queue_length is None else max_queue_length


def creation_arguments(
    key: IdempotencyKey | None, *, max_queue_length: int | None
) -> tuple[int | str, str, str]:
    """Returns what decides in the scripts whether something is made.

    Args:
        key: what it came with.
        max_queue_length: how many jobs may wait, with those that it has; None for any number.
    """
    bound = queue_bound(max_queue_length)
    return (bound, key.digest, key.fingerprint) if key else (bound, "", "")


class IdempotencyKeys:
    """What is known of keys apart from what comes with them.

    A key counts while the job or batch that it has made is there, however long that waits. Every
    method may raise `RedisError`.
    """

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._let_expire = redis.register_script(_LET_EXPIRE)

    def has_made(self, digest: str) -> bool:
        """Tells whether a key has made a job or batch that still is, or was."""
        return bool(self._redis.exists(f"{keys.IDEMPOTENCY_PREFIX}{digest}"))

    def let_expire(self) -> None:
        """Lets the keys of what has ended expire with its record, and erases those of what is gone.

        Not done where a job ends: workers have no right to keys. Until it is done a key stays, and
        is worth nothing once its record is gone.
        """
        bound = list(cast("set[str]", self._redis.smembers(keys.BOUND)))
        for first in range(0, len(bound), _KEYS_AT_ONCE):
            self._let_expire(args=bound[first : first + _KEYS_AT_ONCE])


class Forgoing:
    """Gives up what may not have been made. Every method may raise `RedisError`."""

    def __init__(self, redis: "Redis") -> None:
        self._forgo = redis.register_script(transitions.FORGO)

    def forgo(self, wished_id: str) -> bool:
        """Sees to it that a job or batch is not made any more, where it has not been.

        Returns:
            True when it is not there and never will be; False when it had been made, and stays.
        """
        return bool(self._forgo(args=[wished_id, _FORGONE_S]))
