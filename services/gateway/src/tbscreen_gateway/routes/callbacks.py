"""Callbacks: finished jobs that are sent to their sender's URL."""

from typing import Annotated, Final

from fastapi import APIRouter, Header
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tbscreen_gateway.access.dependencies import ACCESS_ANSWERS, MAY_READ
from tbscreen_gateway.dependencies import JobIdDep, ServicesDep, job_not_found
from tbscreen_gateway.examples import SUCCEEDED_JOB, problem_answers
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.contracts import Callback, Job
from tbscreen_shared.errors import ErrorCode

router = APIRouter(prefix="/v1/jobs", tags=["Jobs"], responses=ACCESS_ANSWERS)


@router.get(
    "/{job_id}/callback",
    dependencies=[MAY_READ],
    summary="See whether the callback was delivered",
    responses={
        200: {
            "description": "How its delivery goes.",
            "content": {
                "application/json": {
                    "example": {
                        "status": "pending",
                        "attempts": 2,
                        "last_attempt_at": "2026-11-22T09:30:06.120Z",
                        "last_status": 502,
                        "last_error": None,
                        "next_attempt_at": "2026-11-22T09:30:36.480Z",
                    }
                }
            },
        },
        **problem_answers(
            ErrorCode.JOB_NOT_FOUND,
            ErrorCode.CALLBACK_NOT_FOUND,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.BROKER_UNAVAILABLE,
        ),
    },
)
async def look_at_callback(job_id: JobIdDep, services: ServicesDep, response: Response) -> Callback:
    """Says whether the receiver has the job, what came of the last attempt, and when the next is.

    It is apart from the job, which never changes once it is finished.
    """
    callback = await run_in_threadpool(services.callbacks.get, job_id)
    if callback is None:
        if await run_in_threadpool(services.jobs.get, job_id) is None:
            raise job_not_found()
        raise Refusal(ErrorCode.CALLBACK_NOT_FOUND, "The job was sent without a callback_url.")
    response.headers["Cache-Control"] = "no-store"
    return callback


def receive(
    job: Job,
    webhook_id: Annotated[
        str, Header(description="The job's id, the same at every attempt: it tells repeats.")
    ],
    webhook_timestamp: Annotated[
        int, Header(description="When it was sent, in seconds since 1970.")
    ],
    webhook_signature: Annotated[
        str,
        Header(
            description="v1, and the base64 HMAC-SHA256 of `{id}.{timestamp}.{body}`; with a space "
            "between, one for each secret in use."
        ),
    ],
) -> None:
    """Sent once the job is finished, whatever its status, and again until a 2xx or 410 answers.

    It is signed by the Standard Webhooks convention.
    """


def _requests_to_receivers(operation_id: str) -> APIRouter:
    router = APIRouter()
    router.add_api_route(
        "{$request.query.callback_url}",
        receive,
        methods=["POST"],
        operation_id=operation_id,
        summary="The finished job",
        response_class=Response,
        responses={
            200: {"description": "Any status from 200 to 299: it has arrived."},
            410: {"description": "Do not try again."},
            "default": {"description": "Anything else: it is sent again later."},
        },
        openapi_extra={
            "requestBody": {"content": {"application/json": {"example": SUCCEEDED_JOB}}},
        },
    )
    return router


# What receivers are sent: shown in the OpenAPI document, served by nobody here. An operation's id
# may stand there once.
CALLBACK_REQUESTS: Final = _requests_to_receivers("receive_job")
BATCH_CALLBACK_REQUESTS: Final = _requests_to_receivers("receive_job_of_batch")
