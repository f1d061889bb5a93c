"""Where connections go, seen at the level below: what is opened is recorded, and fails or not."""

import asyncio
import socket
import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_network

import pytest
from httpcore import (
    SOCKET_OPTION,
    AsyncMockBackend,
    AsyncNetworkStream,
    ConnectError,
    ConnectTimeout,
)

from tbscreen_gateway.webhooks.addresses import AllowedReceivers
from tbscreen_gateway.webhooks.connecting import AddressNotAllowed, PinnedBackend, SystemResolver

PUBLIC, ALSO_PUBLIC, PRIVATE = "93.184.216.34", "2606:4700::1111", "10.0.0.5"


class Opener(AsyncMockBackend):
    """Opens nothing, and says what it was asked to."""

    def __init__(self, dead: Iterable[str] = ()) -> None:
        super().__init__([])
        self.opened: list[tuple[str, int]] = []
        self._dead = set(dead)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        self.opened.append((host, port))
        if host in self._dead:
            raise ConnectTimeout if host == PUBLIC else ConnectError
        return await super().connect_tcp(host, port, timeout)


class Resolver:
    """Gives one answer after the other."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_the_socket_goes_to_the_address_that_was_checked() -> None:
    resolver, opener = Resolver([PUBLIC], [PRIVATE]), Opener()
    backend = PinnedBackend(resolver, AllowedReceivers(), opener)
    await backend.connect_tcp("rebinding.example", 443)
    assert (resolver.asked, opener.opened) == (["rebinding.example"], [(PUBLIC, 443)])
    # The name that was public is private by the next attempt.
    with pytest.raises(AddressNotAllowed):
        await backend.connect_tcp("rebinding.example", 443)
    assert opener.opened == [(PUBLIC, 443)]


@pytest.mark.parametrize("answer", [[PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [ALSO_PUBLIC, "::1"]])
async def test_one_address_that_is_not_permitted_condemns_the_name(answer: list[str]) -> None:
    opener = Opener()
    with pytest.raises(AddressNotAllowed, match="not public"):
        await PinnedBackend(Resolver(answer), AllowedReceivers(), opener).connect_tcp("h", 443)
    assert opener.opened == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "0.0.0.0"]
)
async def test_a_written_address_is_checked_and_not_resolved(host: str) -> None:
    resolver, opener = Resolver(), Opener()
    with pytest.raises(AddressNotAllowed):
        await PinnedBackend(resolver, AllowedReceivers(), opener).connect_tcp(host, 443)
    assert (resolver.asked, opener.opened) == ([], [])


async def test_what_the_operator_allows_is_connected_to() -> None:
    allowed = AllowedReceivers(frozenset({"pacs"}), (ip_network("10.9.0.0/16"),))
    opener = Opener()
    backend = PinnedBackend(Resolver([PRIVATE], ["10.9.0.1"], [PRIVATE]), allowed, opener)
    await backend.connect_tcp("pacs", 104)
    await backend.connect_tcp("other", 105)
    assert opener.opened == [(PRIVATE, 104), ("10.9.0.1", 105)]
    with pytest.raises(AddressNotAllowed):
        await backend.connect_tcp("other", 105)


async def test_addresses_are_tried_one_after_the_other() -> None:
    opener = Opener(dead=[PUBLIC])
    backend = PinnedBackend(Resolver([PUBLIC, PUBLIC, ALSO_PUBLIC]), AllowedReceivers(), opener)
    await backend.connect_tcp("h", 443)
    assert opener.opened == [(PUBLIC, 443), (ALSO_PUBLIC, 443)]


async def test_when_none_answers_the_last_ones_error_is_told() -> None:
    opener = Opener(dead=[PUBLIC, ALSO_PUBLIC])
    backend = PinnedBackend(Resolver([PUBLIC, ALSO_PUBLIC]), AllowedReceivers(), opener)
    with pytest.raises(ConnectError):
        await backend.connect_tcp("h", 443)


@pytest.mark.parametrize(
    "answer", [[], socket.gaierror(socket.EAI_NONAME, "?"), UnicodeError("label too long")]
)
async def test_a_name_without_an_address_is_not_allowed(answer: list[str] | Exception) -> None:
    with pytest.raises(AddressNotAllowed, match="name"):
        await PinnedBackend(Resolver(answer), AllowedReceivers(), Opener()).connect_tcp("h", 443)


async def test_a_slow_look_up_ends_with_the_connections_timeout() -> None:
    async def slow(host: str, port: int) -> list[str]:
        await asyncio.sleep(30)
        return [PUBLIC]

    started = time.monotonic()
    with pytest.raises(AddressNotAllowed, match="in time"):
        await PinnedBackend(slow, AllowedReceivers(), Opener()).connect_tcp("h", 443, 0.1)
    assert time.monotonic() - started < 5


async def test_no_local_socket_is_ever_opened() -> None:
    with pytest.raises(AddressNotAllowed):
        await PinnedBackend(Resolver(), AllowedReceivers()).connect_unix_socket("/run/docker.sock")


async def test_the_systems_resolver_knows_this_machine() -> None:
    resolver = SystemResolver(threads=1)
    assert "127.0.0.1" in await resolver("localhost", 80)
    resolver.close()
