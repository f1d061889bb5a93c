"""Batches: many radiographs in one request, and their answers in one table."""

from typing import Final

from fastapi import APIRouter, Request
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response, StreamingResponse

from tbscreen_gateway.access.dependencies import ACCESS_ANSWERS, MAY_READ, MAY_SUBMIT
from tbscreen_gateway.answer_headers import ACCEPTED, CACHED, ENDED, LOOKED_UP, PAGE
from tbscreen_gateway.answers import polled_response
from tbscreen_gateway.batches.draft import ROOM_EVERY_BYTES, BatchLimits
from tbscreen_gateway.batches.examples import (
    BATCH_BODY,
    CANCELED_BATCH,
    FINISHED_BATCH,
    QUEUED_BATCH,
    SHEET_ANSWER,
    batch_answer,
)
from tbscreen_gateway.batches.form import receive_batch
from tbscreen_gateway.batches.intake import AcceptedBatch
from tbscreen_gateway.batches.sheet import SHEET_MEDIA_TYPE, stream_sheet
from tbscreen_gateway.batches.views import (
    Batch,
    batch_path,
    job_ids_of,
    just_accepted,
    look_up_batch,
)
from tbscreen_gateway.dependencies import (
    BatchIdDep,
    CallbackUrlDep,
    IdempotencyKey,
    ServicesDep,
    Wait,
    WaitDep,
    batch_not_found,
    requester_of,
)
from tbscreen_gateway.discarding import discard
from tbscreen_gateway.examples import problem_answers
from tbscreen_gateway.intake import Origin
from tbscreen_gateway.pagination import PageDep, PageRequest, link_header
from tbscreen_gateway.routes.callbacks import BATCH_CALLBACK_REQUESTS
from tbscreen_gateway.routes.jobs import IfNoneMatch, admit
from tbscreen_gateway.services import Services
from tbscreen_gateway.threads import finish_in_thread
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import CancelOutcome, Requester

router = APIRouter(prefix="/v1/batches", tags=["Batches"], responses=ACCESS_ANSWERS)

_LOOK_UP_ERRORS: Final = (
    ErrorCode.BATCH_NOT_FOUND,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.BROKER_UNAVAILABLE,
)


class _Undotted(StringConvertor):
    """Else the batch's own route would take `.csv` for a part of its id."""

    regex = "[^/.]+"


register_url_convertor("undotted", _Undotted())


@router.post(
    "",
    dependencies=[MAY_SUBMIT],
    status_code=202,
    summary="Submit many radiographs",
    openapi_extra=BATCH_BODY,
    responses={
        202: batch_answer(
            "Accepted, with the reason for each file that was not; find the batch at Location.",
            ACCEPTED,
            queued=QUEUED_BATCH,
        ),
        200: batch_answer("Finished while you waited.", ENDED, finished=FINISHED_BATCH),
        **problem_answers(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            ErrorCode.BATCH_TOO_LARGE,
            ErrorCode.NO_FILE_ACCEPTED,
            ErrorCode.UNREADABLE_ARCHIVE,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.BATCH_NOT_FOUND,
            ErrorCode.IDEMPOTENCY_CONFLICT,
            ErrorCode.CALLBACK_NOT_ALLOWED,
            ErrorCode.QUEUE_FULL,
            ErrorCode.SERVER_BUSY,
            ErrorCode.RATE_LIMITED,
            ErrorCode.BROKER_UNAVAILABLE,
            ErrorCode.STORAGE_FULL,
            ErrorCode.STORAGE_UNAVAILABLE,
        ),
    },
    callbacks=BATCH_CALLBACK_REQUESTS.routes,
)
async def submit(
    request: Request,
    services: ServicesDep,
    wait: WaitDep,
    page: PageDep,
    callback_url: CallbackUrlDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Takes many files, or one zip, and answers with a batch of a job for each.

    A file that is no radiograph, is empty or too large is an item with an error; the rest goes on.
    A 202 promises a reading of every other item; without one, nothing of the batch is kept. Each
    job is sent to the callback URL when it is finished.
    """
    origin = Origin(
        requester=requester_of(request),
        idempotency_key=idempotency_key,
        callback_url=callback_url,
    )
    accepted = await _take_in(request, services, origin)
    batch = await _follow(accepted, services, wait, page, request)
    headers = {"Location": batch_path(batch.id), **wait.headers}
    if accepted.made is None:
        headers["Idempotency-Replayed"] = "true"
    return polled_response(
        batch.model_dump_json().encode(),
        is_final=batch.finished,
        status=200 if batch.finished else 202,
        headers={**_page_headers(batch, page), **headers},
    )


@router.get(
    "/{batch_id:undotted}.csv",
    dependencies=[MAY_READ],
    summary="Get a batch as a spreadsheet",
    response_class=Response,
    responses={200: SHEET_ANSWER, **problem_answers(*_LOOK_UP_ERRORS)},
)
def get_sheet(batch_id: BatchIdDep, services: ServicesDep) -> Response:
    """Answers with a row for each file, as it is at this moment."""
    record = services.batches.get(batch_id)
    if record is None:
        raise batch_not_found()
    return StreamingResponse(
        stream_sheet(services.batches, record),
        media_type=SHEET_MEDIA_TYPE,
        headers={
            "Content-Disposition": f'attachment; filename="batch-{batch_id}.csv"',
            "Cache-Control": "private, no-cache",
        },
    )


@router.get(
    "/{batch_id:undotted}",
    dependencies=[MAY_READ],
    summary="Look a batch up",
    responses={
        200: batch_answer(
            "The batch, with a page of its items. Unfinished, it comes with Retry-After.",
            LOOKED_UP,
            queued=QUEUED_BATCH,
            finished=FINISHED_BATCH,
            canceled=CANCELED_BATCH,
        ),
        304: {"description": "The answer you have still holds.", "headers": {**LOOKED_UP, **PAGE}},
        **problem_answers(*_LOOK_UP_ERRORS),
    },
)
async def look_up(
    batch_id: BatchIdDep,
    request: Request,
    services: ServicesDep,
    wait: WaitDep,
    page: PageDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Answers with the batch; with wait, as soon as all of it is finished or the time is over."""
    batch = await _look(batch_id, services, wait, page, request)
    if batch is None:
        raise batch_not_found()
    return polled_response(
        batch.model_dump_json().encode(),
        is_final=batch.finished,
        headers={**_page_headers(batch, page), **wait.headers},
        if_none_match=if_none_match,
    )


@router.delete(
    "/{batch_id:undotted}",
    dependencies=[MAY_SUBMIT],
    summary="Cancel or erase a batch",
    responses={
        200: batch_answer(
            "Some of it was not finished and is canceled; the rest is erased.",
            CACHED,
            canceled=CANCELED_BATCH,
        ),
        204: {"description": "It was finished and is erased, with all its results."},
        **problem_answers(*_LOOK_UP_ERRORS),
    },
)
def delete(batch_id: BatchIdDep, request: Request, services: ServicesDep) -> Response:
    """Cancels each job that is not finished, erases each that is; the uploads go either way."""
    record = services.batches.get(batch_id)
    if record is None:
        raise batch_not_found()
    job_ids = job_ids_of(record.entries)
    blobs = services.batches.blobs_of(job_ids)
    outcomes = services.batches.cancel(job_ids, requester_of(request))
    discard(services.blobs, blobs)
    if CancelOutcome.CANCELED not in outcomes:
        services.batches.erase(batch_id)
        return Response(status_code=204)
    page = PageRequest()
    batch = look_up_batch(services.batches, batch_id, page)
    if batch is None:
        raise batch_not_found()
    return polled_response(
        batch.model_dump_json().encode(),
        is_final=batch.finished,
        headers=_page_headers(batch, page),
    )


async def _take_in(request: Request, services: Services, origin: Origin) -> AcceptedBatch:
    """Receives the request's files and makes them a batch."""
    limits = BatchLimits.of(services.settings)
    declared_bytes = int(request.headers.get("content-length", 0))
    limits.check_request_bytes(declared_bytes)
    # Of one that does not say how long it is, what comes until the volume is looked at again.
    expected_bytes = declared_bytes or ROOM_EVERY_BYTES
    await _charge(services, origin.requester, 0)
    with services.admission.slot(expected_bytes, key_id=origin.requester.key_id):
        is_repeat = await admit(services, origin, expected_bytes)

        def check_room(files: int) -> None:
            services.admission.check_on(jobs=0 if is_repeat else files)

        draft = await receive_batch(
            request,
            services.blobs,
            limits,
            check_room,
            unpacking=lambda: services.admission.announcing(ROOM_EVERY_BYTES),
        )
    try:
        await _charge(services, origin.requester, len(draft.uploads))
    except BaseException:
        await finish_in_thread(draft.erase)
        raise
    accepted = await services.batch_intake.accept(draft, origin)
    request.scope["batch_id"] = accepted.batch_id
    return accepted


async def _charge(services: Services, requester: Requester, count: int) -> None:
    """Counts radiographs against their sender's rate; 0 only looks."""
    # Without keys there is one caller, the machine itself.
    if requester.key_id:
        await run_in_threadpool(services.upload_rates.charge, requester.key_id, cost=count)


async def _follow(
    accepted: AcceptedBatch, services: Services, wait: Wait, page: PageRequest, request: Request
) -> Batch:
    """Returns the accepted batch, finished if that happens within the wait."""
    try:
        batch = await _look(accepted.batch_id, services, wait, page, request)
    except RedisError:
        if accepted.made is None:
            raise
        batch = None
    if batch is not None:
        return batch
    if accepted.made is None:
        raise batch_not_found()
    # It is accepted whatever became of Redis, or of the record, since: the answer stays 202.
    return just_accepted(accepted.made, page)


async def _look(
    batch_id: str, services: Services, wait: Wait, page: PageRequest, request: Request
) -> Batch | None:
    return await services.waiter.look(
        batch_id,
        lambda: look_up_batch(services.batches, batch_id, page),
        lambda batch: batch.finished,
        wait_s=wait.seconds,
        request=request,
    )


def _page_headers(batch: Batch, page: PageRequest) -> dict[str, str]:
    return link_header(batch_path(batch.id), page, batch.next_cursor)
