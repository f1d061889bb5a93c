"""The gateway in this process, behind an httpx client that speaks ASGI to it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from support.documented import check_documented
from tbscreen_gateway.app import create_app
from tbscreen_gateway.settings import GatewaySettings

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256))


def as_form(data: bytes, name: str = "file") -> dict[str, tuple[str, bytes]]:
    return {name: ("radiograph", data)}


@asynccontextmanager
async def running_gateway(
    settings: GatewaySettings, *, extend: Callable[[FastAPI], object] = lambda _: None
) -> AsyncIterator[httpx.AsyncClient]:
    """Runs the lifespan, which ASGITransport does not, and hands its state to every request."""
    app = create_app(settings)
    extend(app)
    async with app.router.lifespan_context(app) as state:

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"] = dict(state or {})
            await app(scope, receive, send)

        transport = httpx.ASGITransport(serve)
        async with httpx.AsyncClient(
            transport=transport,
            base_url="http://localhost",
            event_hooks={"response": [check_documented]},
        ) as client:
            yield client
