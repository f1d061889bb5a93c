"""How many connections there may be, in all and of one client."""

import ipaddress
from collections import Counter
from collections.abc import Sequence
from typing import Final

_CLIENTS_SHARE: Final = 0.5
"""Of all places: what one client may take, so that no one of them takes them all."""

_IPV6_CLIENT_BITS: Final = 64
"""A network of one site at least (RFC 6177): a single machine has all addresses in it."""


class ConnectionLimits:
    """Gives out a server's places for connections.

    Args:
        max_connections: places in all.
        trusted_proxies: addresses or networks that come for many clients, and may take all.
    """

    def __init__(self, max_connections: int, trusted_proxies: Sequence[str] = ()) -> None:
        self._max_connections = max_connections
        self._max_of_client = max(1, int(max_connections * _CLIENTS_SHARE))
        self._proxies = [ipaddress.ip_network(item) for item in trusted_proxies]
        self._taken: Counter[str] = Counter()

    def take(self, address: str) -> bool:
        """Takes a place, unless there is none for a client of this address."""
        client = _client_of(address)
        if self._taken.total() >= self._max_connections:
            return False
        if self._taken[client] >= self._max_of_client and not self._is_proxy(address):
            return False
        self._taken[client] += 1
        return True

    def leave(self, address: str) -> None:
        """Gives a place back."""
        client = _client_of(address)
        self._taken[client] -= 1
        if self._taken[client] <= 0:
            del self._taken[client]

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in proxy for proxy in self._proxies)


def _client_of(address: str) -> str:
    """Returns what stands for one client: its address, or the network that it has in IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4 or parsed.is_loopback:
        return address
    return str(ipaddress.ip_network((parsed.packed, _IPV6_CLIENT_BITS), strict=False))
