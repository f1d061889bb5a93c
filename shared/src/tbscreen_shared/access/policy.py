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
    others_by: str | None,
    keys: Sequence[ApiKey],
    keys_file: Path | None,
    now: datetime,
) -> bool:
    """Decides whether requests need a key.

    Args:
        mode: what the operator asked for.
        others_by: of `how_others_reach`.
        keys: every key there is.
        keys_file: where they are kept, for the message; None where nothing says where.
        now: an aware time.

    Raises:
        NoKeyError: they need one, and nobody has a valid one.
    """
    # Where keys were made they are wanted, on loopback as well: a proxy may stand before it.
    if mode is AuthMode.OFF or (mode is AuthMode.AUTO and not keys and others_by is None):
        return False
    if any(key.state(now) is KeyState.VALID for key in keys):
        return True
    why = "TBSCREEN_AUTH=on"
    if mode is AuthMode.AUTO:
        why = others_by or "those there are have expired or are revoked"
    command = "keys create --name NAME --scope submit --scope read"
    raise NoKeyError(
        f"no valid API key, and one is needed ({why}). Make one with `tbscreen {command} --file "
        f"{keys_file or 'FILE'}`{'' if keys_file else ', name the file in TBSCREEN_API_KEYS_FILE'} "
        f"(with compose: `docker compose run --rm admin {command}`), or set TBSCREEN_AUTH=off to "
        "let in whoever reaches the port"
    )


def how_others_reach(
    address: str, *, trusted_proxies: Sequence[str], allowed_hosts: Sequence[str]
) -> str | None:
    """Returns how other machines reach the gateway, for people; None where nothing says they do.

    On loopback, what was set for a proxy tells of one: nothing else needs it.

    Args:
        address: under which it is reached from outside its process, or its container.
        trusted_proxies: whose X-Forwarded-* headers it believes.
        allowed_hosts: by which names it is asked for, each with or without a port.
    """
    if not is_loopback(address):
        return f"other machines can reach {address}"
    if trusted_proxies:
        return "TBSCREEN_TRUSTED_PROXIES says that a proxy stands before it"
    others = [host for host in allowed_hosts if not _means_this_machine(host_of(host))]
    return f"TBSCREEN_ALLOWED_HOSTS names {others[0]}" if others else None


def host_of(authority: str) -> str:
    """Returns the host of `host[:port]`, in one form for each."""
    host = authority.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.removesuffix(".")


def listed(value: str) -> tuple[str, ...]:
    """Returns the items of a setting that separates them by commas."""
    return tuple(item.strip() for item in value.split(",") if item.strip())


def is_loopback(host: str) -> bool:
    """Tells whether only this machine can reach what listens on `host`, a name or an address.

    What is not understood is taken for reachable.
    """
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host.strip("[]"), None)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def _means_this_machine(host: str) -> bool:
    # Not looked up: a public name of this machine's often has a loopback address in its own
    # /etc/hosts, and whoever else asks by that name has another.
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
