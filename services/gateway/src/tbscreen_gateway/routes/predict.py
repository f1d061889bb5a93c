"""The short way: one request, one answer."""

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from tbscreen_gateway.access.dependencies import ACCESS_ANSWERS, MAY_SUBMIT
from tbscreen_gateway.answer_headers import CACHED, MADE, RETRY_AFTER, sometimes
from tbscreen_gateway.answers import accepted_response, job_path
from tbscreen_gateway.dependencies import IdempotencyKey, ServicesDep, Wait
from tbscreen_gateway.examples import (
    QUEUED_JOB,
    UPLOAD_BODY,
    job_answer,
    json_answer,
    problem_answers,
)
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.routes.jobs import UPLOAD_ERRORS, follow, replay_headers, take_in
from tbscreen_shared.contracts import Probability, Warning
from tbscreen_shared.errors import HTTP_STATUS, ErrorCode

router = APIRouter(tags=["Prediction"], dependencies=[MAY_SUBMIT], responses=ACCESS_ANSWERS)

_JOB_ERRORS: Final = (
    ErrorCode.IMAGE_TOO_LARGE,
    ErrorCode.UNREADABLE_IMAGE,
    ErrorCode.NOT_A_CHEST_RADIOGRAPH,
    ErrorCode.WORKER_LOST,
    ErrorCode.INTERNAL_ERROR,
)


class Prediction(BaseModel):
    """The answer to one radiograph, without the rest of its job."""

    prediction: str = Field(examples=["TB Positive"])
    probability: Probability = Field(description="calibrated probability of the positive class")
    warnings: list[Warning] = Field(description="what to know before trusting the answer")
    job_id: str = Field(description="the job, with everything else, is at /v1/jobs/{job_id}")


def _with_job(answers: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """What a job fails with leads to the job; what refuses an upload under the same status, not."""
    of_jobs = {HTTP_STATUS[code] for code in (*_JOB_ERRORS, ErrorCode.JOB_NOT_FOUND)}
    return {
        status: {**answer, "headers": {**answer["headers"], **sometimes(MADE)}}
        if status in of_jobs
        else answer
        for status, answer in answers.items()
    }


@router.post(
    "/predict",
    summary="Read a radiograph and wait for the answer",
    openapi_extra=UPLOAD_BODY,
    response_model=Prediction,
    responses={
        200: json_answer(
            "The answer.",
            MADE,
            answer={
                "prediction": "TB Positive",
                "probability": 0.83,
                "warnings": [],
                "job_id": QUEUED_JOB["id"],
            },
        ),
        202: job_answer(
            "Not finished in time; find the job at Location.",
            {**CACHED, **MADE, **RETRY_AFTER},
            queued=QUEUED_JOB,
        ),
        **_with_job(problem_answers(*UPLOAD_ERRORS, *_JOB_ERRORS)),
    },
)
async def predict(
    request: Request, services: ServicesDep, idempotency_key: IdempotencyKey = None
) -> Response:
    """Takes one radiograph and waits for its result; what a job fails with is the answer's error.

    Past the wait limit it answers like POST /v1/jobs: 202, with the job to be looked up.
    """
    accepted = await take_in(request, services, idempotency_key)
    wait = Wait(services.settings.predict_wait_s, {})
    job = await follow(accepted, services, wait, request)
    headers = replay_headers(accepted)
    if not job.status.is_final:
        return accepted_response(job, headers)
    headers["Location"] = job_path(job.id)
    if job.error is not None:
        raise Refusal(job.error.code, job.error.message, headers=headers)
    if job.result is None:
        raise Refusal(ErrorCode.JOB_NOT_FOUND, "The job was canceled meanwhile.", headers=headers)
    result = job.result
    prediction = Prediction(
        prediction=result.prediction,
        probability=result.probability,
        warnings=result.warnings,
        job_id=job.id,
    )
    return JSONResponse(prediction.model_dump(mode="json"), headers=headers)
