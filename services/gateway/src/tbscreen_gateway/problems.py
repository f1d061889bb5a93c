"""Every error answer, made in one place: application/problem+json (RFC 9457) with a stable code.

TbscreenError            code, public detail (tbscreen_shared.errors)
└── Refusal              an error of the request or of the moment, with headers of its own
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from redis.exceptions import OutOfMemoryError, RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from tbscreen_shared.errors import HTTP_STATUS, ErrorCode, TbscreenError

logger = logging.getLogger(__name__)

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

TITLES: Final[dict[ErrorCode, str]] = {
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: "Not a file type that can be read",
    ErrorCode.FILE_TOO_LARGE: "The file is too large",
    ErrorCode.IMAGE_TOO_LARGE: "The image has too many pixels",
    ErrorCode.UNREADABLE_IMAGE: "The image can not be read",
    ErrorCode.EMPTY_UPLOAD: "The file is empty",
    ErrorCode.BATCH_TOO_LARGE: "The batch is too large",
    ErrorCode.NO_FILE_ACCEPTED: "No file of the batch can be read",
    ErrorCode.UNREADABLE_ARCHIVE: "The archive can not be read",
    ErrorCode.UNREADABLE_ENTRY: "The file can not be taken out of its archive",
    ErrorCode.MALFORMED_REQUEST: "Not an HTTP request that can be read",
    ErrorCode.INVALID_REQUEST: "The request is not valid",
    ErrorCode.NOT_A_CHEST_RADIOGRAPH: "Not a frontal chest radiograph",
    ErrorCode.UNAUTHORIZED: "A valid API key is needed",
    ErrorCode.FORBIDDEN: "The API key may not do this",
    ErrorCode.CROSS_SITE_REQUEST: "A page of another site sent the request",
    ErrorCode.MISDIRECTED_REQUEST: "The request was meant for another host",
    ErrorCode.NOT_FOUND: "Nothing is here",
    ErrorCode.METHOD_NOT_ALLOWED: "The method is not allowed here",
    ErrorCode.JOB_NOT_FOUND: "There is no such job",
    ErrorCode.JOB_NOT_DEAD: "The job is not on the dead-letter list",
    ErrorCode.JOB_FINISHED: "The job is finished",
    ErrorCode.UPLOAD_GONE: "The radiograph is gone",
    ErrorCode.BATCH_NOT_FOUND: "There is no such batch",
    ErrorCode.MODEL_NOT_FOUND: "There is no such model",
    ErrorCode.HEATMAP_NOT_AVAILABLE: "The job has no heat map",
    ErrorCode.CALLBACK_NOT_ALLOWED: "Callbacks may not go there",
    ErrorCode.CALLBACK_NOT_FOUND: "The job has no callback",
    ErrorCode.IDEMPOTENCY_CONFLICT: "The Idempotency-Key belongs to another upload",
    ErrorCode.QUEUE_FULL: "Too many radiographs are waiting",
    ErrorCode.RATE_LIMITED: "Too many requests",
    ErrorCode.SERVER_BUSY: "Too many uploads or connections at once",
    ErrorCode.SERVER_STOPPING: "The gateway stops",
    ErrorCode.STORAGE_FULL: "The storage is full",
    ErrorCode.STORAGE_UNAVAILABLE: "The storage can not be used",
    ErrorCode.BROKER_UNAVAILABLE: "The queue can not be reached",
    ErrorCode.WORKER_LOST: "The workers that read it were lost",
    ErrorCode.INTERNAL_ERROR: "Something went wrong inside",
}

RETRY_AFTER_S: Final[dict[ErrorCode, int]] = {
    ErrorCode.BROKER_UNAVAILABLE: 2,
    ErrorCode.QUEUE_FULL: 10,
    ErrorCode.RATE_LIMITED: 5,
    ErrorCode.SERVER_BUSY: 1,
    ErrorCode.SERVER_STOPPING: 2,
    ErrorCode.STORAGE_FULL: 30,
    ErrorCode.STORAGE_UNAVAILABLE: 10,
}

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_CODE_OF_STATUS: Final[dict[int, ErrorCode]] = {
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
}


class Refusal(TbscreenError):
    """A request that is answered with a problem, with its headers and what is wrong in detail."""

    def __init__(
        self,
        code: ErrorCode,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: "list[FieldProblem] | None" = None,
    ) -> None:
        super().__init__(code, detail)
        self.headers = dict(headers or {})
        self.errors = errors


class FieldProblem(BaseModel):
    """What is wrong with one parameter, or with one file of a batch."""

    location: str = Field(description="e.g. query.wait, or items.7 for the batch's file of index 7")
    message: str
    code: ErrorCode | None = Field(default=None, description="of a file of a batch")


class Problem(BaseModel):
    """The body of every error answer."""

    type: str = Field(description="where the API's documentation explains the code")
    title: str
    status: int
    detail: str
    code: ErrorCode
    instance: str = Field(description="the path that was asked for")
    request_id: str = Field(description="also in X-Request-ID and on the log lines")
    errors: list[FieldProblem] | None = None


def install_problem_handlers(app: FastAPI) -> None:
    """Maps every exception a route may raise. The rest is `unexpected_problem`'s."""
    app.add_exception_handler(TbscreenError, _on_tbscreen_error)
    app.add_exception_handler(RedisError, _on_redis_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


def refusal_response(scope: Scope, refusal: Refusal) -> Response:
    """The answer to what is refused before any route is reached."""
    return _respond(scope, refusal.code, refusal.detail, headers=refusal.headers)


def stopping_problem(scope: Scope) -> Response:
    """The answer to what a gateway that was told to stop could not wait for.

    Who is still sending may find the connection reset instead.
    """
    return _respond(
        scope,
        ErrorCode.SERVER_STOPPING,
        "The gateway stopped before this was done; what it did of it is not known.",
    )


def unexpected_problem(scope: Scope) -> Response:
    """The answer to an exception that nothing expected; it says nothing of it."""
    return _respond(scope, ErrorCode.INTERNAL_ERROR, "The error was logged under the request id.")


def _respond(
    scope: Scope,
    code: ErrorCode,
    detail: str,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    errors: list[FieldProblem] | None = None,
) -> Response:
    problem = Problem(
        type=f"/docs#{code}",
        title=TITLES[code],
        status=status or HTTP_STATUS[code],
        detail=detail,
        code=code,
        instance=scope["path"],
        request_id=scope.get("request_id", ""),
        errors=errors,
    )
    scope["problem_code"] = code
    headers = {"Cache-Control": "no-store", **(headers or {})}
    if code in RETRY_AFTER_S:
        headers.setdefault("Retry-After", str(RETRY_AFTER_S[code]))
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=problem.status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=headers,
    )


def _on_tbscreen_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TbscreenError)
    if isinstance(error, Refusal):
        return _respond(
            request.scope, error.code, error.detail, headers=error.headers, errors=error.errors
        )
    if error.code is ErrorCode.STORAGE_UNAVAILABLE:
        logger.error("the upload volume fails", extra={"error": str(error.__cause__ or error)})
    return _respond(request.scope, error.code, error.detail)


def _on_redis_error(request: Request, error: Exception) -> Response:
    logger.warning("redis failed a request", extra={"error": type(error).__name__})
    # Redis 6.2 wraps an error within a script in one of another type.
    if isinstance(error, OutOfMemoryError) or "-OOM " in str(error):
        return _respond(request.scope, ErrorCode.STORAGE_FULL, "The job store has no memory left.")
    return _respond(
        request.scope, ErrorCode.BROKER_UNAVAILABLE, "The job store can not be reached; try again."
    )


def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The rejected value stays out: it is the client's, and it may be anything.
    errors = [
        FieldProblem(location=".".join(str(part) for part in item["loc"]), message=item["msg"])
        for item in error.errors()
    ]
    return _respond(
        request.scope, ErrorCode.INVALID_REQUEST, "A parameter is not valid.", errors=errors
    )


def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    code = _CODE_OF_STATUS.get(
        status, ErrorCode.INTERNAL_ERROR if status >= 500 else ErrorCode.INVALID_REQUEST
    )
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed_methods(request))
    return _respond(
        request.scope, code, f"{HTTPStatus(status).phrase}.", status=status, headers=headers
    )


def _allowed_methods(request: Request) -> list[str]:
    """Returns what the path answers to; the framework names the methods of one route of several."""
    return [
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]
