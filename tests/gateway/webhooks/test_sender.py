import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from httpcore import AsyncMockBackend, AsyncMockStream, AsyncNetworkStream
from standardwebhooks.webhooks import Webhook

from support.ports import free_port
from support.webhook_receiver import Answer, WebhookReceiver, running_receiver
from tbscreen_gateway.webhooks.connecting import PinnedBackend
from tbscreen_gateway.webhooks.policy import parse_allowed
from tbscreen_gateway.webhooks.sender import Attempt, WebhookSender, make_tls_context
from tbscreen_gateway.webhooks.signing import parse_secrets
from tbscreen_gateway.webhooks.urls import parse_callback_url
from tbscreen_shared.contracts import CallbackError

SECRET = "whsec_" + "A" * 43 + "="
BODY = b'{"id":"job-1"}'


async def loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def sending(
    *, allow: str = "127.0.0.0/8", timeout_s: float = 5, ca_file: Path | None = None
) -> AsyncIterator[WebhookSender]:
    sender = WebhookSender(
        PinnedBackend(loopback, parse_allowed(allow)),
        make_tls_context(ca_file),
        parse_secrets(SECRET),
        timeout_s=timeout_s,
    )
    yield sender
    await sender.close()


async def send(sender: WebhookSender, url: str) -> Attempt:
    return await sender.send(parse_callback_url(url), message_id="job-1", body=BODY)


async def test_the_receiver_gets_the_body_as_it_is_signed(receiver: WebhookReceiver) -> None:
    async with sending() as sender:
        attempt = await send(sender, f"http://PACS.example.:{receiver.port}/in?from=a%20b")
    assert attempt.delivered and attempt.result == 204
    (delivery,) = receiver.deliveries
    assert delivery.path == "/in?from=a%20b"
    assert delivery.body == BODY
    assert delivery.headers["host"] == f"pacs.example:{receiver.port}"
    assert delivery.headers["content-type"] == "application/json"
    assert delivery.headers["user-agent"].startswith("tbscreen/")
    assert delivery.headers["webhook-id"] == "job-1"
    assert abs(int(delivery.headers["webhook-timestamp"]) - time.time()) < 5
    assert Webhook(SECRET).verify(delivery.body, delivery.headers) == {"id": "job-1"}


class Written(AsyncMockBackend):
    """A network without anybody; what is sent into it is kept."""

    def __init__(self) -> None:
        super().__init__([])
        self.data = b""

    async def connect_tcp(self, *_: object, **__: object) -> AsyncNetworkStream:
        network = self

        class Stream(AsyncMockStream):
            async def write(self, buffer: bytes, timeout: float | None = None) -> None:
                network.data += buffer

        return Stream([b"HTTP/1.1 204 No Content\r\n\r\n"])


async def test_an_ipv6_address_is_named_as_a_host_is() -> None:
    network = Written()
    backend = PinnedBackend(loopback, parse_allowed(""), network)
    sender = WebhookSender(backend, make_tls_context(None), parse_secrets(SECRET), timeout_s=5)
    assert (await send(sender, "http://[2606:4700::1]:8080/in")).delivered
    await sender.close()
    head = network.data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"POST /in HTTP/1.1"
    assert [line for line in head if line.lower().startswith(b"host:")] == [
        b"Host: [2606:4700::1]:8080"
    ]


@pytest.mark.parametrize("status", [200, 201, 299, 301, 304, 400, 404, 410, 429, 500, 503])
async def test_only_a_2xx_is_a_delivery_and_only_410_is_final(
    receiver: WebhookReceiver, status: int
) -> None:
    receiver.usual = Answer(status)
    async with sending() as sender:
        attempt = await send(sender, receiver.url)
    assert (attempt.result, attempt.delivered) == (status, status < 300)
    assert attempt.final == (status == 410)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(receiver: WebhookReceiver, status: int) -> None:
    receiver.usual = Answer(status, headers={"Location": f"{receiver.url}/elsewhere"})
    async with sending() as sender:
        assert (await send(sender, f"{receiver.url}/in")).result == status
    await asyncio.sleep(0.1)
    assert [delivery.path for delivery in receiver.deliveries] == ["/in"]


async def test_no_proxy_of_the_environment_is_used(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with sending() as sender:
        assert (await send(sender, receiver.url)).delivered


@pytest.mark.parametrize(
    ("headers", "status", "expected_s"),
    [
        ({"Retry-After": "120"}, 503, 120),
        ({"retry-after": "7"}, 429, 7),
        ({"Retry-After": "120"}, 500, 0),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 503, 0),
        ({"Retry-After": "-5"}, 503, 0),
        ({"Retry-After": "9" * 400}, 503, 0),
        ({}, 503, 0),
    ],
)
async def test_a_receiver_may_ask_to_be_left_alone(
    receiver: WebhookReceiver, headers: dict[str, str], status: int, expected_s: int
) -> None:
    receiver.usual = Answer(status, headers=headers)
    async with sending() as sender:
        assert (await send(sender, receiver.url)).retry_after_s == expected_s


@pytest.mark.parametrize("answer", [Answer(hold_s=30), Answer(drip_s=0.2)])
async def test_a_receiver_that_is_slow_is_cut_off(
    receiver: WebhookReceiver, answer: Answer
) -> None:
    receiver.usual = answer
    started = time.monotonic()
    async with sending(timeout_s=0.5) as sender:
        assert (await send(sender, receiver.url)).result is CallbackError.TIMED_OUT
    assert time.monotonic() - started < 6


async def test_of_a_huge_answer_a_little_is_read_and_the_status_counts(
    receiver: WebhookReceiver,
) -> None:
    receiver.usual = Answer(200, body_bytes=2**30)
    started = time.monotonic()
    async with sending() as sender:
        assert (await send(sender, receiver.url)).delivered
    assert time.monotonic() - started < 20
    assert receiver.bytes_sent < 64 * 2**20


async def test_a_status_counts_though_its_body_never_comes(receiver: WebhookReceiver) -> None:
    receiver.usual = Answer(200, headers={"Content-Length": "5"})
    async with sending() as sender:
        assert (await send(sender, receiver.url)).delivered


async def test_what_is_no_answer_is_told_apart(receiver: WebhookReceiver) -> None:
    async with sending() as sender:
        nobody = await send(sender, f"http://127.0.0.1:{free_port()}/")
        receiver.usual = Answer(0)
        silent = await send(sender, receiver.url)
        receiver.usual = Answer(204, headers={"X": "y" * 300_000})
        flooding = await send(sender, receiver.url)
    assert nobody.result is CallbackError.CONNECTION_FAILED
    assert silent.result is flooding.result is CallbackError.BROKEN_ANSWER


async def test_a_private_address_is_not_connected_to(receiver: WebhookReceiver) -> None:
    async with sending(allow="127.0.0.2") as sender:
        by_address = await send(sender, receiver.url)
        by_name = await send(sender, f"http://pacs.example:{receiver.port}/")
    assert by_address.result is by_name.result is CallbackError.ADDRESS_NOT_ALLOWED
    assert receiver.deliveries == []


async def test_tls_asks_for_the_names_own_certificate(
    server_tls: ssl.SSLContext, ca_file: Path
) -> None:
    names: list[str] = []
    server_tls.sni_callback = lambda _socket, name, _context: names.append(name)
    with running_receiver(server_tls) as receiver:
        async with sending(ca_file=ca_file) as sender:
            by_name = await send(sender, f"https://pacs.example:{receiver.port}/")
            by_address = await send(sender, f"https://127.0.0.1:{receiver.port}/")
            mistaken = await send(sender, f"https://other.example:{receiver.port}/")
        async with sending() as sender:
            unknown = await send(sender, f"https://pacs.example:{receiver.port}/")
    assert by_name.delivered and by_address.delivered
    assert mistaken.result is unknown.result is CallbackError.TLS_FAILED
    assert "CERTIFICATE_VERIFY_FAILED" in mistaken.detail
    assert names == ["pacs.example", None, "other.example", "pacs.example"]
    assert len(receiver.deliveries) == 2


async def test_a_receiver_without_tls_fails_an_https_url(receiver: WebhookReceiver) -> None:
    async with sending() as sender:
        attempt = await send(sender, f"https://127.0.0.1:{receiver.port}/")
    assert attempt.result is CallbackError.TLS_FAILED


async def test_an_expired_certificate_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue_cert("pacs.example", not_after=datetime(2020, 1, 2, tzinfo=UTC))
    certificate.configure_cert(context)
    with running_receiver(context) as receiver:
        async with sending(ca_file=ca_file) as sender:
            attempt = await send(sender, f"https://pacs.example:{receiver.port}/")
    assert attempt.result is CallbackError.TLS_FAILED


async def test_a_receiver_that_asks_for_a_certificate_after_the_handshake_fails(
    server_tls: ssl.SSLContext, authority: trustme.CA, ca_file: Path
) -> None:
    # As TLS 1.3 has it: the client's handshake has succeeded when the refusal comes.
    server_tls.minimum_version = ssl.TLSVersion.TLSv1_3
    server_tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_tls)
    with running_receiver(server_tls) as receiver:
        async with sending(ca_file=ca_file) as sender:
            attempt = await send(sender, f"https://pacs.example:{receiver.port}/")
    assert attempt.result is CallbackError.TLS_FAILED
    assert "CERTIFICATE_REQUIRED" in attempt.detail
    assert receiver.deliveries == []


async def test_a_status_counts_though_tls_breaks_in_its_body(
    server_tls: ssl.SSLContext, ca_file: Path
) -> None:
    usual = Answer(200, headers={"Content-Length": "5"}, garbled=True)
    with running_receiver(server_tls, usual) as receiver:
        async with sending(ca_file=ca_file) as sender:
            attempt = await send(sender, f"https://pacs.example:{receiver.port}/")
    assert attempt.delivered
