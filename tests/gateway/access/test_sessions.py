"""A browser that is signed in."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis

from support.api_keys import add_key, bearer, revoke
from support.gateway_app import PNG, as_form, running_gateway
from support.ports import free_port
from tbscreen_gateway.access.sessions import SESSION_LIFE, SessionStore
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.access import ApiKey, Scope


async def sign_in(gate: httpx.AsyncClient, token: str) -> httpx.Response:
    answer = await gate.post("/v1/session", headers=bearer(token))
    assert answer.status_code == 201, answer.text
    return answer


async def test_signing_in_gives_a_cookie_that_stands_for_the_key(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str]
) -> None:
    answer = await sign_in(gate, key[1])
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith("tbscreen_session=")
    assert {item.lower() for item in attributes} == {"httponly", "samesite=strict", "path=/"}
    assert key[1] not in answer.headers["set-cookie"]
    body = answer.json()
    assert (body["key_id"], body["name"]) == (key[0].id, "Ward 3")
    left = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=11, minutes=59) < left <= timedelta(hours=12)
    accepted = await gate.post("/v1/jobs", files=as_form(PNG))
    assert accepted.status_code == 202
    assert (await gate.get(accepted.headers["location"])).status_code == 200
    assert "queue_length" in (await gate.get("/health")).json()


async def test_the_page_asks_who_is_not_signed_in_and_names_who_is(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str]
) -> None:
    asking = 'id="sign-in" aria-labelledby="sign-in-title">'
    page = await gate.get("/")
    assert asking in page.text
    assert 'id="intake" aria-labelledby="intake-title" hidden>' in page.text
    assert 'id="account" hidden>' in page.text
    await sign_in(gate, key[1])
    page = await gate.get("/")
    assert asking not in page.text
    assert 'id="intake" aria-labelledby="intake-title">' in page.text
    assert '<strong id="account-name">Ward 3</strong>' in page.text
    assert page.headers["cache-control"] == "private, no-cache"


async def test_a_session_has_its_keys_scopes(gate: httpx.AsyncClient, keys_file: Path) -> None:
    _, reads = add_key(keys_file, Scope.READ)
    await sign_in(gate, reads)
    assert (await gate.get("/v1/models")).status_code == 200
    refused = await gate.post("/v1/jobs", files=as_form(PNG))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_revoking_the_key_ends_its_sessions_at_once(
    gate: httpx.AsyncClient, keys_file: Path, key: tuple[ApiKey, str]
) -> None:
    await sign_in(gate, key[1])
    assert (await gate.get("/v1/models")).status_code == 200
    revoke(keys_file, key[0])
    assert (await gate.get("/v1/models")).status_code == 401
    assert (await gate.get("/health")).json().keys() == {"status", "application"}


async def test_signing_out_ends_the_session_for_a_copy_of_the_cookie_too(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str], redis: Redis
) -> None:
    await sign_in(gate, key[1])
    copy = {"Cookie": f"tbscreen_session={gate.cookies['tbscreen_session']}"}
    answer = await gate.delete("/v1/session")
    assert answer.status_code == 204
    assert not gate.cookies
    assert (await gate.get("/v1/models", headers=copy)).status_code == 401
    assert redis.keys("tbscreen:session:*") == []
    assert (await gate.delete("/v1/session")).status_code == 204


async def test_signing_in_ends_the_session_that_the_browser_had(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str], redis: Redis
) -> None:
    await sign_in(gate, key[1])
    (first,) = redis.keys("tbscreen:session:*")
    await sign_in(gate, key[1])
    (second,) = redis.keys("tbscreen:session:*")
    assert first != second
    assert (await gate.get("/v1/models")).status_code == 200


async def test_a_key_signs_in_so_often_and_then_waits_and_another_does_not(
    gate: httpx.AsyncClient, keys_file: Path, redis: Redis
) -> None:
    _, reads = add_key(keys_file, Scope.READ)
    _, others = add_key(keys_file)
    codes = []
    for _ in range(25):
        gate.cookies.clear()
        answer = await gate.post("/v1/session", headers=bearer(reads))
        codes.append(answer.status_code)
    assert codes[:20] == [201] * 20
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 4
    assert "set-cookie" not in answer.headers
    assert len(redis.keys("tbscreen:session:*")) == codes.count(201) < 25
    assert (await gate.get("/v1/models", headers=bearer(reads))).status_code == 200
    await sign_in(gate, others)


@pytest.mark.parametrize("cookie", ["", "guess", "é", "*", "a" * 4000])
async def test_a_cookie_of_no_session_is_nobody(gate: httpx.AsyncClient, cookie: str) -> None:
    headers = {"Cookie": f"tbscreen_session={cookie}".encode("latin-1")}
    assert (await gate.get("/v1/models", headers=headers)).status_code == 401
    assert (await gate.get("/", headers=headers)).status_code == 200


async def test_a_session_does_not_sign_in_again(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str]
) -> None:
    await sign_in(gate, key[1])
    assert (await gate.post("/v1/session")).status_code == 401


async def test_a_key_comes_before_a_session(
    gate: httpx.AsyncClient, keys_file: Path, key: tuple[ApiKey, str]
) -> None:
    await sign_in(gate, key[1])
    _, reads = add_key(keys_file, Scope.READ)
    refused = await gate.post("/v1/jobs", files=as_form(PNG), headers=bearer(reads))
    assert refused.status_code == 403
    assert (await gate.get("/v1/models", headers=bearer("tbs_wrong"))).status_code == 401


async def test_a_wrong_key_signs_nobody_in(gate: httpx.AsyncClient, redis: Redis) -> None:
    for headers in ({}, bearer("tbs_wrong")):
        answer = await gate.post("/v1/session", headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    assert redis.keys("tbscreen:session:*") == []


def test_a_session_ends_after_twelve_hours_or_with_its_key(keys_file: Path, redis: Redis) -> None:
    sessions = SessionStore(redis)
    for_ever, _ = add_key(keys_file)
    brief, _ = add_key(keys_file, expires_at=datetime.now(UTC) + timedelta(seconds=30))
    token, _ = sessions.open(for_ever)
    (name,) = redis.keys("tbscreen:session:*")
    assert 0 < redis.pttl(name) <= SESSION_LIFE.total_seconds() * 1000
    assert token not in name
    assert token not in str(redis.get(name))
    brief_token, session = sessions.open(brief)
    assert session.expires_at == brief.expires_at
    assert redis.pttl(next(n for n in redis.keys("tbscreen:session:*") if n != name)) <= 30_000
    assert sessions.find(brief_token) == session


async def test_where_no_key_is_needed_nobody_signs_in(settings: GatewaySettings) -> None:
    async with running_gateway(settings) as client:
        assert (await client.post("/v1/session")).json()["code"] == "not_found"


async def test_behind_https_the_cookie_is_for_https_and_this_host_alone(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str]
) -> None:
    answer = await gate.post("https://localhost/v1/session", headers=bearer(key[1]))
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-tbscreen_session=")
    assert "Secure" in cookie and "Path=/" in cookie and "Domain" not in cookie
    assert (await gate.get("https://localhost/v1/models")).status_code == 200
    token = cookie.split(";")[0].partition("=")[2]
    plain = {"Cookie": f"tbscreen_session={token}"}
    assert (await gate.get("https://localhost/v1/models", headers=plain)).status_code == 401


async def test_without_redis_the_page_and_health_answer_and_a_key_still_opens(
    guarded: GatewaySettings, key: tuple[ApiKey, str]
) -> None:
    lost = guarded.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{free_port()}/0")})
    cookie = {"Cookie": "tbscreen_session=anything"}
    async with running_gateway(lost) as client:
        assert (await client.get("/", headers=cookie)).status_code == 200
        assert (await client.get("/health", headers=cookie)).json()["status"] == "degraded"
        answer = await client.get("/v1/models", headers=cookie)
        assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
        assert (await client.get("/v1/models", headers=bearer(key[1]))).status_code == 200
