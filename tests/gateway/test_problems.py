import uuid

import httpx
import pytest
from fastapi import FastAPI
from redis.exceptions import OutOfMemoryError, TimeoutError

from tbscreen_gateway.problems import TITLES, Refusal, install_problem_handlers
from tbscreen_shared.errors import HTTP_STATUS, BlobError, BundleError, ErrorCode


async def answer_to(error: Exception) -> httpx.Response:
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/here")
    def fail() -> None:
        raise error

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.get("/here")


@pytest.mark.parametrize("code", ErrorCode)
async def test_each_code_is_a_problem_of_its_status(code: ErrorCode) -> None:
    answer = await answer_to(Refusal(code, "Told so."))
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == problem["status"] == HTTP_STATUS[code]
    assert problem["code"] == code
    assert problem["title"] == TITLES[code]
    assert problem["detail"] == "Told so."
    assert problem["instance"] == "/here"
    assert problem["type"] == f"/docs#{code}"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TimeoutError("redis://:password@host"), 503, ErrorCode.BROKER_UNAVAILABLE),
        (OutOfMemoryError("maxmemory"), 507, ErrorCode.STORAGE_FULL),
        (BlobError(ErrorCode.STORAGE_FULL, "full"), 507, ErrorCode.STORAGE_FULL),
        (BundleError("no bundle"), 404, ErrorCode.MODEL_NOT_FOUND),
    ],
)
async def test_what_lies_below_is_mapped_and_not_quoted(
    error: Exception, status: int, code: ErrorCode
) -> None:
    answer = await answer_to(error)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "password" not in answer.text


async def test_what_may_pass_comes_with_a_time_to_try_again() -> None:
    for code in (ErrorCode.BROKER_UNAVAILABLE, ErrorCode.QUEUE_FULL, ErrorCode.RATE_LIMITED):
        assert int((await answer_to(Refusal(code, ""))).headers["retry-after"]) > 0


async def test_unknown_paths_and_methods_are_problems_too(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/nowhere")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    for path in ("/static/none.js", "/static/../app.py", "/static/%2e%2e/app.py"):
        assert (await client.get(path)).json()["code"] == "not_found"
    wrong = await client.put("/v1/jobs")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    of_two_routes = await client.put(f"/v1/jobs/{uuid.uuid4()}")
    assert of_two_routes.headers["allow"] == "GET, DELETE"
