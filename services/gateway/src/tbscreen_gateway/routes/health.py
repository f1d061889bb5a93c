"""Health: for people, for orchestrators, for Prometheus."""

import math
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from tbscreen_gateway.access.dependencies import (
    ACCESS_ANSWERS,
    MAY_READ,
    OPEN_ANSWERS,
    OPTIONAL_READ,
    VisitorDep,
)
from tbscreen_gateway.answer_headers import RETRY_AFTER, sometimes
from tbscreen_gateway.dependencies import ServicesDep
from tbscreen_gateway.examples import (
    DEGRADED,
    HEALTH_SUMMARY,
    HEALTHY,
    NOT_READY,
    READY,
    json_answer,
    problem_answers,
)
from tbscreen_gateway.health import HealthReport, HealthSummary, Readiness
from tbscreen_gateway.metrics import METRICS_MEDIA_TYPE
from tbscreen_gateway.problems import PROBLEM_MEDIA_TYPE
from tbscreen_shared.access import Scope
from tbscreen_shared.errors import ErrorCode

router = APIRouter(tags=["Health"])

_WRONG_KEY: Final = problem_answers(ErrorCode.UNAUTHORIZED, ErrorCode.RATE_LIMITED)


@router.get(
    "/health",
    summary="See how the system is",
    responses={
        200: json_answer(
            "How it is; to those who may not read, the status alone.",
            ok=HEALTHY,
            degraded=DEGRADED,
            without_a_key=HEALTH_SUMMARY,
        ),
        **_WRONG_KEY,
        **OPEN_ANSWERS,
    },
    openapi_extra=OPTIONAL_READ,
)
def report_health(
    visitor: VisitorDep, services: ServicesDep, response: Response
) -> HealthReport | HealthSummary:
    """For people: 200 even when degraded; its problems say in words what is wrong.

    Without a key that may read it answers with the status alone.
    """
    response.headers["Cache-Control"] = "no-store"
    report = services.health.report()
    if visitor is not None and Scope.READ in visitor.scopes:
        return report
    return HealthSummary(status=report.status, application=report.application)


@router.get(
    "/livez",
    summary="Is the process alive?",
    response_class=Response,
    responses=problem_answers(ErrorCode.SERVER_BUSY),
)
@router.head("/livez", include_in_schema=False, response_class=Response)
async def is_alive() -> Response:
    """For orchestrators: 200 while the process answers at all. It looks at nothing else."""
    return Response("alive\n", media_type="text/plain")


_UNAVAILABLE: Final = problem_answers(ErrorCode.SERVER_BUSY)[503]
_NOT_READY_ANSWER: Final[dict[str, Any]] = {
    "description": "Redis, the storage or the model is missing. "
    f"Or as anywhere: {_UNAVAILABLE['description']}",
    "headers": sometimes(RETRY_AFTER),
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/Readiness"},
            "examples": {"no_model": {"value": NOT_READY}},
        },
        PROBLEM_MEDIA_TYPE: {
            "schema": {"$ref": "#/components/schemas/Problem"},
            **_UNAVAILABLE["content"][PROBLEM_MEDIA_TYPE],
        },
    },
}


@router.get(
    "/readyz",
    summary="Can uploads be accepted?",
    response_model=Readiness,
    responses={
        200: json_answer("They can.", ready=READY),
        503: _NOT_READY_ANSWER,
    },
)
@router.head("/readyz", include_in_schema=False, response_class=Response)
def is_ready(services: ServicesDep) -> Response:
    """For orchestrators: 200 when Redis answers, uploads can be stored and a model is active.

    Workers are told and do not count: accepted jobs are durable and wait for them.
    """
    readiness = services.health.readiness()
    return JSONResponse(
        readiness.model_dump(),
        status_code=200 if readiness.ready else 503,
        headers={"Cache-Control": "no-store"},
    )


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    dependencies=[MAY_READ],
    responses=ACCESS_ANSWERS,
)
def show_metrics(services: ServicesDep) -> Response:
    """Counts, durations by route, and the queue's and workers' state at this moment."""
    load, metrics = services.health.load(), services.metrics
    metrics.redis_up.set(load.redis_up)
    metrics.queue_length.set(math.nan if load.queue_length is None else load.queue_length)
    metrics.workers_alive.set(math.nan if load.workers_alive is None else load.workers_alive)
    metrics.dead_jobs.set(math.nan if load.dead_jobs is None else load.dead_jobs)
    metrics.audit_waiting.set(math.nan if load.audit_waiting is None else load.audit_waiting)
    return Response(metrics.exposition(), media_type=METRICS_MEDIA_TYPE)
