"""What answers carry beside their body, as the OpenAPI document describes it."""

from typing import Any, Final

Headers = dict[str, dict[str, Any]]
"""By name, as the document has them."""


def _header(description: str, *, always: bool = True, type_: str = "string") -> dict[str, Any]:
    return {"description": description, "required": always, "schema": {"type": type_}}


def sometimes(headers: Headers) -> Headers:
    """Returns the headers as some that may be missing."""
    return {name: {**header, "required": False} for name, header in headers.items()}


REQUEST_ID: Final[Headers] = {
    "X-Request-ID": _header(
        "the request's own, or one that was made for it; logs and problems name it"
    )
}
RETRY_AFTER: Final[Headers] = {"Retry-After": _header("seconds to wait", type_="integer")}
CHALLENGE: Final[Headers] = {
    "WWW-Authenticate": _header("Bearer, and what is wrong with the key (RFC 6750)")
}
COOKIE: Final[Headers] = {"Set-Cookie": _header("the session, or its end")}
PAGE: Final[Headers] = {
    "Link": _header('where the next page is, with rel="next"; none on the last one', always=False)
}
CACHED: Final[Headers] = {"ETag": _header("for If-None-Match")}
PREFERRED: Final[Headers] = {
    "Preference-Applied": _header("how long Prefer was heeded; none without it", always=False)
}
LOCATION: Final[Headers] = {"Location": _header("where it is found")}
MADE: Final[Headers] = {
    **LOCATION,
    "Idempotency-Replayed": _header(
        "true where an earlier request with the key made it", always=False
    ),
}
ENDED: Final[Headers] = {**CACHED, **PREFERRED, **MADE}
"""Of an upload that is finished by the time it is answered."""
ACCEPTED: Final[Headers] = {**ENDED, **RETRY_AFTER}
LOOKED_UP: Final[Headers] = {**CACHED, **PREFERRED, **sometimes(RETRY_AFTER)}
"""Of what may be unfinished: then it says when to look again."""
