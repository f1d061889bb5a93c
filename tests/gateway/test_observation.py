import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from support.gateway_app import PNG, as_form
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.observation import RequestObserver
from tbscreen_shared.logging import configure_logging


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the gateway's process would write to standard error."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    output = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", output)
        configure_logging("gateway", log_format="json", level="INFO")
    # The client's own lines come from the same process here.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    yield output
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(logged: io.StringIO, event: str) -> list[dict[str, object]]:
    parsed = [json.loads(line) for line in logged.getvalue().splitlines()]
    return [line for line in parsed if line["event"] == event]


async def failing_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/left":
        raise ClientDisconnect
    if scope["path"] == "/late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("the secret reason")


@pytest_asyncio.fixture
async def failing() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(RequestObserver(failing_app, Metrics()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


async def test_a_given_request_id_comes_back_and_stands_on_the_log_line(
    client: httpx.AsyncClient, logged: io.StringIO
) -> None:
    answer = await client.get("/v1/models", headers={"X-Request-ID": "visit-4711"})
    assert answer.headers["x-request-id"] == "visit-4711"
    (line,) = lines(logged, "request")
    assert line["request_id"] == "visit-4711"
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/models", 200)


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, 'quote"', "new\tline"])
async def test_a_request_id_that_is_none_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/livez", headers={"X-Request-ID": given})
    assert len(answer.headers["x-request-id"]) == 32


async def test_a_submissions_line_names_its_job_and_never_its_file(
    client: httpx.AsyncClient, logged: io.StringIO
) -> None:
    files = {"file": ("Doe^Jane.png", PNG)}
    job_id = (await client.post("/v1/jobs", files=files)).json()["id"]
    output = logged.getvalue()
    assert "Jane" not in output
    assert json.loads(output.splitlines()[-1])["job_id"] == job_id


async def test_a_refusals_line_names_its_code(
    client: httpx.AsyncClient, logged: io.StringIO
) -> None:
    await client.post("/v1/jobs", files=as_form(b""))
    (line,) = lines(logged, "request")
    assert (line["status"], line["code"]) == (422, "empty_upload")


async def test_an_unknown_path_is_not_logged(
    client: httpx.AsyncClient, logged: io.StringIO
) -> None:
    await client.get("/Doe^Jane.png?name=Jane")
    assert "Jane" not in logged.getvalue()


async def test_a_look_ups_line_names_its_job_only_where_the_id_is_one(
    client: httpx.AsyncClient, logged: io.StringIO
) -> None:
    job_id = (await client.post("/v1/jobs", files=as_form(PNG))).json()["id"]
    await client.get(f"/v1/jobs/{job_id}")
    await client.get("/v1/jobs/Doe^Jane")
    assert "Jane" not in logged.getvalue()
    _, known, unknown = lines(logged, "request")
    assert known["job_id"] == job_id
    assert (unknown["status"], "job_id" in unknown) == (404, False)


async def test_an_unexpected_error_is_a_problem_that_says_nothing_and_is_logged(
    failing: httpx.AsyncClient, logged: io.StringIO
) -> None:
    answer = await failing.get("/")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    (line,) = lines(logged, "unexpected error")
    assert "the secret reason" in str(line["exception"])
    assert line["request_id"] == answer.json()["request_id"]


async def test_an_error_after_the_answer_began_reaches_the_server(
    failing: httpx.AsyncClient,
) -> None:
    with pytest.raises(RuntimeError):
        await failing.get("/late")


async def test_a_client_that_left_is_no_error(logged: io.StringIO) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": "/left", "headers": []}
    await RequestObserver(failing_app, Metrics())(scope, receive, send)
    assert sent == []
    (line,) = lines(logged, "request")
    assert (line["level"], line["status"]) == ("info", 499)


async def test_every_answer_carries_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/livez", "/nowhere", "/static/main.js", "/v1/models"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert "camera=()" in headers["permissions-policy"]
        # The page shows a radiograph on the full screen.
        assert "fullscreen" not in headers["permissions-policy"]
        assert "strict-transport-security" not in headers


async def test_an_answer_by_https_is_to_be_had_by_https_alone(client: httpx.AsyncClient) -> None:
    headers = (await client.get("https://localhost/livez")).headers
    assert headers["strict-transport-security"] == "max-age=31536000"
