"""API keys in a file, as `tbscreen keys create` makes them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tbscreen_shared.access import ApiKey, Scope, edited_keys, issue_key

EVERYTHING = tuple(Scope)


def add_key(path: Path, *scopes: Scope, name: str = "PACS", **changes: Any) -> tuple[ApiKey, str]:
    """Returns the key and its token."""
    key, token = issue_key(name, scopes or EVERYTHING, now=datetime.now(UTC))
    key = key.model_copy(update=changes)
    with edited_keys(path) as keys:
        keys.append(key)
    return key, token.get_secret_value()


def revoke(path: Path, key: ApiKey) -> None:
    with edited_keys(path) as keys:
        place = [item.id for item in keys].index(key.id)
        keys[place] = key.model_copy(update={"revoked_at": datetime.now(UTC)})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
