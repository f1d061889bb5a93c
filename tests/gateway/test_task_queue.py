import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from redis import Redis

from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.task_queue import CeleryTaskQueue, TaskNotSentError
from tbscreen_shared.queue import QUEUE_NAME
from tbscreen_shared.redis_connections import Silence


@pytest.fixture
def silence() -> Silence:
    return Silence(look_every_s=60)


@pytest.fixture
def tasks(settings: GatewaySettings, silence: Silence) -> Iterator[CeleryTaskQueue]:
    queue = CeleryTaskQueue(settings, silence)
    yield queue
    queue.close()


def test_nothing_is_sent_into_the_silence(
    tasks: CeleryTaskQueue, silence: Silence, redis: Redis
) -> None:
    tasks.send("1")
    silence.begin("somebody", time.monotonic())
    with pytest.raises(TaskNotSentError):
        tasks.send("2")
    silence.end()
    tasks.send("3")
    assert redis.llen(QUEUE_NAME) == 2


def test_who_finds_all_places_taken_does_not_wait_for_those_who_wait(
    tasks: CeleryTaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = Event()
    monkeypatch.setattr(tasks._celery, "send_task", lambda *_, **__: released.wait(30))

    def send(number: int) -> bool:
        try:
            tasks.send(f"{number}")
        except TaskNotSentError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        sending = [pool.submit(send, number) for number in range(12)]
        begun = time.monotonic()
        while sum(one.done() for one in sending) < 2:
            assert time.monotonic() - begun < 10
            time.sleep(0.05)
        released.set()
        sent = [one.result() for one in sending]
    assert sent.count(False) == 2
    tasks.send("later")
