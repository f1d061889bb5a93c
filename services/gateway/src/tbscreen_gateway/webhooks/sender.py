"""Sends one webhook, once."""

import asyncio
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpcore

from tbscreen_gateway.health import VERSION
from tbscreen_gateway.webhooks.connecting import AddressNotAllowed, PinnedBackend
from tbscreen_gateway.webhooks.signing import signature_headers
from tbscreen_gateway.webhooks.urls import CallbackUrl
from tbscreen_shared.contracts import CallbackError

_Headers = list[tuple[str | bytes, str | bytes]]

_CONNECT_TIMEOUT_S: Final = 5.0

_READ_BYTES: Final = 64 * 1024
_READ_TIMEOUT_S: Final = 1.0
"""An answer's body is read, so that the receiver's server does not see a broken connection, and
thrown away; but not for longer than that."""

_BROKEN_BODY: Final = (TimeoutError, ssl.SSLError, httpcore.NetworkError, httpcore.ProtocolError)

_RETRY_AFTER_STATUSES: Final = (429, 503)


@dataclass(frozen=True)
class Attempt:
    """What came of one sending.

    Attributes:
        result: the HTTP status, or why there was none.
        retry_after_s: how long the receiver asks to be left alone; 0 where it does not.
        detail: about an error, for the log.
    """

    result: int | CallbackError
    retry_after_s: int = 0
    detail: str = ""

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it."""
        return isinstance(self.result, int) and 200 <= self.result < 300

    @property
    def final(self) -> bool:
        """Whether it is never tried again: the receiver said so (410 Gone), or it must not be."""
        return self.result in (410, CallbackError.NOT_ALLOWED)


class WebhookSender:
    """Posts signed bodies. Follows no redirect, uses no proxy, keeps no connection and no cookie.

    Args:
        backend: opens the connections.
        tls: whom to trust.
        keys: what to sign with.
        timeout_s: for everything, from the name's look-up to the answer's head.
    """

    def __init__(
        self,
        backend: PinnedBackend,
        tls: ssl.SSLContext,
        keys: tuple[bytes, ...],
        *,
        timeout_s: float,
    ) -> None:
        self._keys = keys
        self._timeout_s = timeout_s
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            # The deliverer counts them.
            max_connections=None,
            # A kept connection that the receiver closes meanwhile would cost an attempt.
            max_keepalive_connections=0,
            network_backend=backend,
        )

    async def send(self, url: CallbackUrl, *, message_id: str, body: bytes) -> Attempt:
        """Posts the body and says what came of it, whatever the receiver does."""
        timestamp_s = int(time.time())
        signatures = signature_headers(
            self._keys, message_id=message_id, timestamp_s=timestamp_s, body=body
        )
        headers: _Headers = [
            ("Host", url.authority),
            ("User-Agent", f"tbscreen/{VERSION}"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            *signatures.items(),
        ]
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(url, headers, body)
        except (TimeoutError, httpcore.TimeoutException):
            return Attempt(CallbackError.TIMED_OUT)
        except AddressNotAllowed as error:
            return Attempt(CallbackError.ADDRESS_NOT_ALLOWED, detail=str(error))
        except httpcore.ConnectError as error:
            # httpcore's pool drops the cause; the context stays.
            if isinstance(error.__context__, ssl.SSLError):
                return Attempt(CallbackError.TLS_FAILED, detail=str(error.__context__.reason))
            return Attempt(CallbackError.CONNECTION_FAILED)
        except ssl.SSLError as error:
            # After the handshake, httpcore lets it through: TLS 1.3 refuses a client only then.
            return Attempt(CallbackError.TLS_FAILED, detail=str(error.reason))
        except httpcore.NetworkError:
            return Attempt(CallbackError.CONNECTION_FAILED)
        except httpcore.ProtocolError:
            return Attempt(CallbackError.BROKEN_ANSWER)

    async def close(self) -> None:
        """Ends the connections."""
        await self._pool.aclose()

    async def _post(self, url: CallbackUrl, headers: _Headers, body: bytes) -> Attempt:
        target = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        timeouts = {"connect": min(_CONNECT_TIMEOUT_S, self._timeout_s)}
        async with self._pool.stream(
            "POST", target, headers=headers, content=body, extensions={"timeout": timeouts}
        ) as response:
            attempt = Attempt(response.status, _retry_after_s(response))
            # Whatever becomes of the body: the status has come.
            with suppress(*_BROKEN_BODY):
                async with asyncio.timeout(_READ_TIMEOUT_S):
                    await _read_some(response)
            return attempt


def make_tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Returns a context that trusts the public authorities, and those in a PEM file.

    Raises:
        OSError: the file can not be read.
    """
    context = httpcore.default_ssl_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


async def _read_some(response: httpcore.Response) -> None:
    read_bytes = 0
    async for chunk in response.aiter_stream():
        read_bytes += len(chunk)
        if read_bytes > _READ_BYTES:
            return


def _retry_after_s(response: httpcore.Response) -> int:
    if response.status in _RETRY_AFTER_STATUSES:
        for name, value in response.headers:
            # A date may stand here too; the usual pause does for that.
            if name.lower() == b"retry-after" and value.isdigit() and len(value) < 8:
                return int(value)
    return 0
