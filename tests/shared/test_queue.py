import json
from pathlib import Path

import pytest
from kombu.exceptions import ContentDisallowed
from pydantic import ValidationError
from redis import Redis
from redis.exceptions import ConnectionError

from tbscreen_shared.queue import QUEUE_NAME, SCREEN_TASK, connect_redis, make_celery_app
from tbscreen_shared.settings import SharedSettings


def test_a_task_waits_in_the_queue_as_json_with_the_id_alone(redis_url: str, redis: Redis) -> None:
    settings = SharedSettings(redis_url=redis_url)
    with make_celery_app(settings) as app:
        app.send_task(SCREEN_TASK, args=["job-1"])
    raw = redis.lindex(QUEUE_NAME, 0)
    message = json.loads(str(raw))
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == SCREEN_TASK
    assert len(str(raw)) < 2_000


def test_what_is_not_json_is_not_unpacked(redis_url: str, redis: Redis) -> None:
    with make_celery_app(SharedSettings(redis_url=redis_url)) as app:
        app.send_task(SCREEN_TASK, args=["job-1"], serializer="pickle")
        with app.connection_for_read() as connection:
            # What a worker consumes with.
            consumer = app.amqp.TaskConsumer(connection.default_channel)
            message = consumer.queues[0].get(accept=consumer.accept)
            assert message.content_type == "application/x-python-serialize"
            with pytest.raises(ContentDisallowed):
                message.decode()


def test_a_missing_redis_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(ValidationError, match="REDIS_URL"):
        SharedSettings()


def test_settings_come_from_the_environment_and_hide_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@redis:6379/0")
    monkeypatch.setenv("TBSCREEN_BLOBS_DIR", "/blobs")
    monkeypatch.setenv("TBSCREEN_MAX_ATTEMPTS", "5")
    settings = SharedSettings()
    assert (settings.blobs_dir, settings.max_attempts) == (Path("/blobs"), 5)
    assert "hunter2" not in repr(settings)


def test_a_broker_that_is_down_fails_within_seconds() -> None:
    with connect_redis("redis://127.0.0.1:1/0") as client, pytest.raises(ConnectionError):
        client.ping()


def test_a_job_may_not_outlive_its_redelivery() -> None:
    SharedSettings(redis_url="redis://host", task_time_limit_s=20, visibility_timeout_s=30)
    with pytest.raises(ValidationError, match="TBSCREEN_VISIBILITY_TIMEOUT_S"):
        SharedSettings(redis_url="redis://host", task_time_limit_s=21, visibility_timeout_s=30)
