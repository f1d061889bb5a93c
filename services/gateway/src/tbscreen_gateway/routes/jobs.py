"""Jobs: radiographs on their way through the system."""

import time
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header, Query, Request
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tbscreen_gateway.access.dependencies import ACCESS_ANSWERS, MAY_READ, MAY_SUBMIT
from tbscreen_gateway.answer_headers import ACCEPTED, CACHED, ENDED, LOOKED_UP
from tbscreen_gateway.answers import accepted_response, etag_matches, job_response, make_etag
from tbscreen_gateway.dependencies import (
    CallbackUrlDep,
    IdempotencyKey,
    JobIdDep,
    ServicesDep,
    Wait,
    WaitDep,
    job_not_found,
    requester_of,
)
from tbscreen_gateway.discarding import discard
from tbscreen_gateway.examples import (
    CANCELED_JOB,
    FAILED_JOB,
    QUEUED_JOB,
    SUCCEEDED_JOB,
    UPLOAD_BODY,
    job_answer,
    problem_answers,
)
from tbscreen_gateway.heatmap import render_heatmap
from tbscreen_gateway.intake import Accepted, Origin
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.routes.callbacks import CALLBACK_REQUESTS
from tbscreen_gateway.services import Services
from tbscreen_gateway.uploads import receive_upload
from tbscreen_shared.contracts import Job, JobStatus
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import CancelOutcome

router = APIRouter(prefix="/v1/jobs", tags=["Jobs"], responses=ACCESS_ANSWERS)

UPLOAD_ERRORS: Final = (
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.FILE_TOO_LARGE,
    ErrorCode.EMPTY_UPLOAD,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.JOB_NOT_FOUND,
    ErrorCode.IDEMPOTENCY_CONFLICT,
    ErrorCode.QUEUE_FULL,
    ErrorCode.SERVER_BUSY,
    ErrorCode.RATE_LIMITED,
    ErrorCode.BROKER_UNAVAILABLE,
    ErrorCode.STORAGE_FULL,
    ErrorCode.STORAGE_UNAVAILABLE,
)

IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description="The ETag of the answer you have: 304 if it still holds.",
    ),
]


@router.post(
    "",
    dependencies=[MAY_SUBMIT],
    status_code=202,
    summary="Submit a radiograph",
    openapi_extra=UPLOAD_BODY,
    responses={
        202: job_answer("Accepted; find the job at Location.", ACCEPTED, queued=QUEUED_JOB),
        200: job_answer(
            "Finished while you waited.", ENDED, succeeded=SUCCEEDED_JOB, failed=FAILED_JOB
        ),
        **problem_answers(*UPLOAD_ERRORS, ErrorCode.CALLBACK_NOT_ALLOWED),
    },
    callbacks=CALLBACK_REQUESTS.routes,
)
async def submit(
    request: Request,
    services: ServicesDep,
    wait: WaitDep,
    callback_url: CallbackUrlDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Takes one radiograph and answers with a job, which is kept until a worker has read it.

    The upload is erased as soon as the job is finished; the result, when it expires.
    """
    accepted = await take_in(request, services, idempotency_key, callback_url)
    job = await follow(accepted, services, wait, request)
    return accepted_response(job, {**wait.headers, **replay_headers(accepted)})


@router.get(
    "/{job_id}",
    dependencies=[MAY_READ],
    summary="Look a job up",
    responses={
        200: job_answer(
            "The job. Unfinished, it comes with Retry-After.",
            LOOKED_UP,
            queued=QUEUED_JOB,
            succeeded=SUCCEEDED_JOB,
            failed=FAILED_JOB,
            canceled=CANCELED_JOB,
        ),
        304: {"description": "The answer you have still holds.", "headers": LOOKED_UP},
        **problem_answers(
            ErrorCode.JOB_NOT_FOUND, ErrorCode.INVALID_REQUEST, ErrorCode.BROKER_UNAVAILABLE
        ),
    },
)
async def look_up(
    job_id: JobIdDep,
    request: Request,
    services: ServicesDep,
    wait: WaitDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Answers with the job; with wait, as soon as it is finished or the time is over."""
    job = await services.waiter.get(job_id, wait_s=wait.seconds, request=request)
    if job is None:
        raise job_not_found()
    return job_response(job, headers=wait.headers, if_none_match=if_none_match)


@router.get(
    "/{job_id}/heatmap.png",
    dependencies=[MAY_READ],
    summary="See what the model looked at",
    response_class=Response,
    responses={
        200: {
            "description": "The class-activation map: coloured, transparent where there is "
            "nothing, in the radiograph's aspect. Scaled to its own maximum, so a normal "
            "radiograph has one too.",
            "content": {"image/png": {}},
            "headers": CACHED,
        },
        304: {"description": "The answer you have still holds.", "headers": CACHED},
        **problem_answers(
            ErrorCode.JOB_NOT_FOUND,
            ErrorCode.HEATMAP_NOT_AVAILABLE,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.BROKER_UNAVAILABLE,
        ),
    },
)
async def draw_heatmap(
    job_id: JobIdDep, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """Draws the activation map, to be laid over the radiograph."""
    job = await run_in_threadpool(services.jobs.get, job_id)
    if job is None:
        raise job_not_found()
    result = job.result
    if result is None:
        raise Refusal(
            ErrorCode.HEATMAP_NOT_AVAILABLE, f"The job is {job.status} and has no result to show."
        )
    # A finished job never changes, so its id alone tells its picture; a browser asks each time all
    # the same, since DELETE must end it there too.
    etag = make_etag(f"{job_id} {result.model.sha256}".encode())
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag_matches(etag, if_none_match):
        return Response(status_code=304, headers=headers)
    started = time.perf_counter()
    picture = await run_in_threadpool(
        render_heatmap, result.activation_map, result.input.width, result.input.height
    )
    services.metrics.heatmap_render.observe(time.perf_counter() - started)
    return Response(picture, media_type="image/png", headers=headers)


@router.delete(
    "/{job_id}",
    dependencies=[MAY_SUBMIT],
    summary="Cancel or erase a job",
    responses={
        200: job_answer("It was not finished and is canceled.", CACHED, canceled=CANCELED_JOB),
        204: {"description": "It was finished and is erased, with its result."},
        **problem_answers(
            ErrorCode.JOB_NOT_FOUND,
            ErrorCode.JOB_FINISHED,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.BROKER_UNAVAILABLE,
        ),
    },
)
def delete(
    job_id: JobIdDep,
    request: Request,
    services: ServicesDep,
    only: Annotated[
        Literal["unfinished"] | None,
        Query(description="`unfinished` cancels, and erases nothing that is finished."),
    ] = None,
) -> Response:
    """Cancels a job that is not finished, erases one that is; the upload goes either way.

    So a second call erases what the first one canceled. With `only` the call can be repeated: a
    job that was canceled is answered as before; one that succeeded or failed stays, with 409.
    """
    blob = services.jobs.blob_of(job_id)
    outcome = services.jobs.cancel(job_id, requester_of(request), only_unfinished=only is not None)
    if outcome is CancelOutcome.GONE:
        raise job_not_found()
    if outcome is CancelOutcome.FINISHED:
        raise Refusal(ErrorCode.JOB_FINISHED, "It is finished already, so it was left as it is.")
    if blob is not None:
        discard(services.blobs, [blob])
    job = services.jobs.get(job_id) if outcome is CancelOutcome.CANCELED else None
    return Response(status_code=204) if job is None else job_response(job)


async def take_in(
    request: Request, services: Services, key: str | None, callback_url: str = ""
) -> Accepted:
    """Receives the request's radiograph and makes it a job."""
    requester = requester_of(request)
    # Without keys there is one caller, the machine itself.
    if requester.key_id:
        await run_in_threadpool(services.upload_rates.charge, requester.key_id)
    max_upload_bytes = services.settings.max_upload_bytes
    size_bytes = min(int(request.headers.get("content-length", max_upload_bytes)), max_upload_bytes)
    origin = Origin(requester=requester, idempotency_key=key, callback_url=callback_url)
    with services.admission.slot(size_bytes, key_id=requester.key_id):
        await admit(services, origin, size_bytes)
        upload = await receive_upload(request, services.blobs, max_upload_bytes=max_upload_bytes)
    accepted = await services.intake.accept(upload, origin)
    request.scope["job_id"] = accepted.job_id
    return accepted


async def admit(services: Services, origin: Origin, size_bytes: int) -> bool:
    """Refuses what could not be kept, before its body is read.

    Returns:
        whether it finds a full queue, and comes with an Idempotency-Key that was used before: it
        may be the repeat of what was accepted, which needs no place.
    """
    try:
        await services.admission.check_open(size_bytes=size_bytes)
    except Refusal as refusal:
        digest = origin.key_digest
        if refusal.code is not ErrorCode.QUEUE_FULL or digest is None:
            raise
        if not await run_in_threadpool(services.idempotency_keys.has_made, digest):
            raise
        await services.admission.check_open(jobs=0, size_bytes=size_bytes)
        return True
    return False


async def follow(accepted: Accepted, services: Services, wait: Wait, request: Request) -> Job:
    """Returns the accepted job, finished if that happens within the wait.

    Raises:
        Refusal: `job_not_found`: an earlier request made it, and it was erased since.
        RedisError: an earlier request made it, and it can not be looked up.
    """
    try:
        job = await services.waiter.get(accepted.job_id, wait_s=wait.seconds, request=request)
    except RedisError:
        if accepted.replayed:
            raise
        job = None
    if job is None and accepted.replayed:
        raise job_not_found()
    # It is accepted whatever became of Redis, or of the record, since: the answer stays 202.
    return job or Job(id=accepted.job_id, status=JobStatus.QUEUED, created_at=datetime.now(tz=UTC))


def replay_headers(accepted: Accepted) -> dict[str, str]:
    """Returns the header that says an earlier request made this job."""
    return {"Idempotency-Replayed": "true"} if accepted.replayed else {}
