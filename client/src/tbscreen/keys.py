"""The gateway's API keys, on the machine that holds their file. Needs the extra `serve`."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr, ValidationError

from tbscreen_shared.access import (
    ApiKey,
    KeyFileError,
    KeyState,
    Scope,
    edited_keys,
    issue_key,
    read_keys,
)


class KeysError(Exception):
    """One sentence for the person at the terminal; no key was made or changed."""


def create_key(
    path: Path, name: str, scopes: Iterable[str], *, life: timedelta | None
) -> tuple[ApiKey, SecretStr]:
    """Makes a key; returns what is kept of it, and its token, which is nowhere else.

    Args:
        path: the file of keys, made if it is not there.
        name: whose key it is.
        scopes: at least one of submit, read, admin.
        life: after which it expires; None for never.

    Raises:
        KeysError: the name or a scope is none, or the file can not be read or written.
    """
    try:
        wanted = [Scope(scope) for scope in scopes]
    except ValueError as error:
        raise KeysError(f"a scope is one of {', '.join(Scope)}") from error
    now = _now()
    try:
        key, token = issue_key(name, wanted, now=now, expires_at=now + life if life else None)
    except ValidationError as error:
        first = error.errors()[0]
        raise KeysError(f"{first['loc'][0]}: {first['msg']}") from error
    try:
        with edited_keys(path) as keys:
            keys.append(key)
    except KeyFileError as error:
        raise KeysError(str(error)) from error
    return key, token


def list_keys(path: Path) -> list[tuple[ApiKey, KeyState]]:
    """Returns the keys in the order they were made in, each with its state now.

    Raises:
        KeysError: the file can not be read.
    """
    try:
        return [(key, key.state(_now())) for key in read_keys(path)]
    except FileNotFoundError:
        return []
    except KeyFileError as error:
        raise KeysError(str(error)) from error


def revoke_key(path: Path, key_id: str) -> ApiKey:
    """Ends a key for ever, with the sessions it signed in; returns it.

    Raises:
        KeysError: there is no such key, or the file can not be read or written.
    """
    try:
        with edited_keys(path) as keys:
            place = _place_of(keys, key_id)
            if keys[place].revoked_at is None:
                keys[place] = keys[place].model_copy(update={"revoked_at": _now()})
            return keys[place]
    except KeyFileError as error:
        raise KeysError(str(error)) from error


def rotate_key(path: Path, key_id: str, *, overlap: timedelta) -> tuple[ApiKey, ApiKey, SecretStr]:
    """Makes a key in another one's place: its name, its scopes, and a life as long.

    Args:
        path: the file of keys.
        key_id: the one to be replaced.
        overlap: for which it stays valid, if it does not expire before.

    Returns:
        The key as it was left, the new one, and the new one's token.

    Raises:
        KeysError: there is no such valid key, or the file can not be read or written.
    """
    now = _now()
    try:
        with edited_keys(path) as keys:
            place = _place_of(keys, key_id)
            old = keys[place]
            if (state := old.state(now)) is not KeyState.VALID:
                raise KeysError(f"{key_id} is {state}: make a new key with `tbscreen keys create`")
            ends = [now + overlap, *([old.expires_at] if old.expires_at else [])]
            keys[place] = old.model_copy(update={"expires_at": min(ends)})
            expires_at = now + (old.expires_at - old.created_at) if old.expires_at else None
            new, token = issue_key(old.name, old.scopes, now=now, expires_at=expires_at)
            keys.append(new)
            return keys[place], new, token
    except KeyFileError as error:
        raise KeysError(str(error)) from error


def _place_of(keys: list[ApiKey], key_id: str) -> int:
    for place, key in enumerate(keys):
        if key.id == key_id:
            return place
    raise KeysError(f"there is no key {key_id}: `tbscreen keys list` shows those there are")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
