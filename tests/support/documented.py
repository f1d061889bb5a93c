"""Whether an answer has a status and headers that the API's documentation names."""

import re
from functools import cache
from typing import Any, Final

import httpx
from pydantic import SecretStr

from tbscreen_gateway.app import create_app
from tbscreen_gateway.settings import GatewaySettings

_TOLD: Final = (
    *("ETag", "Idempotency-Replayed", "Link", "Location", "Preference-Applied"),
    *("Retry-After", "Set-Cookie", "WWW-Authenticate"),
)
"""What clients may act on: it has to be in the document where it is sent."""

_ANYWHERE: Final = (405, 500)
"""What no operation names: another method, and what nobody foresaw."""


async def check_documented(response: httpx.Response) -> None:
    """For httpx's event hooks: holds each answer that a test gets to the OpenAPI document."""
    described = _described_headers(response)
    if described is None:
        return
    sent = response.headers
    missing = [
        name for name, header in described.items() if header["required"] and name not in sent
    ]
    untold = [name for name in _TOLD if name in sent and name not in described]
    request = response.request
    assert not missing, f"{request.method} {request.url} {response.status_code}: no {missing}"
    assert not untold, f"{request.method} {request.url} {response.status_code}: untold {untold}"


def _described_headers(response: httpx.Response) -> dict[str, Any] | None:
    for pattern, methods in _documented_paths():
        if pattern.fullmatch(response.request.url.path):
            operation = methods.get(response.request.method.lower(), {"responses": {}})
            answer = operation["responses"].get(str(response.status_code))
            if answer is not None:
                return answer["headers"]
            assert response.status_code in _ANYWHERE, f"{response.url}: {response.status_code}"
    return None


@cache
def _documented_paths() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    document = create_app(GatewaySettings(redis_url=SecretStr("redis://127.0.0.1"))).openapi()
    return [
        (re.compile(re.sub(r"\{\w+\}", "[^/]+", path.replace(".", r"\."))), methods)
        for path, methods in document["paths"].items()
    ]
