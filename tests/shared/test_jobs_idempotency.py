import pytest
from redis import Redis

from tbscreen_shared.jobs import IdempotencyKeys
from tbscreen_shared.jobs.keys import idempotency_key


@pytest.fixture
def keys(redis: Redis) -> IdempotencyKeys:
    return IdempotencyKeys(redis, ttl_s=60)


def test_an_idempotency_digest_belongs_to_its_first_job(keys: IdempotencyKeys) -> None:
    assert keys.remember("d", "1", "sha") is None
    assert keys.remember("d", "2", "other") == ("1", "sha", False)
    keys.confirm("d", "1", "sha")
    assert keys.remember("d", "2", "other") == ("1", "sha", True)
    keys.forget("d", "2")
    assert keys.remember("d", "2", "other") == ("1", "sha", True)
    keys.forget("d", "1")
    assert keys.remember("d", "2", "other") is None


def test_an_unconfirmed_idempotency_digest_frees_itself_within_ten_seconds(
    keys: IdempotencyKeys, redis: Redis
) -> None:
    keys.remember("d", "1", "sha")
    assert 5 < int(redis.ttl(idempotency_key("d"))) <= 10
    keys.confirm("d", "1", "sha")
    assert int(redis.ttl(idempotency_key("d"))) > 0
