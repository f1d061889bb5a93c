"""Connections that go to the address that was checked, and nowhere else.

The name is resolved once and the socket is opened to one of those very addresses: a second look-up
could answer with another (DNS rebinding). TLS still asks for the name's own certificate.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Final, Never

from httpcore import (
    SOCKET_OPTION,
    AnyIOBackend,
    AsyncNetworkBackend,
    AsyncNetworkStream,
    ConnectError,
    ConnectTimeout,
)

from tbscreen_gateway.webhooks.addresses import AllowedReceivers, IPAddress, literal_address

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host name and port in, addresses out. Raises OSError, or UnicodeError, for a name without any."""

_MAX_ADDRESSES: Final = 4


class AddressNotAllowed(Exception):
    """The host has no address, or one that callbacks may not go to. The message is for logs."""


class PinnedBackend(AsyncNetworkBackend):
    """Resolves, checks all the addresses, and connects to the first that answers."""

    def __init__(
        self, resolve: Resolve, allowed: AllowedReceivers, opener: AsyncNetworkBackend | None = None
    ) -> None:
        self._resolve = resolve
        self._allowed = allowed
        self._opener = opener or AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Opens a connection; `timeout` is for resolving, and for each address.

        Raises:
            AddressNotAllowed: nothing was connected to.
            ConnectError, ConnectTimeout: none of the addresses takes a connection.
        """
        error: ConnectError | ConnectTimeout | None = None
        for address in await self._checked_addresses(host, port, timeout):
            try:
                return await self._opener.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (ConnectError, ConnectTimeout) as failed:
                error = failed
        assert error is not None
        raise error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> Never:
        """Never: a callback goes over the network."""
        raise AddressNotAllowed("a local socket")

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)

    async def _checked_addresses(
        self, host: str, port: int, timeout: float | None
    ) -> list[IPAddress]:
        """Returns the host's addresses, all of them permitted.

        One that is not condemns the rest: whose name has a private address beside a public one is
        trying something, or is a mistake.
        """
        literal = literal_address(host)
        addresses = [literal] if literal is not None else await self._look_up(host, port, timeout)
        if not addresses:
            raise AddressNotAllowed("its name has no address")
        if not all(self._allowed.permit(host, address) for address in addresses):
            raise AddressNotAllowed("it has an address that is not public")
        return addresses[:_MAX_ADDRESSES]

    async def _look_up(self, host: str, port: int, timeout: float | None) -> list[IPAddress]:
        try:
            async with asyncio.timeout(timeout):
                found = await self._resolve(host, port)
        except TimeoutError:
            raise AddressNotAllowed("its name was not resolved in time") from None
        except (OSError, UnicodeError):
            raise AddressNotAllowed("its name can not be resolved") from None
        return [ip_address(address) for address in dict.fromkeys(found)]


class SystemResolver:
    """The operating system's resolver, in threads of its own.

    asyncio's own threads serve the connections to Redis as well: names that are slow to resolve
    would hold those up.
    """

    def __init__(self, *, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolver")

    async def __call__(self, host: str, port: int) -> list[str]:
        """See `Resolve`."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(entry[4][0]) for entry in found]

    def close(self) -> None:
        """Begins no more look-ups; those that run can not be stopped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
