"""Whether the gateway may start as it is asked to, told before anything is started."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tbscreen.serve.errors import ServeError
from tbscreen_shared.access import (
    AuthMode,
    KeyFileError,
    NoKeyError,
    how_others_reach,
    keys_are_needed,
    listed,
    read_keys,
)


def check_access(host: str, keys_file: Path, environment: Mapping[str, str]) -> None:
    """Decides as the gateway will, which would end with the same words.

    Args:
        host: address to listen on.
        keys_file: the gateway's file of keys, which need not be there.
        environment: the gateway's.

    Raises:
        ServeError: others reach it and nobody has a key, or its keys can not be read.
    """
    others_by = how_others_reach(
        environment.get("TBSCREEN_PUBLISHED_ON") or host,
        trusted_proxies=listed(environment.get("TBSCREEN_TRUSTED_PROXIES", "")),
        allowed_hosts=listed(environment.get("TBSCREEN_ALLOWED_HOSTS", "")),
    )
    try:
        mode = AuthMode(environment.get("TBSCREEN_AUTH", AuthMode.AUTO))
    except ValueError as error:
        raise ServeError(f"TBSCREEN_AUTH is one of {', '.join(AuthMode)}") from error
    try:
        keys = read_keys(keys_file) if mode is not AuthMode.OFF else []
    except FileNotFoundError:
        keys = []
    except KeyFileError as error:
        raise ServeError(str(error)) from error
    try:
        keys_are_needed(
            mode,
            others_by=others_by,
            keys=keys,
            keys_file=keys_file,
            now=datetime.now(UTC),
        )
    except NoKeyError as error:
        raise ServeError(str(error)) from error
