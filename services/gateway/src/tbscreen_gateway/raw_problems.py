"""Problems that are answered below HTTP: they name no request."""

import json
from http import HTTPStatus
from typing import Final

from tbscreen_gateway.problems import PROBLEM_MEDIA_TYPE, RETRY_AFTER_S, TITLES
from tbscreen_shared.errors import HTTP_STATUS, ErrorCode


def _answer(code: ErrorCode, detail: str) -> bytes:
    status = HTTPStatus(HTTP_STATUS[code])
    problem = {
        "type": f"/docs#{code}",
        "title": TITLES[code],
        "status": status.value,
        "detail": detail,
        "code": code,
        "instance": "",
        "request_id": "",
    }
    body = json.dumps(problem).encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {PROBLEM_MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if code in RETRY_AFTER_S:
        lines.append(f"Retry-After: {RETRY_AFTER_S[code]}")
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body


REFUSED: Final = _answer(ErrorCode.SERVER_BUSY, "Too many connections are open; try again.")
"""To a connection without a place."""

MALFORMED: Final = _answer(
    ErrorCode.MALFORMED_REQUEST, "The request's line, headers or framing can not be read."
)
"""To what is no HTTP, or has a head that is too long."""
