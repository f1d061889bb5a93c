"""When the whole answers: the gateway is ready and a worker has its model."""

import asyncio
import ipaddress
import time
from collections.abc import Callable
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from tbscreen.models import Health

_POLL_S: Final = 0.1
_TIMEOUT_S: Final = 5.0
_USUAL_START_S: Final = 10.0


class _Readiness(BaseModel):
    """What is told to everybody, with a key or without."""

    workers: int


_Answer = TypeVar("_Answer", bound=BaseModel)


def local_url(host: str, port: int) -> str:
    """Returns the address under which a browser on this machine reaches what listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified or str(address) == "127.0.0.1":
        return f"http://localhost:{port}"
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


async def wait_until_ready(host: str, port: int, tell: Callable[[str], None]) -> Health:
    """Returns the health of the whole once it can answer radiographs.

    Args:
        host: where the gateway listens.
        port: likewise.
        tell: is told, once each, what is still amiss when a start takes unusually long.
    """
    patient_until = time.monotonic() + _USUAL_START_S
    told: set[str] = set()
    # trust_env: a proxy from the environment can not reach this machine's own addresses.
    async with httpx.AsyncClient(
        base_url=local_url(host, port), timeout=_TIMEOUT_S, trust_env=False
    ) as client:
        while True:
            # In this order: what is returned is not older than what it was judged by.
            readiness = await _ask(client, "/readyz", _Readiness)
            health = await _ask(client, "/health", Health)
            if health is not None and readiness is not None and readiness.workers > 0:
                return health
            problems = ["the gateway does not answer"]
            if health is not None:
                problems = health.problems or ["no worker has a model"]
            if time.monotonic() > patient_until:
                for problem in sorted(set(problems) - told):
                    tell(f"not ready yet: {problem}")
                told.update(problems)
            await asyncio.sleep(_POLL_S)


async def _ask(client: httpx.AsyncClient, path: str, kind: type[_Answer]) -> _Answer | None:
    try:
        answer = await client.get(path)
        return kind.model_validate_json(answer.content) if answer.is_success else None
    except (httpx.TransportError, ValidationError):
        return None
