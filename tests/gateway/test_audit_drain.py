import asyncio
import logging
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from redis import Redis

from support.api_keys import add_key, revoke
from support.audit_entries import lines_of, told
from support.fake_bundle import publish_fake_bundle, write_site
from support.gateway_app import PNG, as_form, running_gateway
from tbscreen_gateway import audit_drain, audit_health
from tbscreen_gateway.access.key_ring import KeyRing
from tbscreen_gateway.audit_drain import AuditDrain
from tbscreen_gateway.audit_files import AuditLogError
from tbscreen_gateway.audit_log import BATCH, AuditLog
from tbscreen_gateway.own_events import OwnEvents
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.access import Scope, edited_keys, issue_key
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.jobs import AuditStream
from tbscreen_shared.jobs.keys import AUDIT, AUDIT_SEQUENCE


@pytest.fixture
def stream(redis: Redis) -> AuditStream:
    return AuditStream(redis)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def make_drain(redis: Redis, directory: Path) -> AuditDrain:
    return AuditDrain(AuditStream(redis), AuditLog(directory))


def drain_all(drain: AuditDrain) -> int:
    total = 0
    while count := drain.drain():
        total += count
    return total


async def wait_until_told(directory: Path, event: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if directory.exists() and event in [line.event for line in lines_of(directory)]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"no {event} in {told(directory)}")


def test_entries_leave_the_stream_for_the_log(
    redis: Redis, stream: AuditStream, directory: Path
) -> None:
    for _ in range(BATCH + 10):
        stream.record("gateway_started")
    drain = make_drain(redis, directory)
    assert drain.drain() == BATCH
    assert (redis.xlen(AUDIT), len(told(directory))) == (10, BATCH)
    assert drain.drain() == 10
    assert drain.drain() == 0
    assert redis.xlen(AUDIT) == 0
    assert told(directory) == list(range(1, BATCH + 11))


def test_one_of_two_gateways_writes_and_the_other_takes_its_place(
    redis: Redis, stream: AuditStream, directory: Path
) -> None:
    first, second = make_drain(redis, directory), make_drain(redis, directory)
    for turn in range(3):
        stream.record("gateway_started")
        assert (first.drain(), second.drain()) == (1, 0), turn
    stream.record("gateway_started")
    first.close()
    assert second.drain() == 0, "the first one wrote it as it ended"
    stream.record("gateway_started")
    assert (second.drain(), first.drain()) == (1, 0)
    assert told(directory) == [1, 2, 3, 4, 5]
    second.close()


def test_gateways_with_folders_of_their_own_do_not_write_each_a_part(
    redis: Redis,
    stream: AuditStream,
    tmp_path: Path,
) -> None:
    first, second = make_drain(redis, tmp_path / "1"), make_drain(redis, tmp_path / "2")
    stream.record("gateway_started")
    assert first.drain() == 1
    assert second.drain() == 0
    assert second.problem is None and second._refused_since is not None
    second._refused_since -= 3 * audit_drain._LEASE_S + 1  # as that much later
    assert second.drain() == 0
    assert second.problem is not None and "written to another folder" in second.problem
    first.close()
    stream.record("gateway_started")
    assert second.drain() == 1
    assert second.problem is None
    assert told(tmp_path / "2") == ["log_differs", 2]


def test_a_log_that_can_not_be_written_keeps_the_entries_in_the_stream(
    redis: Redis, stream: AuditStream, tmp_path: Path
) -> None:
    (tmp_path / "audit").touch()
    stream.record("gateway_started")
    drain = make_drain(redis, tmp_path / "audit")
    with pytest.raises(AuditLogError):
        drain.drain()
    assert redis.xlen(AUDIT) == 1
    (tmp_path / "audit").unlink()
    assert drain.drain() == 1


def test_a_redis_restored_from_a_backup_is_told(
    redis: Redis, stream: AuditStream, directory: Path
) -> None:
    drain = make_drain(redis, directory)
    for _ in range(3):
        stream.record("gateway_started")
    backup = {key: redis.dump(key) for key in (AUDIT, AUDIT_SEQUENCE)}
    for _ in range(2):
        stream.record("gateway_started")
    drain_all(drain)
    redis.flushdb()
    for key, value in backup.items():
        redis.restore(key, 0, value)  # type: ignore[arg-type]
    stream.record("key_refused")
    drain_all(drain)
    assert told(directory) == [1, 2, 3, 4, 5, "sequence_set_back", 4]
    assert lines_of(directory)[-1].event == "key_refused"


def test_the_newest_hash_is_printed_to_be_kept_elsewhere(
    redis: Redis,
    stream: AuditStream,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(audit_drain, "_ANCHOR_ENTRIES", 10)
    drain = make_drain(redis, directory)
    with caplog.at_level(logging.INFO, "tbscreen_gateway.audit_drain"):
        for _ in range(25):
            stream.record("gateway_started")
            drain.drain()
        drain.close()
    printed = [record.__dict__ for record in caplog.records if record.message == "audit anchor"]
    assert [record["seq"] for record in printed] == [10, 20, 25]
    log = AuditLog(directory)
    assert log.try_lock()
    log.begin(None)
    assert printed[-1]["sha256"] == log.head.sha256


async def test_a_running_gateway_writes_down_its_start_its_model_and_its_jobs(
    client: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    await wait_until_told(settings.audit_dir, "model_activated")
    await client.post("/v1/jobs", files=as_form(PNG), headers={"X-Request-ID": "r-1"})
    await wait_until_told(settings.audit_dir, "accepted")
    started, activated, accepted = lines_of(settings.audit_dir)
    assert (started.event, started.details["version"]) == ("gateway_started", "0.1.0")
    assert (activated.event, activated.details["version"]) == ("model_activated", "2026.11.1")
    assert activated.details["threshold"] == "0.41"
    assert accepted.details["request"] == "r-1"
    async with asyncio.timeout(10):  # it is written down before it is taken from Redis
        while (health := (await client.get("/health")).json()["audit"])["waiting"]:
            await asyncio.sleep(0.05)
    assert (health["ok"], health["seq"]) == (True, 3)
    assert health["detail"] is None


async def test_a_gateway_that_ends_leaves_nothing_waiting(
    settings: GatewaySettings, redis: Redis
) -> None:
    async with running_gateway(settings) as client:
        await wait_until_told(settings.audit_dir, "model_activated")
        await client.post("/v1/jobs", files=as_form(PNG))
    assert lines_of(settings.audit_dir)[-1].event == "accepted"
    assert redis.xlen(AUDIT) == 0


async def test_health_says_why_entries_wait(settings: GatewaySettings) -> None:
    settings.audit_dir.touch()
    async with running_gateway(settings) as client:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            health = (await client.get("/health")).json()
            if health["audit"]["detail"] and health["audit"]["waiting"]:
                break
            await asyncio.sleep(0.05)
    assert health["status"] == "degraded"
    assert health["audit"]["detail"] in health["problems"]
    assert health["audit"]["detail"] == (
        "The audit log can not be written: File exists. "
        f"Entries that wait in Redis: {health['audit']['waiting']}."
    )


def test_health_of_every_gateway_says_that_none_writes(
    redis: Redis, stream: AuditStream, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = audit_health.AuditProbe(stream, make_drain(redis, directory))
    stream.record("gateway_started")
    assert idle.check().ok
    monkeypatch.setattr(audit_health, "_PATIENCE_S", 0.3)
    time.sleep(1.5)
    assert idle.check().detail == (
        "No gateway writes the audit log. Entries that wait in Redis: 1."
    )
    make_drain(redis, directory).drain()
    assert idle.check().ok


def test_a_switch_of_the_model_and_of_the_sites_threshold_is_told_once(
    redis: Redis, stream: AuditStream, tmp_path: Path
) -> None:
    models = ModelStore(tmp_path / "models")
    gateways = [OwnEvents(stream, models, "1.2", KeyRing(None)) for _ in range(2)]

    def look() -> None:
        for gateway in gateways:
            gateway.tell()

    look()
    publish_fake_bundle(tmp_path / "models", tmp_path / "staging", "1")
    look()
    look()
    write_site(tmp_path / "models", "1")
    look()
    publish_fake_bundle(tmp_path / "models", tmp_path / "staging", "2")
    look()
    drain_all(make_drain(redis, tmp_path / "audit"))
    lines = lines_of(tmp_path / "audit")
    assert [line.event for line in lines[:2]] == ["gateway_started"] * 2
    told_of = [(line.details["version"], line.details["operating_point"]) for line in lines[2:]]
    assert told_of == [("1", "balanced"), ("1", "site"), ("2", "balanced")]


def test_keys_that_are_made_rotated_revoked_or_taken_away_are_told_once(
    redis: Redis, stream: AuditStream, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"

    def look() -> None:
        for _ in range(2):
            gateway.tell()
        OwnEvents(stream, ModelStore(tmp_path / "models"), "1.2", KeyRing(file)).tell()

    gateway = OwnEvents(stream, ModelStore(tmp_path / "models"), "1.2", KeyRing(file))
    look()
    first, _ = add_key(file, Scope.READ, Scope.SUBMIT, name="Dr. Planted")
    look()
    second, _ = issue_key(first.name, first.scopes, now=first.created_at)
    with edited_keys(file) as keys:
        ends = first.created_at + timedelta(days=1)
        keys[:] = [first.model_copy(update={"expires_at": ends}), second]
    look()
    revoke(file, second)
    look()
    with edited_keys(file) as keys:
        del keys[0]
    look()
    OwnEvents(stream, ModelStore(tmp_path / "models"), "1.2", KeyRing(None)).tell()
    file.unlink()
    OwnEvents(stream, ModelStore(tmp_path / "models"), "1.2", KeyRing(file)).tell()
    drain_all(make_drain(redis, tmp_path / "audit"))
    lines = [line for line in lines_of(tmp_path / "audit") if line.event != "gateway_started"]
    assert [(line.event, line.details["key"]) for line in lines] == [
        ("key_added", first.id),
        ("key_changed", first.id),
        ("key_added", second.id),
        ("key_changed", second.id),
        ("key_removed", first.id),
        ("key_removed", second.id),
    ]
    assert [sorted(line.details) for line in lines] == [
        ["key", "scopes"],
        ["expires", "key", "scopes"],
        ["key", "scopes"],
        ["key", "revoked", "scopes"],
        ["key"],
        ["key"],
    ]
    assert lines[0].details["scopes"] == "read submit"
    assert b"Planted" not in (tmp_path / "audit" / "audit-000001.jsonl").read_bytes()
