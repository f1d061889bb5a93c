import json
from datetime import UTC, datetime

from redis import Redis

from tbscreen_shared.contracts import ModelRef, WorkerBeat
from tbscreen_shared.workers import BEAT_TTL_S, WorkerRegistry


def beat(name: str) -> WorkerBeat:
    return WorkerBeat(
        name=name,
        model=ModelRef(version="1", sha256="c" * 64),
        jobs_done=3,
        rss_bytes=1,
        at=datetime.now(UTC),
    )


def test_the_living_are_listed_by_name(redis: Redis) -> None:
    registry = WorkerRegistry(redis)
    assert registry.alive() == []
    first, second = beat("b"), beat("a")
    registry.beat(first)
    registry.beat(second)
    assert registry.alive() == [second, first]


def test_one_that_leaves_is_gone_at_once(redis: Redis) -> None:
    registry = WorkerRegistry(redis)
    registry.beat(beat("a"))
    registry.leave("a")
    assert registry.alive() == []
    assert redis.keys("tbscreen:worker*") == []


def test_one_whose_beats_expired_is_dead_and_forgotten(redis: Redis) -> None:
    registry = WorkerRegistry(redis)
    registry.beat(beat("a"))
    assert 0 < int(str(redis.ttl("tbscreen:worker:a"))) <= BEAT_TTL_S
    redis.delete("tbscreen:worker:a")
    assert registry.alive() == []
    assert redis.keys("tbscreen:worker*") == []


def test_another_releases_beats_are_read_where_they_can_be_and_skipped_where_not(
    redis: Redis,
) -> None:
    registry = WorkerRegistry(redis)
    for name in ("newer", "unreadable"):
        registry.beat(beat(name))
    newer = json.loads(beat("newer").model_dump_json())
    newer["model"]["colour"] = newer["colour"] = "red"
    redis.set("tbscreen:worker:newer", json.dumps(newer))
    redis.set("tbscreen:worker:unreadable", '{"name": "unreadable"}')
    assert [alive.name for alive in registry.alive()] == ["newer"]
