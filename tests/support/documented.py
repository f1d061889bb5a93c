"""Whether the API's documentation names an answer's status, its headers and its error code."""

import re
from functools import cache
from typing import Any, Final

import httpx
from pydantic import SecretStr

from tbscreen_gateway.app import create_app
from tbscreen_gateway.problems import PROBLEM_MEDIA_TYPE
from tbscreen_gateway.settings import GatewaySettings

_TOLD: Final = (
    *("ETag", "Idempotency-Replayed", "Link", "Location", "Preference-Applied"),
    *("Retry-After", "Set-Cookie", "WWW-Authenticate"),
)
"""What clients may act on: it has to be in the document where it is sent."""

_PART: Final = re.compile(r"\{\w+\}")
_ANYWHERE: Final = (500,)
"""What no operation names: what nobody foresaw."""


async def check_documented(response: httpx.Response) -> None:
    """For httpx's event hooks: holds each answer that a test gets to the OpenAPI document."""
    described = _described(response)
    if described is None:
        return
    sent = response.headers
    needed = [name for name, header in described["headers"].items() if header["required"]]
    missing = [name for name in needed if name not in sent]
    untold = [name for name in _TOLD if name in sent and name not in described["headers"]]
    what = f"{response.request.method} {response.url} {response.status_code}"
    assert not missing, f"{what}: no {missing}"
    assert not untold, f"{what}: untold {untold}"
    if sent.get("content-type") == PROBLEM_MEDIA_TYPE:
        await response.aread()
        assert response.json()["code"] in described["content"][PROBLEM_MEDIA_TYPE]["examples"], what


def _described(response: httpx.Response) -> dict[str, Any] | None:
    for pattern, methods in _documented_paths():
        if pattern.fullmatch(response.request.url.path):
            method = response.request.method.lower()
            operation = methods.get("get" if method == "head" else method)
            if operation is None:
                assert response.status_code == httpx.codes.METHOD_NOT_ALLOWED, (
                    f"{method} {response.url}: {response.status_code}"
                )
                return None
            answer: dict[str, Any] | None = operation["responses"].get(str(response.status_code))
            if answer is None:
                assert response.status_code in _ANYWHERE, f"{response.url}: {response.status_code}"
            return answer
    return None


@cache
def _documented_paths() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    document = create_app(GatewaySettings(redis_url=SecretStr("redis://127.0.0.1"))).openapi()
    return [
        (re.compile(_PART.sub("[^/]+", path.replace(".", r"\.").replace("{path}", ".*"))), methods)
        for path, methods in document["paths"].items()
    ]
