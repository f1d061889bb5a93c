import time
from typing import Any, cast

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tbscreen_shared.audit import Head
from tbscreen_shared.jobs import AuditStream, Requester
from tbscreen_shared.jobs.keys import AUDIT, AUDIT_SEQUENCE, AUDIT_WRITER

HEAD = Head(2, "f" * 64)


@pytest.fixture
def stream(redis: Redis) -> AuditStream:
    return AuditStream(redis)


def take(stream: AuditStream, writer: str = "a", *, count: int = 10) -> Any:
    return stream.take(writer, lease_s=3, count=count)


def test_entries_are_read_in_order_and_stay_until_they_are_written(stream: AuditStream) -> None:
    stream.record("gateway_started", version="1.2")
    stream.record("key_refused", Requester("k1", "r1"), code="unauthorized")
    for _ in range(2):
        taken = take(stream)
        first, second = (one.entry for one in taken.entries)
        assert (first.seq, first.event, first.job) == (1, "gateway_started", None)
        assert first.details == {"version": "1.2"}
        assert second.details == {"key": "k1", "request": "r1", "code": "unauthorized"}
    assert [one.entry.seq for one in take(stream, count=1).entries] == [1]
    stream.written(HEAD, [one.id for one in taken.entries])
    taken = take(stream)
    assert (taken.head, list(taken.entries)) == (HEAD, [])


def test_bytes_that_are_no_text_are_no_entry_and_hold_up_nothing(
    stream: AuditStream, redis: Redis
) -> None:
    # As a worker that was taken over may write them.
    redis.xadd(AUDIT, {b"event": b"\xff", b"\xfe": b"1"})
    stream.record("gateway_started")
    unreadable, sound = (one.entry for one in take(stream).entries)
    assert unreadable is None
    assert sound.event == "gateway_started"


def test_one_writer_has_the_stream_until_it_gives_it_back_or_its_lease_lapses(
    stream: AuditStream,
) -> None:
    assert take(stream, "a").is_new
    assert not take(stream, "a").is_new
    assert take(stream, "b").holder == "a"
    stream.release("b")
    assert take(stream, "b").holder == "a"
    stream.release("a")
    assert take(stream, "b").holder == ""
    assert take(stream, "a").holder == "b"
    time.sleep(3.2)
    assert take(stream, "a").is_new


def test_a_full_redis_can_be_drained(stream: AuditStream, redis: Redis) -> None:
    stream.record("gateway_started")
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResponseError, match="OOM"):
            stream.record("gateway_started")
        taken = take(stream)
        stream.written(HEAD, [one.id for one in taken.entries])
    finally:
        redis.config_set("maxmemory", 0)
    assert redis.xlen(AUDIT) == 0
    assert redis.get(AUDIT_SEQUENCE) == "1", "a refused record leaves no gap"


def test_a_value_that_is_too_long_for_the_log_is_cut_and_not_unreadable(
    stream: AuditStream,
) -> None:
    stream.record("key_refused", Requester("k1", "ä" * 300), client="\u00ff" * 300, count=3)
    (one,) = take(stream).entries
    assert one.entry is not None
    assert one.entry.details == {
        "key": "k1",
        "request": "ä" * 256,
        "client": "\u00ff" * 256,
        "count": 3,
    }


def test_a_model_is_recorded_when_it_is_another_than_before(stream: AuditStream) -> None:
    def record(version: str, threshold: float) -> bool:
        return stream.record_model(version, "c" * 64, operating_point="triage", threshold=threshold)

    assert [record("1", 0.25), record("1", 0.25), record("2", 0.25), record("1", 0.25)] == [
        *(True, False, True),
        True,
    ]
    assert record("1", 0.5), "a threshold decides as well"
    entries = [one.entry for one in take(stream).entries]
    assert {entry.event for entry in entries} == {"model_activated"}
    assert entries[0].details == {
        "version": "1",
        "model": "c" * 64,
        "operating_point": "triage",
        "threshold": "0.25",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"nothing": "of ours"},
        {"seq": "x", "at": "1", "event": "accepted"},
        {"seq": "1", "at": "9" * 30, "event": "accepted"},
        {"seq": "1", "at": "1", "event": "accepted", "prev": "0" * 64},
        {"seq": "1", "at": "1", "event": "Ünknown"},
    ],
    ids=["foreign", "seq", "at", "prev", "event"],
)
def test_what_no_script_of_ours_added_is_told_as_such(
    stream: AuditStream, redis: Redis, fields: dict[Any, Any]
) -> None:
    redis.xadd(AUDIT, fields)
    (one,) = take(stream).entries
    assert one.entry is None
    stream.written(HEAD, [one.id])
    assert not take(stream).entries


def test_what_waits_is_counted_with_its_age(stream: AuditStream, redis: Redis) -> None:
    assert (stream.state().waiting, stream.state().oldest_s, stream.state().head) == (0, 0, None)
    seconds, _ = cast("tuple[int, int]", redis.time())
    redis.xadd(AUDIT, {"seq": "1"}, id=f"{(seconds - 90) * 1000}-0")
    redis.xadd(AUDIT, {"seq": "2"})
    state = stream.state()
    assert state.waiting == 2
    assert 89 <= state.oldest_s <= 92
    assert redis.exists(AUDIT_WRITER) == 0
    stream.written(HEAD, [])
    assert stream.state().head == HEAD
