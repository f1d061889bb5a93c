"""Reads the gateway's answers: a model, a problem document (RFC 9457), a Retry-After."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from tbscreen.errors import (
    AccessDenied,
    BatchNotFound,
    GatewayBusy,
    GatewayError,
    JobNotFound,
    UploadRefused,
)

BUSY: Final = (429, 502, 503, 504, 507)
"""Statuses that say: the same request may succeed later. 502 and 504 are a proxy's."""

_DENIED: Final = (401, 403)
_REFUSED: Final = (409, 413, 415, 422)
_OF_A_JOB: Final = ("job_not_dead", "job_finished")
_NOT_FOUND: Final = {"job_not_found": JobNotFound, "batch_not_found": BatchNotFound}

_Model = TypeVar("_Model", bound=BaseModel)


def parse(model: type[_Model], response: httpx.Response) -> _Model:
    """Returns the answer's body as `model`.

    Raises:
        GatewayError: `unexpected_answer`: the body is something else.
    """
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise GatewayError(
            "unexpected_answer",
            response.status_code,
            f"{response.url.copy_with(query=None)} does not answer like a tbscreen gateway",
        ) from error


def problem_of(response: httpx.Response) -> GatewayError:
    """Returns the exception that an error answer stands for."""
    status = response.status_code
    code, detail = f"http_{status}", response.reason_phrase
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        code = str(body.get("code") or code)
        detail = str(body.get("detail") or body.get("title") or detail)
    kind: type[GatewayError] = GatewayError
    if status in BUSY:
        kind = GatewayBusy
    elif status in _DENIED:
        kind = AccessDenied
    elif status in _REFUSED and code not in _OF_A_JOB:
        kind = UploadRefused
    elif code in _NOT_FOUND:
        kind = _NOT_FOUND[code]
    return kind(code, status, detail)


def retry_after_s(headers: httpx.Headers, *, default: float) -> float:
    """Returns the seconds to pause (RFC 9110, 10.2.3), `default` where the header is of no use."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return default
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
