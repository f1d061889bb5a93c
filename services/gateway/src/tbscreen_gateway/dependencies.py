"""What routes ask for by type."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, cast

from fastapi import Depends, Header, Path, Query, Request

from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.services import Services
from tbscreen_gateway.waiting import MAX_WAIT_S
from tbscreen_gateway.webhooks.urls import MAX_URL_LENGTH
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import Requester

_PREFERRED_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:$|[,;])", re.I)
_IDEMPOTENCY_KEY: Final = r"^[\x21-\x7e]{1,255}$"


def get_services(request: Request) -> Services:
    """The application's parts, from the lifespan's state."""
    return cast("Services", request.state.services)


@dataclass(frozen=True)
class Wait:
    """How long an answer may be held back, and the header that says a preference was honoured."""

    seconds: float
    headers: Mapping[str, str]


def get_wait(
    wait: Annotated[
        float | None,
        Query(
            ge=0,
            allow_inf_nan=False,
            description=f"Seconds to wait for the result; at most {MAX_WAIT_S:.0f} are waited.",
            examples=[20],
        ),
    ] = None,
    prefer: Annotated[
        str | None,
        Header(alias="Prefer", description="wait=SECONDS, as in RFC 7240.", examples=["wait=20"]),
    ] = None,
) -> Wait:
    """`?wait=` before `Prefer: wait=`; none is no wait."""
    if wait is not None:
        return Wait(min(wait, MAX_WAIT_S), {})
    preferred = _PREFERRED_WAIT.search(prefer or "")
    if preferred is None:
        return Wait(0, {})
    seconds = min(int(preferred[1]), int(MAX_WAIT_S))
    return Wait(seconds, {"Preference-Applied": f"wait={seconds}"})


def get_job_id(
    request: Request,
    job_id: Annotated[str, Path(description="The job's UUID, as POST /v1/jobs answered it.")],
) -> str:
    """A job id in the one form they are made in; anything else is no job."""
    if not _is_id(job_id):
        raise job_not_found()
    request.scope["job_id"] = job_id
    return job_id


def get_batch_id(
    request: Request,
    batch_id: Annotated[str, Path(description="The batch's UUID, as POST /v1/batches answered.")],
) -> str:
    """A batch id in the one form they are made in; anything else is no batch."""
    if not _is_id(batch_id):
        raise batch_not_found()
    request.scope["batch_id"] = batch_id
    return batch_id


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def get_callback_url(
    request: Request,
    callback_url: Annotated[
        str | None,
        Query(
            max_length=MAX_URL_LENGTH,
            description="Where to send the finished job, signed: an https URL of a public host. "
            "Give it no secret: addresses end in logs, and a signature proves who sends.",
            examples=["https://pacs.example.org/tbscreen"],
        ),
    ] = None,
) -> str:
    """The callback's URL, checked before the body is read; empty for none."""
    if callback_url is None:
        return ""
    return get_services(request).settings.callback_policy.check(callback_url)


def requester_of(request: Request) -> Requester:
    """Who asks, for the audit log."""
    return Requester(
        key_id=request.scope.get("key_id") or "", request_id=request.scope.get("request_id", "")
    )


def job_not_found() -> Refusal:
    """The answer for an id that is unknown, expired or no id at all."""
    return Refusal(ErrorCode.JOB_NOT_FOUND, "The id is unknown, or the job has expired.")


def batch_not_found() -> Refusal:
    """The answer for an id that is unknown, expired or no id at all."""
    return Refusal(ErrorCode.BATCH_NOT_FOUND, "The id is unknown, or the batch has expired.")


ServicesDep = Annotated[Services, Depends(get_services)]
CallbackUrlDep = Annotated[str, Depends(get_callback_url)]
WaitDep = Annotated[Wait, Depends(get_wait)]
JobIdDep = Annotated[str, Depends(get_job_id)]
BatchIdDep = Annotated[str, Depends(get_batch_id)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=_IDEMPOTENCY_KEY,
        description="1 to 255 printable ASCII characters of your choice, without blanks, unique to "
        "the upload: a repeat with the same key and the same bytes answers with the first one's "
        "job.",
    ),
]
