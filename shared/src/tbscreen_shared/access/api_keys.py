"""API keys: what one is, what it may, and how the token that a client sends is recognised.

A token is `tbs_<id>_<secret>`. The prefix lets scanners of code and logs find one that was leaked;
the id says which key it is without its secret.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AwareDatetime, Field, SecretStr, field_validator

from tbscreen_shared.contracts import Frozen

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(
    rf"tbs_([0-9a-f]{{{2 * _ID_BYTES}}})_([0-9a-f]{{{2 * _SECRET_BYTES}}})", re.ASCII
)
_NO_DIGEST: Final = "0" * 64


class Scope(StrEnum):
    """What a key may do. No scope holds another: a key has exactly those it was given."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


class KeyState(StrEnum):
    """Whether a key opens anything at a moment."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ApiKey(Frozen):
    """A key as it is kept: without its secret.

    A field that is not known is an error: a misspelt `expires_at` would else be a key for ever.
    """

    id: str = Field(pattern=rf"^[0-9a-f]{{{2 * _ID_BYTES}}}$")
    name: str = Field(min_length=1, max_length=60, description="whose it is, for people")
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    # The secret is 256 random bits: no dictionary holds it and no computer tries them all, so the
    # slow and salted hash that a password needs would only make each request dearer.
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None

    @field_validator("name")
    @classmethod
    def _is_one_plain_line(cls, name: str) -> str:
        if not name.isprintable() or name != name.strip():
            raise ValueError("must be one line of printable characters")
        return name

    def state(self, now: datetime) -> KeyState:
        """Returns what the key is worth at `now`, an aware time."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return KeyState.EXPIRED
        return KeyState.VALID


def issue_key(
    name: str, scopes: Iterable[Scope], *, now: datetime, expires_at: datetime | None = None
) -> tuple[ApiKey, SecretStr]:
    """Makes a key; returns what is kept of it, and the token, which exists nowhere else.

    Raises:
        ValidationError: the name is empty, longer than 60 characters or not one plain line.
    """
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    key = ApiKey(
        id=key_id,
        name=name,
        scopes=tuple(sorted(set(scopes))),
        secret_sha256=_digest(secret),
        created_at=now,
        expires_at=expires_at,
    )
    return key, SecretStr(f"tbs_{key_id}_{secret}")


def recognise(token: str, keys: Mapping[str, ApiKey]) -> ApiKey | None:
    """Returns the key that the token is of, whatever its state; None where it is of none.

    An unknown id costs what a known one with a wrong secret costs, and how much of a secret is
    right does not show in the time it takes.
    """
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        return None
    key = keys.get(parts[1])
    expected = key.secret_sha256 if key is not None else _NO_DIGEST
    is_right = hmac.compare_digest(_digest(parts[2]), expected)
    return key if is_right else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()
