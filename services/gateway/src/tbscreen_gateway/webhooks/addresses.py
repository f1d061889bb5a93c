"""Which addresses a callback may be sent to: public ones, and those the operator has allowed.

A gateway stands in a network that its callers do not: without this, whoever may submit a radiograph
could have it send requests to the hospital's machines, to Redis, or to the cloud's metadata.
"""

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""All that the IPv6 registry has given out as public; what is beside it is special or nobody's."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""The last 32 bits are an IPv4 address (RFC 6052)."""

_ALSO_SPECIAL: Final[tuple[IPNetwork, ...]] = (
    # Set aside for protocols. `ipaddress` of Python 3.11 knows but a few of these addresses, and
    # Oracle's cloud has its metadata on another.
    IPv4Network("192.0.0.0/24"),
    # Azure's agent: public by number, and answered by the virtual machine's own host.
    IPv4Network("168.63.129.16/32"),
    # Documentation, since 2024: younger than `ipaddress` of Python 3.11.
    IPv6Network("3fff::/20"),
)


def is_public(address: IPAddress) -> bool:
    """Tells whether packets to the address leave for the public internet.

    An IPv6 address that carries an IPv4 one (mapped, 6to4, NAT64) is judged by that.
    """
    if any(address in network for network in _ALSO_SPECIAL):
        return False
    if isinstance(address, IPv4Address):
        # Multicast is global to `ipaddress`.
        return address.is_global and not address.is_multicast
    embedded = _embedded(address)
    if embedded is not None:
        return is_public(embedded)
    return address.is_global and address in _GLOBAL_UNICAST


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


@dataclass(frozen=True)
class AllowedReceivers:
    """Where callbacks may go beside the public addresses, and where they may not.

    Attributes:
        hosts: names, lower case; whatever address they resolve to.
        networks: addresses, whatever name they have.
        denied_hosts: names that are not called, whatever else is allowed.
        denied_networks: addresses, likewise; an IPv6 address that carries one of theirs as well.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPNetwork, ...] = ()
    denied_hosts: frozenset[str] = frozenset()
    denied_networks: tuple[IPNetwork, ...] = ()

    def permit(self, host: str, address: IPAddress) -> bool:
        """Tells whether a callback to `host` may connect to `address`."""
        if self.deny(host, address):
            return False
        return (
            host in self.hosts
            or any(address in network for network in self.networks)
            or is_public(address)
        )

    def deny(self, host: str, address: IPAddress | None = None) -> bool:
        """Tells whether the operator has ruled the host out, or the address."""
        if host in self.denied_hosts:
            return True
        carried = _embedded(address) if isinstance(address, IPv6Address) else None
        return any(
            one in network
            for one in (address, carried)
            if one is not None
            for network in self.denied_networks
        )


def literal_address(host: str) -> IPAddress | None:
    """Returns the address that a host is written as; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None
