"""Whether the gateway's callers need a key. Decided at start, and the same way by all who ask."""

import ipaddress
import socket
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from tbscreen_shared.access.api_keys import ApiKey, KeyState


class AuthMode(StrEnum):
    """`auto`: keys are needed unless only this machine reaches the gateway and there are none."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class NoKeyError(Exception):
    """Keys are needed and none is valid. The message says how to make one."""


def keys_are_needed(
    mode: AuthMode,
    *,
    reachable_at: str,
    keys: Sequence[ApiKey],
    keys_file: Path | None,
    now: datetime,
) -> bool:
    """Decides whether requests need a key.

    Args:
        mode: what the operator asked for.
        reachable_at: the address under which the gateway can be reached from outside its process,
            or its container.
        keys: every key there is.
        keys_file: where they are kept, for the message; None where nothing says where.
        now: an aware time.

    Raises:
        NoKeyError: they need one, and nobody has a valid one.
    """
    # Where keys were made they are wanted, on loopback as well: a proxy may stand before it.
    if mode is AuthMode.OFF or (mode is AuthMode.AUTO and not keys and is_loopback(reachable_at)):
        return False
    if any(key.state(now) is KeyState.VALID for key in keys):
        return True
    why = "TBSCREEN_AUTH=on"
    if mode is AuthMode.AUTO:
        why = "those there are have expired or are revoked"
        if not is_loopback(reachable_at):
            why = f"other machines can reach {reachable_at}"
    command = "keys create --name NAME --scope submit --scope read"
    raise NoKeyError(
        f"no valid API key, and one is needed ({why}). Make one with `tbscreen {command} --file "
        f"{keys_file or 'FILE'}`{'' if keys_file else ', name the file in TBSCREEN_API_KEYS_FILE'} "
        f"(with compose: `docker compose run --rm admin {command}`), or set TBSCREEN_AUTH=off to "
        "let in whoever reaches the port"
    )


def is_loopback(host: str) -> bool:
    """Tells whether only this machine can reach what listens on `host`, a name or an address.

    What is not understood is taken for reachable.
    """
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host.strip("[]"), None)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)
