"""Dead letters: jobs that were given up since they took their workers with them."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tbscreen_gateway.access.dependencies import ACCESS_ANSWERS, MAY_ADMINISTER, CallerDep
from tbscreen_gateway.answer_headers import CACHED, LOCATION, PAGE, RETRY_AFTER
from tbscreen_gateway.answers import accepted_response
from tbscreen_gateway.dependencies import JobIdDep, ServicesDep, requester_of
from tbscreen_gateway.examples import (
    DEAD_JOB,
    QUEUED_JOB,
    SUCCEEDED_JOB,
    job_answer,
    json_answer,
    problem_answers,
)
from tbscreen_gateway.pagination import PageRequest, link_header
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.services import Services
from tbscreen_shared.access import Scope
from tbscreen_shared.contracts import Job
from tbscreen_shared.errors import ErrorCode

router = APIRouter(
    prefix="/v1", tags=["Dead jobs"], dependencies=[MAY_ADMINISTER], responses=ACCESS_ANSWERS
)

_LIST: Final = "/dead-jobs"


class DeadJobList(BaseModel):
    """A page of the dead-letter list."""

    jobs: list[Job] = Field(description="the latest given up first")
    total: int = Field(description="how many there are on all pages")
    next_cursor: str | None = Field(description="names the next page; null on the last")


@router.get(
    _LIST,
    summary="List the jobs that were given up",
    response_model=DeadJobList,
    responses={
        200: json_answer(
            "A page of the list.", PAGE, page={"jobs": [DEAD_JOB], "total": 1, "next_cursor": None}
        ),
        **problem_answers(ErrorCode.INVALID_REQUEST, ErrorCode.BROKER_UNAVAILABLE),
    },
)
def list_dead(
    services: ServicesDep,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=200, description="Jobs on a page.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=64, description="The next_cursor of the page before.")
    ] = None,
) -> DeadJobList:
    """Lists jobs that took their workers with them. Their radiographs stay until they expire."""
    try:
        page = services.dead.page(limit=limit, cursor=cursor)
    except ValueError as error:
        raise Refusal(ErrorCode.INVALID_REQUEST, "The cursor is not one of this list.") from error
    response.headers["Cache-Control"] = "no-store"
    response.headers.update(
        link_header(f"{router.prefix}{_LIST}", PageRequest(limit), page.next_cursor)
    )
    return DeadJobList(jobs=page.jobs, total=page.total, next_cursor=page.next_cursor)


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    summary="Try a job again that was given up",
    responses={
        202: job_answer(
            "A new job, at Location; a repeated request answers with the same one.",
            {**CACHED, **LOCATION, **RETRY_AFTER},
            queued={**QUEUED_JOB, "retry_of": DEAD_JOB["id"]},
        ),
        200: job_answer(
            "It was retried before, and that job is finished; its outcome takes the scope read.",
            {**CACHED, **LOCATION},
            ended=SUCCEEDED_JOB,
        ),
        **problem_answers(
            ErrorCode.JOB_NOT_FOUND,
            ErrorCode.JOB_NOT_DEAD,
            ErrorCode.UPLOAD_GONE,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.QUEUE_FULL,
            ErrorCode.STORAGE_FULL,
            ErrorCode.STORAGE_UNAVAILABLE,
            ErrorCode.BROKER_UNAVAILABLE,
        ),
    },
)
async def retry(
    job_id: JobIdDep, request: Request, services: ServicesDep, caller: CallerDep
) -> Response:
    """Reads the radiograph of a dead job again, as a new job that owns it; the dead one stays."""
    await _admit(services, job_id)
    new_id = await run_in_threadpool(services.retrying.retry, job_id, requester_of(request))
    job = await run_in_threadpool(services.jobs.get, new_id)
    if job is None:
        raise Refusal(
            ErrorCode.UPLOAD_GONE, f"It was retried as {new_id}, which has expired or was erased."
        )
    if Scope.READ not in caller.scopes:
        job = job.model_copy(update={"result": None, "error": None})
    return accepted_response(job, {})


async def _admit(services: Services, job_id: str) -> None:
    """Refuses what could not be kept; who repeats a retry is told of the first one's job."""
    try:
        await services.admission.check_open()
    except Refusal as refusal:
        if refusal.code is not ErrorCode.QUEUE_FULL:
            raise
        if await run_in_threadpool(services.dead.retried_as, job_id) is None:
            raise
