"""What a key opens."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from support.api_keys import add_key, bearer, revoke
from support.audit_entries import lines_of
from support.blob_files import blob_files
from support.gateway_app import PNG, as_form, running_gateway
from tbscreen_gateway.access.dependencies import MAY_ADMINISTER, CallerDep
from tbscreen_gateway.app import create_app
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.access import ApiKey, AuthMode, Scope

A_JOB = "/v1/jobs/0199e0a4-7c1e-7d52-9a53-0f2a5e6b8c11"
A_BATCH = "/v1/batches/0199e0a4-9b3f-7a10-8c55-1d2e3f405162"

# Each route that takes a scope, and the scope.
TAKES = {
    ("POST", "/v1/jobs"): "submit",
    ("POST", "/predict"): "submit",
    ("DELETE", A_JOB): "submit",
    ("POST", "/v1/batches"): "submit",
    ("DELETE", A_BATCH): "submit",
    ("GET", A_BATCH): "read",
    ("GET", f"{A_BATCH}.csv"): "read",
    ("GET", A_JOB): "read",
    ("GET", f"{A_JOB}/heatmap.png"): "read",
    ("GET", "/v1/models"): "read",
    ("GET", "/v1/models/2026.11.1"): "read",
    ("GET", "/v1/models/2026.11.1/report"): "read",
    ("GET", "/v1/models/2026.11.1/report/metrics.json"): "read",
    ("GET", "/metrics"): "read",
    ("GET", "/v1/dead-jobs"): "admin",
    ("POST", f"{A_JOB}/retry"): "admin",
}
OPEN = {"/", "/docs", "/livez", "/readyz", "/health", "/openapi.json", "/v1/session"}


@pytest.mark.parametrize(("method", "path"), TAKES)
async def test_without_a_key_nothing_is_told_or_taken(
    gate: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await gate.request(method, path, content=b"anything")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), TAKES)
async def test_each_route_takes_its_own_scope_and_no_other(
    gate: httpx.AsyncClient, keys_file: Path, method: str, path: str
) -> None:
    needed = Scope(TAKES[method, path])
    _, others = add_key(keys_file, *(scope for scope in Scope if scope is not needed))
    refused = await gate.request(method, path, headers=bearer(others))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert needed in refused.json()["detail"]
    assert (
        refused.headers["www-authenticate"]
        == f'Bearer error="insufficient_scope", scope="{needed}"'
    )
    _, alone = add_key(keys_file, needed)
    answer = await gate.request(method, path, headers=bearer(alone))
    assert answer.status_code not in (401, 403)


def routes_of(settings: GatewaySettings) -> list[BaseRoute]:
    return list(create_app(settings).routes)


async def test_a_route_takes_a_scope_or_is_known_to_be_open(
    gate: httpx.AsyncClient, guarded: GatewaySettings
) -> None:
    """So that no new route is open by oversight."""
    document = (await gate.get("/openapi.json")).json()
    described = [
        (path, method) for path, methods in document["paths"].items() for method in methods
    ]
    assert ("/v1/jobs", "post") in described
    for path, method in described:
        security = document["paths"][path][method].get("security", [])
        scopes = [scopes for way in security for scopes in way.values()]
        assert path in OPEN or (scopes and all(scopes)), (method, path)
        assert path in OPEN or {"401", "403"} <= document["paths"][path][method]["responses"].keys()
    hidden = {
        route.path
        for route in routes_of(guarded)
        if isinstance(route, APIRoute) and not route.include_in_schema
    }
    assert hidden <= OPEN


async def test_pages_and_probes_are_open(gate: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/openapi.json", "/static/main.js", "/livez", "/readyz"):
        assert (await gate.get(path)).status_code == 200, path


async def test_a_radiograph_goes_its_way_with_a_key(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str]
) -> None:
    gate.headers.update(bearer(key[1]))
    accepted = await gate.post("/v1/jobs", files=as_form(PNG))
    assert accepted.status_code == 202
    assert (await gate.get(accepted.headers["location"])).json()["status"] == "queued"
    assert (await gate.delete(accepted.headers["location"])).status_code == 200


async def test_no_byte_is_stored_without_a_key(
    gate: httpx.AsyncClient, guarded: GatewaySettings
) -> None:
    stored = sorted(guarded.blobs_dir.iterdir())
    await gate.post("/v1/jobs", files=as_form(PNG))
    assert sorted(guarded.blobs_dir.iterdir()) == stored


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer tbs_", "Bearer nonsense", "bearer é", "Bearer a b c"]
)
async def test_what_is_no_key_is_refused(gate: httpx.AsyncClient, header: str) -> None:
    answer = await gate.get("/v1/models", headers={"Authorization": header.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_another_scheme_is_no_key(gate: httpx.AsyncClient, key: tuple[ApiKey, str]) -> None:
    answer = await gate.get("/v1/models", auth=("user", key[1]))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_a_worthless_key_is_told_why_and_only_to_who_holds_it(
    gate: httpx.AsyncClient, keys_file: Path, key: tuple[ApiKey, str]
) -> None:
    _, expired = add_key(keys_file, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    answer = await gate.get("/v1/models", headers=bearer(expired))
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]
    guessed = expired[:-64] + "0" * 64
    assert "expired" not in (await gate.get("/v1/models", headers=bearer(guessed))).text


async def test_a_wrong_key_is_logged_with_its_address_and_without_itself(
    gate: httpx.AsyncClient, keys_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    revoked_key, revoked = add_key(keys_file)
    revoke(keys_file, revoked_key)
    unknown = "tbs_000000000000_" + "0" * 64
    with caplog.at_level(logging.DEBUG):
        for token in (revoked, unknown):
            answer = await gate.post("/v1/jobs", headers=bearer(token))
            assert token not in answer.text
            assert token[-64:] not in answer.text
    lines = [record for record in caplog.records if record.message == "a wrong API key"]
    assert [(line.client, line.reason) for line in lines] == [  # type: ignore[attr-defined]
        ("127.0.0.1", "revoked"),
        ("127.0.0.1", "unknown"),
    ]
    written = " ".join(str(record.__dict__) for record in caplog.records)
    assert revoked[-64:] not in written and unknown not in written


async def test_the_keys_id_is_on_the_requests_line(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="tbscreen.access"):
        await gate.get("/v1/models", headers=bearer(key[1]))
        await gate.get("/v1/models")
    known, unknown = caplog.records
    assert known.key_id == key[0].id  # type: ignore[attr-defined]
    assert not hasattr(unknown, "key_id")


async def test_a_route_may_ask_who_calls(guarded: GatewaySettings, keys_file: Path) -> None:
    def who(caller: CallerDep) -> dict[str, object]:
        return {"key_id": caller.key_id, "scopes": sorted(caller.scopes)}

    def extend(app: FastAPI) -> None:
        app.get("/who", dependencies=[MAY_ADMINISTER])(who)

    admin, token = add_key(keys_file, Scope.ADMIN)
    _, others = add_key(keys_file, Scope.SUBMIT, Scope.READ)
    async with running_gateway(guarded, extend=extend) as client:
        assert (await client.get("/who", headers=bearer(others))).status_code == 403
        answer = await client.get("/who", headers=bearer(token))
        assert answer.json() == {"key_id": admin.id, "scopes": ["admin"]}
    opened = guarded.model_copy(update={"auth": AuthMode.OFF})
    async with running_gateway(opened, extend=extend) as client:
        everything = {"key_id": None, "scopes": ["admin", "read", "submit"]}
        assert (await client.get("/who")).json() == everything


async def test_health_says_its_status_to_all_and_the_rest_to_who_may_read(
    gate: httpx.AsyncClient, keys_file: Path, key: tuple[ApiKey, str]
) -> None:
    _, submits = add_key(keys_file, Scope.SUBMIT)
    summary = {"status": "degraded", "application": "tbscreen"}
    assert (await gate.get("/health")).json() == summary
    assert (await gate.get("/health", headers=bearer(submits))).json() == summary
    report = (await gate.get("/health", headers=bearer(key[1]))).json()
    assert report["access"] == {"ok": True, "keys_needed": True, "detail": None, "note": None}
    assert report["queue_length"] == 0
    assert (await gate.get("/health", headers=bearer("tbs_wrong"))).status_code == 401


async def test_the_page_tells_no_model_to_who_may_not_read(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str]
) -> None:
    link = 'href="/v1/models/2026.11.1/report"'
    for path in ("/", "/docs"):
        assert link not in (await gate.get(path)).text
        assert link in (await gate.get(path, headers=bearer(key[1]))).text


async def test_without_keys_everybody_may_everything(settings: GatewaySettings) -> None:
    async with running_gateway(settings) as client:
        assert (await client.post("/v1/jobs", files=as_form(PNG))).status_code == 202
        assert (await client.get("/health", headers=bearer("tbs_wrong"))).json()["access"] == {
            "ok": True,
            "keys_needed": False,
            "detail": None,
            "note": None,
        }
        page = (await client.get("/")).text
        assert 'id="sign-in" aria-labelledby="sign-in-title" hidden' in page


async def test_after_many_wrong_keys_an_address_must_wait_and_a_right_key_need_not(
    gate: httpx.AsyncClient, keys_file: Path
) -> None:
    _, right = add_key(keys_file, Scope.READ)
    wrong = bearer("tbs_aaaaaaaa_" + "b" * 43)
    answers = [await gate.get("/v1/models", headers=wrong) for _ in range(25)]
    assert {answer.status_code for answer in answers[:20]} == {401}
    last = answers[-1]
    assert (last.status_code, last.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(last.headers["Retry-After"]) <= 3
    assert (await gate.get("/v1/models", headers=bearer(right))).status_code == 200
    # What needs no key fails as well with one that is wrong, and is documented to.
    at_health = [await gate.get("/health", headers=wrong) for _ in range(25)]
    documented = (await gate.get("/openapi.json")).json()["paths"]["/health"]["get"]["responses"]
    assert at_health[-1].status_code == 429
    assert {"401", "421", "429"} <= set(documented)


async def test_a_keys_uploads_are_counted_and_written_to_the_audit_log(
    guarded: GatewaySettings, key: tuple[ApiKey, str]
) -> None:
    made, token = key
    bounded = guarded.model_copy(update={"rate_limit_per_minute": 6})
    async with running_gateway(bounded) as gate:
        answers = [
            await gate.post("/v1/jobs", files=as_form(PNG), headers=bearer(token)) for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [202, 429]
    assert 5 <= int(answers[1].headers["Retry-After"]) <= 10
    (entry,) = (line for line in lines_of(guarded.audit_dir) if line.event == "accepted")
    assert entry.details["key"] == made.id


async def test_each_radiograph_of_a_batch_is_counted(
    guarded: GatewaySettings, key: tuple[ApiKey, str]
) -> None:
    made, token = key
    films = [("file", ("x", PNG + bytes([number]))) for number in range(5)]
    bounded = guarded.model_copy(update={"rate_limit_per_minute": 6})
    async with running_gateway(bounded) as gate:
        answers = [
            await gate.post("/v1/batches", files=films, headers=bearer(token)) for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [202, 429]
    assert 40 <= int(answers[1].headers["Retry-After"]) <= 50
    accepted = [line for line in lines_of(guarded.audit_dir) if line.event == "accepted"]
    assert [line.details["key"] for line in accepted] == [made.id] * 5
    assert len(blob_files(guarded.blobs_dir)) == 5
