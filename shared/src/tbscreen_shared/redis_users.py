"""Who may do what in Redis: the one definition, for every Redis that tbscreen starts.

Written for Redis 6.2, the embedded one, and understood by 7 alike.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from tbscreen_shared.jobs import keys


class RedisUser(StrEnum):
    """Who connects."""

    GATEWAY = "gateway"
    WORKER = "worker"
    PROBE = "probe"
    ADMIN = "admin"


_QUEUE_KEYS: Final = (
    # kombu's: the queue, its lists by priority (a separator of two control characters, then the
    # priority), what is routed to it, and what workers have in hand.
    "~tbscreen",
    "~tbscreen??[369]",
    "~_kombu.binding*",
    "~unacked",
    "~unacked_index",
    "~unacked_mutex",
)

_GATEWAY_KEYS: Final = ("~tbscreen:*", *_QUEUE_KEYS)

# One by one: decoders of strangers' files run in a worker. Sessions, rates, Idempotency-Keys and
# where the audit log ends are none of its business.
_WORKER_KEYS: Final = (
    *(f"~{prefix}*" for prefix in (keys.JOB_PREFIX, keys.LEASE_PREFIX, keys.BATCH_PREFIX)),
    *(f"~{key}" for key in (keys.QUEUED, keys.STARTED, keys.DEAD, keys.CALLBACKS, keys.RETAINED)),
    *(f"~{key}" for key in (f"{keys.DRAINED_PREFIX}*", keys.AUDIT, keys.AUDIT_SEQUENCE)),
    *("~tbscreen:workers", "~tbscreen:worker:*"),
    *_QUEUE_KEYS,
)

_CHANNELS: Final = ("resetchannels", "&tbscreen:done:*")

# Whole categories by type of value, so that a new script needs no new rule; of what reaches beyond
# a key of theirs, only what is named. `@dangerous` has KEYS, SORT, RESTORE, MIGRATE, SWAPDB, the
# FLUSHes and, with `@admin`, CONFIG, DEBUG, SHUTDOWN, MONITOR, REPLICAOF and ACL.
_COMMANDS: Final = (
    "-@all",
    *("+@string", "+@hash", "+@list", "+@set", "+@sortedset", "+@stream"),
    *("+@connection", "+@transaction"),
    *("-@admin", "-@dangerous"),
    *("+del", "+unlink", "+exists", "+type"),
    *("+expire", "+pexpire", "+expireat", "+pexpireat", "+persist", "+ttl", "+pttl"),
    *("+eval", "+evalsha", "+script|load", "+script|exists"),
    *("+time", "+publish"),
)

_ONLY_ADDING_TO_STREAMS: Final = ("-@stream", "+xadd")

_LISTENING: Final = ("+subscribe", "+unsubscribe", "+psubscribe", "+punsubscribe")

_NOBODY: Final = "user default reset off ~* &* +@all"
"""Redis' own user for connections that give no name: nobody can be it, for it is off.

It keeps all rights nevertheless. Redis 7.0 replays the append-only file in its name, and drops
every transaction and script's effects in it that it may not do: all jobs, at the next start.
"""

_RULES: Final[Mapping[RedisUser, tuple[str, ...]]] = {
    RedisUser.GATEWAY: (*_GATEWAY_KEYS, *_CHANNELS, *_COMMANDS, *_LISTENING, "+info"),
    RedisUser.WORKER: (*_WORKER_KEYS, *_CHANNELS, *_COMMANDS, *_ONLY_ADDING_TO_STREAMS),
    RedisUser.PROBE: ("resetchannels", "-@all", "+ping"),
    RedisUser.ADMIN: ("~*", "&*", "+@all"),
}


def acl_file(passwords: Mapping[RedisUser, str]) -> str:
    """Returns the text of Redis' `aclfile`; it holds the passwords' SHA-256, not the passwords.

    That is what Redis itself stores. It is safe for passwords that are random and long, and for no
    others.

    Args:
        passwords: one for each user.

    Raises:
        KeyError: a user has none.
    """
    lines = [_NOBODY]
    for user, rules in _RULES.items():
        digest = hashlib.sha256(passwords[user].encode()).hexdigest()
        lines.append(" ".join(("user", user, "reset", "on", f"#{digest}", *rules)))
    return "\n".join(lines) + "\n"
