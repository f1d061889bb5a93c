"""What the audit log is told of keys."""

import asyncio
import json
import time
from pathlib import Path

import httpx
from redis import Redis

from support.api_keys import add_key, bearer, revoke
from support.audit_entries import lines_of
from support.gateway_app import PNG, as_form, running_gateway
from support.gateway_process import gateway_process
from support.redis_server import RedisServer
from tbscreen_gateway.access.wrong_keys import WrongKeys
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.access import ApiKey
from tbscreen_shared.audit import AuditLine
from tbscreen_shared.jobs import NOBODY, AuditStream
from tbscreen_shared.jobs.keys import AUDIT
from tbscreen_shared.queue import connect_redis


def recorded(settings: GatewaySettings, redis: Redis, *events: str) -> list[AuditLine]:
    """What the log tells of some events, once it tells all that happened."""
    deadline = time.monotonic() + 10
    while redis.xlen(AUDIT) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [line for line in lines_of(settings.audit_dir) if line.event in events]


def writes_of(redis: Redis) -> int:
    return int(redis.info("persistence")["rdb_changes_since_last_save"])


async def test_who_sent_and_who_erased_is_told_by_the_keys_id(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str], settings: GatewaySettings, redis: Redis
) -> None:
    given, token = key
    answer = await gate.post("/v1/jobs", files=as_form(PNG), headers=bearer(token))
    await gate.delete(answer.headers["location"], headers=bearer(token))
    entries = await asyncio.to_thread(recorded, settings, redis, "accepted", "canceled")
    assert [entry.details["key"] for entry in entries] == [given.id, given.id]


async def test_wrong_keys_are_told_without_being_quoted_and_not_each_of_them(
    gate: httpx.AsyncClient, keys_file: Path, settings: GatewaySettings, redis: Redis
) -> None:
    gone, token = add_key(keys_file)
    revoke(keys_file, gone)
    for _ in range(5):
        await gate.get("/v1/models", headers=bearer("tbs_wrong_secret"))
    await gate.get("/v1/models", headers=bearer(token))
    unknown, revoked = await asyncio.to_thread(recorded, settings, redis, "key_refused")
    assert unknown.details["reason"] == "unknown"
    assert (revoked.details["reason"], revoked.details["key"]) == ("revoked", gone.id)
    assert token.rpartition("_")[2] not in unknown.model_dump_json() + revoked.model_dump_json()
    assert "secret" not in unknown.model_dump_json()


async def test_wrong_keys_cost_no_write_each_and_are_all_counted(
    guarded: GatewaySettings, key: tuple[ApiKey, str], redis: Redis
) -> None:
    async with running_gateway(guarded) as gate:
        for _ in range(25):
            answer = await gate.get("/v1/models", headers=bearer("tbs_wrong_secret"))
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        begun = writes_of(redis)
        for _ in range(100):
            await gate.get("/v1/models", headers=bearer("tbs_wrong_secret"))
        # The writer of the audit log renews its lease meanwhile.
        assert writes_of(redis) - begun < 100
    lines = await asyncio.to_thread(recorded, guarded, redis, "key_refused")
    assert [line.details["count"] for line in lines] == [1, 124]


async def test_wrong_keys_that_redis_does_not_take_are_told_later(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        with connect_redis(server.url) as redis:
            wrong_keys = WrongKeys(AuditStream(redis))
            await wrong_keys.note(NOBODY, "unknown", "192.0.2.1")
            server.kill()
            for _ in range(3):
                await wrong_keys.note(NOBODY, "unknown", "192.0.2.1")
            await wrong_keys.flush()
            server.start()
            await wrong_keys.flush()
            await wrong_keys.flush()
            told = [entry["count"] for _, entry in redis.xrange(AUDIT)]
    finally:
        server.kill()
    assert told == ["1", "3"]


def test_what_a_header_says_of_the_client_is_told_only_if_it_is_an_address(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "api-keys.json"
    add_key(path)
    said = {
        "Maria Musterfrau 12.3.1960": "unknown",
        "fe80::1%Maria Musterfrau": "fe80::1",
        "2001:DB8:0::7": "2001:db8::7",
        "9" * 300: "unknown",
        "203.0.113.9": "203.0.113.9",
    }
    settings = {"api_keys_file": str(path), "trusted_proxies": "127.0.0.1"}
    with gateway_process(redis_url, tmp_path, **settings) as gateway:
        for header in said:
            headers = {**bearer("tbs_wrong"), "X-Forwarded-For": header}
            answer = httpx.get(f"{gateway.url}/v1/models", headers=headers)
            assert answer.status_code == 401
        log = gateway.log.read_text()
        kept = " ".join([log, *map(str, redis.keys()), *map(str, redis.xrange(AUDIT))])
    assert "Musterfrau" not in kept and "9" * 300 not in kept
    lines = [json.loads(line) for line in log.splitlines() if "a wrong API key" in line]
    assert [line["client"] for line in lines] == list(said.values())


async def test_a_browser_that_signs_in_is_told(
    gate: httpx.AsyncClient, key: tuple[ApiKey, str], settings: GatewaySettings, redis: Redis
) -> None:
    given, token = key
    assert (await gate.post("/v1/session", headers=bearer(token))).status_code == 201
    (entry,) = await asyncio.to_thread(recorded, settings, redis, "session_opened")
    assert entry.details["key"] == given.id
