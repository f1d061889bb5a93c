"""The sender's ledger says what was promised, also when answers are lost."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.gateway_process import gateway_process
from support.http_gateway import Fault, GatewayState, running_gateway
from support.ledger import Entry, Ledger, Refusal, percentile
from support.load import Load, changed_since, measure_capacity, running_load
from support.redis_server import running_redis
from support.waits import wait_until
from tbscreen_shared.jobs import JobStore
from tbscreen_shared.queue import connect_redis

PNG = b"\x89PNG\r\n\x1a\n" + bytes(2000)


@pytest.fixture
def gateway() -> Iterator[GatewayState]:
    with running_gateway() as state:
        yield state


@pytest.fixture
def radiographs(tmp_path: Path) -> list[Path]:
    path = tmp_path / "radiograph"
    path.write_bytes(PNG)
    return [path]


def loaded(gateway_url: str, radiographs: list[Path], *, offers: int = 1, **options: Any) -> Load:
    load = Load(gateway_url, radiographs, **({"rate_per_s": 20.0} | options))
    with running_load(load):
        wait_until(lambda: len(load.ledger.entries) >= offers, what="the offers")
    load.settle()
    return load


def test_radiographs_are_offered_at_the_rate_and_followed_to_their_end(
    gateway: GatewayState, radiographs: list[Path]
) -> None:
    begun = time.monotonic()
    ledger = loaded(gateway.url, radiographs, offers=31).ledger
    assert 1.5 <= time.monotonic() - begun < 15
    assert ledger.entries[30].offered_s - begun < 5
    assert len(ledger.ended("succeeded")) == len(ledger.accepted()) == len(ledger.entries)
    assert not ledger.lost()
    assert {job["status"] for job in gateway.jobs.values()} == {"succeeded"}
    assert gateway.uploads[0] == PNG


def test_an_upload_whose_answer_was_lost_is_the_same_promise(
    gateway: GatewayState, radiographs: list[Path]
) -> None:
    gateway.faults.extend([Fault(drop="before"), Fault(drop="after")])
    ledger = loaded(gateway.url, radiographs, rate_per_s=0.05).ledger
    [entry] = ledger.accepted()
    assert entry.broken_posts == 2
    assert list(gateway.jobs) == [entry.job_id]


def test_after_a_lost_answer_a_busy_gateway_is_asked_again(
    gateway: GatewayState, radiographs: list[Path]
) -> None:
    gateway.faults.extend([Fault(drop="after"), Fault(503, {"Retry-After": "1"})])
    ledger = loaded(gateway.url, radiographs, rate_per_s=0.05).ledger
    assert [entry.job_id for entry in ledger.accepted()] == list(gateway.jobs)


PROBLEM = {"Content-Type": "application/problem+json"}
BACK_IN_7_S = {"Retry-After": "7"}
FULL = b'{"code": "queue_full"}'


@pytest.mark.parametrize(
    ("fault", "polite"),
    [
        (Fault(503, PROBLEM | BACK_IN_7_S, FULL), True),
        (Fault(503, PROBLEM, FULL), False),
        (Fault(503, BACK_IN_7_S, b"<h1>Bad gateway</h1>"), False),
        (Fault(500, PROBLEM | BACK_IN_7_S, FULL), False),
    ],
)
def test_a_refusal_is_polite_with_a_code_and_a_time_to_come_back(
    gateway: GatewayState, radiographs: list[Path], fault: Fault, polite: bool
) -> None:
    gateway.faults.append(fault)
    ledger = loaded(gateway.url, radiographs, rate_per_s=0.05).ledger
    assert len(ledger.refused()) == 1
    assert not ledger.accepted()
    assert bool(ledger.impolite()) is not polite


def test_a_job_that_is_gone_or_never_ends_is_lost(
    gateway: GatewayState, tmp_path: Path, radiographs: list[Path]
) -> None:
    slow = tmp_path / "slow"
    slow.write_bytes(b"slow" + PNG)
    load = Load(gateway.url, [*radiographs, slow], rate_per_s=20.0, patience_s=3.0)
    gateway.holds_long_polls = False

    def slow_waits() -> bool:
        with gateway.changed:
            return any(job["status"] == "queued" for job in gateway.jobs.values())

    with running_load(load):
        wait_until(slow_waits, what="the slow one")
        with gateway.changed:
            gateway.jobs.clear()
    load.settle()
    ledger = load.ledger
    assert any(entry.missing for entry in ledger.lost())
    ledger = loaded(gateway.url, [slow], rate_per_s=0.05, patience_s=3.0).ledger
    [entry] = ledger.lost()
    assert not entry.missing


def test_a_final_state_that_changes_is_found(
    gateway: GatewayState, radiographs: list[Path]
) -> None:
    ledger = loaded(gateway.url, radiographs, offers=2, rate_per_s=10.0).ledger
    assert changed_since(gateway.url, ledger) == []
    tampered = ledger.entries[1]
    gateway.jobs[tampered.job_id]["result"]["probability"] = 0.5
    assert changed_since(gateway.url, ledger) == [tampered]


def test_capacity_is_what_the_senders_get_done(
    gateway: GatewayState, radiographs: list[Path]
) -> None:
    begun = time.monotonic()
    per_second = measure_capacity(gateway.url, radiographs, seconds=4, senders=2)
    took_s = time.monotonic() - begun
    assert per_second == pytest.approx(len(gateway.jobs) / took_s, rel=0.5)


def test_recovery_is_told_from_the_entries() -> None:
    before = Entry(0, 0.0, accepted_s=0.1, ended_s=0.2, status="succeeded")
    held_up = Entry(1, 9.0, accepted_s=9.1, ended_s=31.0, status="succeeded")
    refused = Entry(2, 11.0, refusal=Refusal(12.0, 503, "broker_unavailable", 2))
    prompt = Entry(3, 14.0, accepted_s=14.1, ended_s=14.3, status="succeeded")
    ledger = Ledger([before, held_up, refused, prompt])
    assert ledger.first_answer_after(10.0) == 14.3
    assert ledger.last_disturbance(10.0, slow_s=2.0, now_s=40.0) == 31.0
    assert ledger.last_disturbance(32.0, slow_s=2.0, now_s=40.0) is None
    waiting = Entry(4, 35.0, accepted_s=35.1)
    assert Ledger([waiting]).last_disturbance(10.0, slow_s=2.0, now_s=36.0) is None
    assert Ledger([waiting]).last_disturbance(10.0, slow_s=2.0, now_s=40.0) == 40.0


def test_percentiles() -> None:
    assert percentile([5.0, 1.0, 4.0, 2.0, 3.0], 0.5) == 3.0
    assert percentile(range(1, 101), 0.95) == 95
    assert percentile([], 0.95) != percentile([], 0.95)  # NaN


def test_what_a_killed_gateway_promised_is_known_exactly(
    tmp_path: Path, radiographs: list[Path]
) -> None:
    with (
        running_redis(tmp_path) as url,
        connect_redis(url) as redis,
        gateway_process(url, tmp_path) as gateway,
    ):
        load = Load(gateway.url, radiographs, rate_per_s=40, patience_s=1)
        with running_load(load):
            time.sleep(1)
            gateway.stop()
            gateway.start()
            time.sleep(2)
        load.settle()
        store = JobStore(redis, result_ttl_s=60, max_attempts=3)
        promised = load.ledger.accepted()
        assert len(promised) == len({entry.job_id for entry in promised}) > 60
        assert sum(entry.broken_posts for entry in promised) > 0
        assert all(store.get(entry.job_id) for entry in promised)
        # Nobody works here: each of them is still waited for.
        assert len(load.ledger.lost()) == len(promised)
