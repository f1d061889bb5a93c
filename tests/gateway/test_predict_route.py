import asyncio
from collections.abc import Callable

import httpx
import pytest
from redis import Redis

from support.fake_worker import FakeWorker, a_result
from support.gateway_app import PNG, as_form, running_gateway
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.contracts import JobError, JobResult, Warning
from tbscreen_shared.errors import HTTP_STATUS, ErrorCode

Work = Callable[[JobResult | JobError], "asyncio.Task[None]"]


@pytest.fixture
def work(redis: Redis) -> Work:
    """Finishes the next job with the given answer, beside the request that waits for it."""

    def start(answer: JobResult | JobError) -> "asyncio.Task[None]":
        worker = FakeWorker(redis, lambda _: answer)

        def finish_next() -> None:
            worker.finish(worker.take() or "")

        return asyncio.create_task(asyncio.to_thread(finish_next))

    return start


async def test_the_answer_holds_prediction_probability_warnings_and_job(
    client: httpx.AsyncClient, work: Work
) -> None:
    working = work(a_result(0.83, warnings=(Warning.INVERTED,)))
    answer = await client.post("/predict", files=as_form(PNG))
    await working
    body = answer.json()
    job_id = answer.headers["location"].removeprefix("/v1/jobs/")
    assert answer.status_code == 200
    assert body == {
        "prediction": "TB Positive",
        "probability": 0.83,
        "warnings": ["inverted"],
        "job_id": job_id,
    }


@pytest.mark.parametrize(
    "code", [ErrorCode.NOT_A_CHEST_RADIOGRAPH, ErrorCode.IMAGE_TOO_LARGE, ErrorCode.WORKER_LOST]
)
async def test_a_job_that_fails_is_a_problem_of_its_codes_status(
    client: httpx.AsyncClient, work: Work, code: ErrorCode
) -> None:
    working = work(JobError(code=code, message="said the worker"))
    answer = await client.post("/predict", files=as_form(PNG))
    await working
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (HTTP_STATUS[code], code)
    assert problem["detail"] == "said the worker"
    assert answer.headers["location"].startswith("/v1/jobs/")


async def test_past_the_wait_limit_it_is_202_with_the_job(settings: GatewaySettings) -> None:
    impatient = settings.model_copy(update={"predict_wait_s": 0.2})
    async with running_gateway(impatient) as client:
        answer = await client.post("/predict", files=as_form(PNG))
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        assert (await client.get(answer.headers["location"])).status_code == 200


async def test_a_job_canceled_meanwhile_is_not_found(
    client: httpx.AsyncClient, worker: FakeWorker
) -> None:
    posted = asyncio.create_task(client.post("/predict", files=as_form(PNG)))
    job_id = await asyncio.to_thread(worker.take)
    assert (await client.delete(f"/v1/jobs/{job_id}")).status_code == 200
    answer = await posted
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_an_upload_that_can_not_be_taken_is_refused_as_elsewhere(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/predict", files=as_form(b"%PDF-1.7" + bytes(200)))
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    answer = await client.post("/predict", content=b"{}")
    assert answer.status_code == 415


async def test_an_idempotency_key_answers_a_repeat_with_the_first_result(
    client: httpx.AsyncClient, work: Work
) -> None:
    working = work(a_result(0.83))
    headers = {"Idempotency-Key": "k"}
    first = await client.post("/predict", files=as_form(PNG), headers=headers)
    await working
    again = await client.post("/predict", files=as_form(PNG), headers=headers)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
