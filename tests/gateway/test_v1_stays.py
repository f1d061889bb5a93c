"""What /v1 has promised stays. `support.api_promises` says how an addition is put into the file."""

from copy import deepcopy
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support.api_promises import broken_promises, promises_of, read_promises
from tbscreen_shared.errors import HTTP_STATUS, ErrorCode

JOB = "/v1/jobs/{job_id}"
SHEET = "/v1/batches/{batch_id}.csv"
GET_JOB = ("paths", JOB, "get")
POST_JOB = ("paths", "/v1/jobs", "post")
SCHEMAS = ("components", "schemas")
PROBLEM = (*SCHEMAS, "Problem")
NO_MORE = object()


@pytest_asyncio.fixture
async def document(client: httpx.AsyncClient) -> Any:
    return (await client.get("/openapi.json")).json()


def changed(document: Any, keys: tuple[str, ...], value: object) -> Any:
    """A copy in which what the keys lead to is another, or no more."""
    copy = deepcopy(document)
    inner = copy
    for key in keys[:-1]:
        inner = inner[key]
    if value is NO_MORE:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return copy


async def test_everything_promised_is_there_and_no_request_needs_more(document: Any) -> None:
    broken = broken_promises(read_promises(), promises_of(document))
    assert not broken, "\n".join(broken)


def test_the_file_names_what_every_client_rests_on() -> None:
    promised = read_promises()
    assert {"POST /v1/jobs", f"GET {JOB}", "POST /v1/batches", "POST /predict"} <= promised.keys()
    assert "query wait: null | number" in promised[f"GET {JOB}"]["takes"]
    assert promised["POST /v1/jobs"]["needs"] == ["a body", "multipart/form-data file"]
    assert "succeeded" in promised["schema JobStatus"]["can only be"]
    assert len(promised["error codes"]["have"]) >= 35


@pytest.mark.parametrize(
    ("line", "keys", "value"),
    [
        (f"GET {SHEET} is gone", ("paths", SHEET), NO_MORE),
        (f"GET {JOB} no more takes query wait: null | number", (*GET_JOB, "parameters"), []),
        (
            f"GET {JOB} now needs query wait",
            (*GET_JOB, "parameters"),
            [{"in": "query", "name": "wait", "required": True, "schema": {"type": "number"}}],
        ),
        (f"GET {JOB} no more answers 304", (*GET_JOB, "responses", "304"), NO_MORE),
        (
            "POST /v1/jobs no more answers 202 always Location",
            (*POST_JOB, "responses", "202", "headers", "Location", "required"),
            False,
        ),
        (
            "POST /v1/jobs no more answers 503 application/problem+json: Problem",
            (*POST_JOB, "responses", "503", "content"),
            {"application/json": {}},
        ),
        (
            "POST /v1/jobs no more takes body multipart/form-data: object",
            (*POST_JOB, "requestBody"),
            NO_MORE,
        ),
        (
            "POST /v1/jobs, its callback no more brings header webhook-id: string",
            (*POST_JOB, "callbacks", "receive"),
            {"url": {"post": {}}},
        ),
        ("schema Problem is gone", PROBLEM, NO_MORE),
        ("schema Problem no more has code: ErrorCode", (*PROBLEM, "properties", "code"), NO_MORE),
        (
            "schema Problem no more has status: integer",
            (*PROBLEM, "properties", "status", "type"),
            "string",
        ),
        ("schema Problem no more always has detail", (*PROBLEM, "required"), ["type"]),
        ("schema Warning no more may be inverted", (*SCHEMAS, "Warning", "enum"), ["new"]),
        ("schema JobStatus now can only be paused", (*SCHEMAS, "JobStatus", "enum"), ["paused"]),
        ("error codes no more have queue_full 503", (*SCHEMAS, "ErrorCode", "enum"), ["forbidden"]),
    ],
)
async def test_what_is_broken_is_named(
    document: Any, line: str, keys: tuple[str, ...], value: object
) -> None:
    found = promises_of(changed(document, keys, value))
    assert line in broken_promises(promises_of(document), found)


async def test_a_code_with_another_status_is_named(
    document: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = promises_of(document)
    monkeypatch.setitem(HTTP_STATUS, ErrorCode.QUEUE_FULL, 500)
    assert broken_promises(before, promises_of(document)) == [
        "error codes no more have queue_full 503"
    ]


async def test_additions_break_nothing(document: Any) -> None:
    more = changed(document, ("paths", "/v1/new"), {"get": document["paths"][JOB]["get"]})
    looked_up, problem = more["paths"][JOB]["get"], more["components"]["schemas"]["Problem"]
    for parameter in looked_up["parameters"]:
        parameter["required"] = False
    looked_up["parameters"].append({"in": "query", "name": "new", "schema": {"type": "string"}})
    looked_up["responses"]["418"] = {"description": "New."}
    looked_up["responses"]["200"]["headers"]["Retry-After"]["required"] = True
    problem["properties"]["new"] = {"type": "string"}
    problem["required"].append("new")
    more["components"]["schemas"]["Warning"]["enum"].append("new")
    more["components"]["schemas"]["New"] = {"type": "object", "properties": {}}
    assert broken_promises(promises_of(document), promises_of(more)) == []
