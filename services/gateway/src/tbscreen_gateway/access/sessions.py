"""Signed-in browsers. A session is kept in Redis, so that signing out ends it at once."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import AwareDatetime
from redis import Redis

from tbscreen_shared.access import ApiKey
from tbscreen_shared.contracts import Recorded

SESSION_LIFE: Final = timedelta(hours=12)
"""A long shift; nobody is signed in for longer, whether they work or not."""

_TOKEN_BYTES: Final = 32


class Session(Recorded):
    """Who signed in, until when."""

    key_id: str
    expires_at: AwareDatetime


class SessionStore:
    """Sessions by a random token. Redis holds the token's hash: who reads Redis signs in as nobody.

    Synchronous. Every method raises RedisError where Redis can not be reached.
    """

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def open(self, key: ApiKey) -> tuple[str, Session]:
        """Starts a session with a valid key; returns the token that finds it again."""
        now = datetime.now(UTC)
        ends = [now + SESSION_LIFE, *([key.expires_at] if key.expires_at else [])]
        session = Session(key_id=key.id, expires_at=min(ends))
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        life_ms = max(1, int((session.expires_at - now).total_seconds() * 1000))
        self._redis.set(_redis_key(token), session.model_dump_json(), px=life_ms)
        return token, session

    def find(self, token: str) -> Session | None:
        """Returns the session, None where there is none or it has ended.

        Whether its key is still valid is not known here.
        """
        found = self._redis.get(_redis_key(token))
        return None if found is None else Session.model_validate_json(str(found))

    def close(self, token: str) -> None:
        """Ends a session; one that has ended is no error."""
        self._redis.delete(_redis_key(token))


def _redis_key(token: str) -> str:
    return f"tbscreen:session:{hashlib.sha256(token.encode()).hexdigest()}"
