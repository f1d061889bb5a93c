"""What answers carry beside their body, as the OpenAPI document describes it."""

from typing import Any, Final

_Headers = dict[str, dict[str, Any]]


def _header(description: str, *, always: bool = False, type_: str = "string") -> dict[str, Any]:
    return {"description": description, "required": always, "schema": {"type": type_}}


EVERY_ANSWER: Final[_Headers] = {
    "X-Request-ID": _header(
        "the request's own, or one that was made for it; logs and problems name it. None where a "
        "connection was refused before its request was read"
    )
}
RETRY_AFTER: Final[_Headers] = {"Retry-After": _header("seconds", type_="integer")}
PAGE: Final[_Headers] = {
    "Link": _header('where the next page is, with rel="next"; none on the last one')
}
CACHED: Final[_Headers] = {"ETag": _header("for If-None-Match", always=True)}
POLLED: Final[_Headers] = {
    **CACHED,
    "Retry-After": _header(
        "seconds to wait before the next look; none once it is finished", type_="integer"
    ),
}
WAITED: Final[_Headers] = {
    **POLLED,
    "Preference-Applied": _header("how long Prefer was heeded; none without it"),
}
LOCATION: Final[_Headers] = {"Location": _header("where it is found", always=True)}
MADE: Final[_Headers] = {
    **LOCATION,
    "Idempotency-Replayed": _header("true where an earlier request with the key made it"),
}
ACCEPTED: Final[_Headers] = {**WAITED, **MADE}
