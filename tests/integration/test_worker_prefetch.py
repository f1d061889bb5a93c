"""What a worker has in hand stays what it may have, however often Redis and its children die."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry

from support.phantom import draw_phantom
from support.redis_server import RedisServer, running_redis_server
from support.waits import wait_until
from support.worker_site import WorkerProcesses, WorkerSite
from tbscreen_shared.contracts import JobStatus

CONCURRENCY = 2
ROUNDS = 3
BACKLOG = 60


class Reading(NamedTuple):
    in_hand: int
    taken_since_the_start: int
    waiting: int


class Gauge:
    """Reads every 20 ms how many deliveries are unacknowledged, while Redis answers."""

    def __init__(self, url: str) -> None:
        self.readings: list[Reading] = []
        self.redis_started_at = 0.0
        # A reading that was repeated would count from a start that is over, as would a late one.
        self._redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        self._done = threading.Event()

    @contextmanager
    def reading(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()
            self._redis.close()

    def _run(self) -> None:
        while not self._done.wait(0.02):
            since = self.redis_started_at
            with self._redis.pipeline() as pipeline:
                pipeline.hlen("unacked").zcount("unacked_index", since, "+inf").llen("tbscreen")
                try:
                    reading = Reading(*pipeline.execute())
                except ConnectionError:
                    continue
            if since == self.redis_started_at:
                self.readings.append(reading)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis_server(tmp_path) as redis:
        yield redis


@pytest.fixture
def site(tmp_path: Path, redis: RedisServer) -> Iterator[WorkerSite]:
    site = WorkerSite(tmp_path, redis.url, visibility_timeout_s=14, task_time_limit_s=4)
    site.publish()
    yield site
    site.close()


@pytest.fixture
def large_radiograph(tmp_path: Path) -> Path:
    path = tmp_path / "large.png"
    draw_phantom(1, size=(2200, 2200)).save(path)
    return path


def kill_in_turns(worker: WorkerProcesses, redis: RedisServer, gauge: Gauge) -> None:
    for _ in range(ROUNDS):
        time.sleep(1)
        os.kill(wait_until(worker.children, what="a child")[0], signal.SIGKILL)
        time.sleep(1)
        redis.kill()
        time.sleep(0.3)
        gauge.redis_started_at = time.time()
        redis.start()


def has_ended(site: WorkerSite, job_id: str) -> bool:
    if site.redis.llen("tbscreen") == site.redis.hlen("unacked") == 0:
        # Popped as Redis died, and noted nowhere: a gateway would send it again.
        job = site.job(job_id)
        if not job.status.is_final:
            site.send_task(job_id)
            time.sleep(0.5)
    return site.job(job_id).status.is_final


def test_deliveries_in_hand_do_not_drift_from_the_number_of_processes(
    site: WorkerSite, redis: RedisServer, large_radiograph: Path
) -> None:
    worker = site.start_worker("-m", "tbscreen_worker", "--concurrency", str(CONCURRENCY))
    site.wait_for_beat(worker, lambda beat: beat.model is not None)
    backlog = [site.submit(large_radiograph) for _ in range(BACKLOG)]
    gauge = Gauge(redis.url)
    with gauge.reading():
        kill_in_turns(worker, redis, gauge)
        for job_id in backlog:
            wait_until(lambda job_id=job_id: has_ended(site, job_id), timeout_s=120, what=job_id)
            assert site.job(job_id).status is JobStatus.SUCCEEDED
    while_tasks_waited = [reading for reading in gauge.readings if reading.waiting > CONCURRENCY]
    assert len(while_tasks_waited) > 50
    assert max(reading.taken_since_the_start for reading in gauge.readings) == CONCURRENCY
    # An acknowledgement that dies with Redis is held there until the visibility timeout.
    assert max(reading.in_hand for reading in gauge.readings) <= CONCURRENCY * (1 + ROUNDS)

    wait_until(lambda: site.redis.hlen("unacked") == 0, what="the last acknowledgement")
    held = [site.submit_held(large_radiograph) for _ in range(2 * CONCURRENCY)]
    for job in held[:CONCURRENCY]:
        site.wait_for_start(job.id)
    time.sleep(1)
    assert site.redis.hlen("unacked") == CONCURRENCY
    assert site.redis.llen("tbscreen") == len(held) - CONCURRENCY
    for job in held:
        job.put_upload_in_place()
    for job in held:
        job.let_go_on()
        assert site.wait_for_end(job.id).status is JobStatus.SUCCEEDED
    assert worker.main.poll() is None, "it was this worker, without a new start"
