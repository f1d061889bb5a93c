"""The audit log's way through Redis: entries wait in a stream until one gateway has written them.

A job's entries are added by the scripts that change it, in their transactions. One gateway at a
time takes entries, writes them to its volume and only then removes them from the stream.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis import Redis

from tbscreen_shared.access import ApiKey
from tbscreen_shared.audit import MAX_VALUE_CHARACTERS, AuditEntry, Head
from tbscreen_shared.jobs import keys
from tbscreen_shared.jobs.creation import NOBODY, Requester
from tbscreen_shared.jobs.records import to_time
from tbscreen_shared.jobs.transitions import PRELUDE

_RECORD: Final = (
    PRELUDE
    + """
-- ARGV: event, key id, then names and values
audit(ARGV[1], '', 'key', ARGV[2], unpack(ARGV, 3))
"""
)

_RECORD_MODEL: Final = (
    PRELUDE
    + f"""
-- ARGV: version, sha256, operating point, threshold. Of all gateways the first that sees it tells.
local active = table.concat(ARGV, ' ')
if redis.call('GET', '{keys.AUDIT_MODEL}') == active then return 0 end
redis.call('SET', '{keys.AUDIT_MODEL}', active)
audit('model_activated', '', 'version', ARGV[1], 'model', ARGV[2], 'operating_point', ARGV[3],
  'threshold', ARGV[4])
return 1
"""
)

_RECORD_KEYS: Final = (
    PRELUDE
    + f"""
-- ARGV: for each API key: id, digest, scopes, when it expires, when it was revoked.
local KNOWN = '{keys.AUDIT_KEYS}'
local known, flat, changes = {{}}, redis.call('HGETALL', KNOWN), 0
for at = 1, #flat, 2 do known[flat[at]] = flat[at + 1] end
for at = 1, #ARGV, 5 do
  local id, digest = ARGV[at], ARGV[at + 1]
  if known[id] ~= digest then
    redis.call('HSET', KNOWN, id, digest)
    audit(known[id] and 'key_changed' or 'key_added', '', 'key', id, 'scopes', ARGV[at + 2],
      'expires', ARGV[at + 3], 'revoked', ARGV[at + 4])
    changes = changes + 1
  end
  known[id] = nil
end
for id in pairs(known) do
  redis.call('HDEL', KNOWN, id)
  audit('key_removed', '', 'key', id)
  changes = changes + 1
end
return changes
"""
)

_TAKE: Final = f"""
-- ARGV: writer, lease s, how many entries
local WRITER = '{keys.AUDIT_WRITER}'
local holder = redis.call('GET', WRITER)
if holder and holder ~= ARGV[1] then return {{holder}} end
-- A write that takes no memory comes first, so that a Redis that is full can be drained.
redis.call('DEL', WRITER)
redis.call('SET', WRITER, ARGV[1], 'EX', ARGV[2])
return {{'', holder and 1 or 0, redis.call('HMGET', '{keys.AUDIT_HEAD}', 'seq', 'sha256'),
  redis.call('XRANGE', '{keys.AUDIT}', '-', '+', 'COUNT', ARGV[3])}}
"""

_WRITTEN: Final = f"""
-- ARGV: number of the newest entry, hash of the last line, then ids within the stream
for first = 3, #ARGV, 1000 do
  redis.call('XDEL', '{keys.AUDIT}', unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
redis.call('DEL', '{keys.AUDIT_HEAD}')
redis.call('HSET', '{keys.AUDIT_HEAD}', 'seq', ARGV[1], 'sha256', ARGV[2])
return 1
"""

_RELEASE: Final = f"""
-- ARGV: writer
if redis.call('GET', '{keys.AUDIT_WRITER}') == ARGV[1] then
  redis.call('DEL', '{keys.AUDIT_WRITER}')
end
return 0
"""

_NUMBERS: Final = frozenset({"bytes", "attempts", "count"})


@dataclass(frozen=True)
class Waiting:
    """An entry of the stream. `entry` is None where nothing of tbscreen's wrote it."""

    id: str
    entry: AuditEntry | None


@dataclass(frozen=True)
class Taken:
    """What a writer got.

    Attributes:
        holder: the other writer who has the stream; empty where the caller has it now.
        is_new: the caller did not have it before, or has lost it in between.
        head: where the log ended when it was last written, None where it never was.
        entries: the oldest ones.
    """

    holder: str
    is_new: bool = False
    head: Head | None = None
    entries: Sequence[Waiting] = ()


@dataclass(frozen=True)
class StreamState:
    """What waits, for people.

    Attributes:
        waiting: entries that are not in the log yet.
        oldest_s: for how many seconds the oldest of them has waited.
        head: where the log ended when it was last written; None where it never was.
    """

    waiting: int
    oldest_s: float
    head: Head | None


class AuditStream:
    """The stream. Every method may raise `redis.exceptions.RedisError`."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._record = redis.register_script(_RECORD)
        self._record_model = redis.register_script(_RECORD_MODEL)
        self._record_keys = redis.register_script(_RECORD_KEYS)
        self._take = redis.register_script(_TAKE)
        self._written = redis.register_script(_WRITTEN)
        self._release = redis.register_script(_RELEASE)

    def record(self, event: str, by: Requester = NOBODY, **details: str | int) -> None:
        """Records what happened to no job in particular, and can not be made to happen often.

        Details are ids, codes and numbers: never what a client sent, which may name a patient.

        Args:
            event: lower case, with underscores.
            by: who did it.
            **details: cut to 256 characters each: a longer one would make the entry unreadable.
        """
        fields = {"request": by.request_id, **details}
        flat = [
            part for name, value in fields.items() if value != "" for part in (name, _cut(value))
        ]
        self._record(args=[event, by.key_id, *flat])

    def record_model(
        self, version: str, sha256: str, *, operating_point: str, threshold: float
    ) -> bool:
        """Records which model decides, and by what, unless the last record says the same."""
        return bool(self._record_model(args=[version, sha256, operating_point, f"{threshold:.6g}"]))

    def record_keys(self, api_keys: Iterable[ApiKey]) -> int:
        """Records which API keys are there, or may something else, since the last record.

        Their names are left out: a person may be named in one.

        Returns:
            How many entries were made.
        """
        args = [
            part
            for key in api_keys
            for part in (
                key.id,
                hashlib.sha256(key.model_dump_json(exclude={"name"}).encode()).hexdigest(),
                " ".join(key.scopes),
                key.expires_at.isoformat() if key.expires_at else "",
                key.revoked_at.isoformat() if key.revoked_at else "",
            )
        ]
        return int(self._record_keys(args=args))

    def take(self, writer: str, *, lease_s: int, count: int) -> Taken:
        """Takes the stream for a writer, unless another has it, and reads the oldest entries.

        Args:
            writer: name of the process, never used by another.
            lease_s: after which another may take it.
            count: how many entries at most.
        """
        holder, *rest = self._take(args=[writer, lease_s, count])
        if not rest:
            return Taken(holder)
        had_it, (seq, sha256), found = rest
        head = Head(int(seq), sha256) if seq is not None else None
        entries = [Waiting(str(id_), _read(_pairs(flat))) for id_, flat in found]
        return Taken("", not had_it, head, entries)

    def written(self, head: Head, ids: Sequence[str]) -> None:
        """Removes entries that the log has, and notes where the log ends now."""
        self._written(args=[head.seq, head.sha256, *ids])

    def release(self, writer: str) -> None:
        """Gives the stream back."""
        self._release(args=[writer])

    def state(self) -> StreamState:
        """Looks at what waits."""
        # Not in MULTI, which a full Redis refuses.
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.xlen(keys.AUDIT)
            pipe.hmget(keys.AUDIT_HEAD, ["seq", "sha256"])
            pipe.xrange(keys.AUDIT, count=1)
            pipe.time()
            waiting, (seq, sha256), oldest, (seconds, _) = pipe.execute()
        # An entry's id begins with the time of its adding, in milliseconds.
        since_s = int(oldest[0][0].partition("-")[0]) / 1000 if oldest else seconds
        head = None if seq is None else Head(int(seq), sha256)
        return StreamState(int(waiting), max(0.0, seconds - since_s), head)


def _cut(value: str | int) -> str | int:
    return value[:MAX_VALUE_CHARACTERS] if isinstance(value, str) else value


def _pairs(flat: Sequence[str]) -> Mapping[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _read(fields: Mapping[str, str]) -> AuditEntry | None:
    details = {
        name: int(value) if name in _NUMBERS and value.isdecimal() else value
        for name, value in fields.items()
        if value and name not in ("seq", "at")
    }
    try:
        return AuditEntry.model_validate(
            {"seq": fields["seq"], "at": to_time(fields["at"]), **details}
        )
    except (KeyError, ValueError, OverflowError, OSError):
        return None
