import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from fastapi import Request
from redis.exceptions import RedisError

from support.redis_server import RedisServer, running_redis_server
from tbscreen_gateway import waiting as waiting_module
from tbscreen_gateway.waiting import FinishedJobs, JobWaiter
from tbscreen_shared.contracts import ImageFormat, Job, JobError, JobStatus
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import JobStore, NewJob
from tbscreen_shared.queue import connect_redis

ERROR = JobError(code=ErrorCode.UNREADABLE_IMAGE, message="damaged")


class Client:
    """The other end of a request whose body has been read."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.request = Request({"type": "http", "headers": []}, self._receive)

    async def _receive(self) -> dict[str, object]:
        await self.left.wait()
        return {"type": "http.disconnect"}


@pytest_asyncio.fixture
async def listening(redis_url: str) -> AsyncIterator[FinishedJobs]:
    finished = FinishedJobs(redis_url)
    async with finished.listening():
        yield finished


@pytest.fixture
def only_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks again by itself."""
    monkeypatch.setattr(waiting_module, "_RECHECK_S", 60.0)


@pytest.fixture
def waiter(jobs: JobStore, listening: FinishedJobs, only_woken: None) -> JobWaiter:
    return JobWaiter(jobs, listening)


def create(jobs: JobStore, job_id: str = "1") -> None:
    jobs.create(NewJob(job_id, "b" * 32, "a" * 64, ImageFormat.PNG))


def start_waiting(
    waiter: JobWaiter, wait_s: float, client: Client | None = None
) -> "asyncio.Task[Job | None]":
    request = (client or Client()).request
    return asyncio.create_task(waiter.get("1", wait_s=wait_s, request=request))


async def test_the_finish_ends_a_wait(waiter: JobWaiter, jobs: JobStore) -> None:
    create(jobs)
    waiting = start_waiting(waiter, 20)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(jobs.fail, "1", ERROR)
    async with asyncio.timeout(10):
        job = await waiting
    assert job is not None and job.status is JobStatus.FAILED


async def test_all_who_wait_for_a_job_are_woken(waiter: JobWaiter, jobs: JobStore) -> None:
    create(jobs)
    waits = [start_waiting(waiter, 20) for _ in range(30)]
    await asyncio.sleep(0.3)
    await asyncio.to_thread(jobs.fail, "1", ERROR)
    async with asyncio.timeout(10):
        finished = await asyncio.gather(*waits)
    assert {job.status for job in finished if job} == {JobStatus.FAILED}


async def test_a_job_that_finished_before_anyone_listened_is_seen_at_once(
    waiter: JobWaiter, jobs: JobStore
) -> None:
    create(jobs)
    jobs.fail("1", ERROR)
    async with asyncio.timeout(10):
        job = await start_waiting(waiter, 20)
    assert job is not None and job.status.is_final


async def test_a_wait_ends_with_its_time_and_the_unfinished_job(
    waiter: JobWaiter, jobs: JobStore
) -> None:
    create(jobs)
    started = time.perf_counter()
    job = await start_waiting(waiter, 0.4)
    assert 0.35 < time.perf_counter() - started < 10
    assert job is not None and job.status is JobStatus.QUEUED


async def test_nobody_waits_for_an_unknown_job(waiter: JobWaiter) -> None:
    async with asyncio.timeout(10):
        assert await start_waiting(waiter, 20) is None


async def test_a_wait_ends_when_its_client_leaves(waiter: JobWaiter, jobs: JobStore) -> None:
    create(jobs)
    client = Client()
    waiting = start_waiting(waiter, 20, client)
    await asyncio.sleep(0.2)
    client.left.set()
    async with asyncio.timeout(10):
        await waiting


async def test_every_wait_ends_when_the_server_is_about_to_stop(
    waiter: JobWaiter, jobs: JobStore, listening: FinishedJobs
) -> None:
    create(jobs)
    waiting = start_waiting(waiter, 20)
    await asyncio.sleep(0.2)
    listening.release()
    async with asyncio.timeout(10):
        job = await waiting
        assert job is not None and job.status is JobStatus.QUEUED
        await start_waiting(waiter, 20)


async def test_nothing_is_kept_of_waits_that_are_over(
    waiter: JobWaiter, jobs: JobStore, listening: FinishedJobs
) -> None:
    create(jobs)
    await asyncio.gather(*(start_waiting(waiter, 0.1) for _ in range(5)))
    assert listening._waiting == {}


async def test_a_finish_that_was_not_announced_is_found_by_looking_again(
    jobs: JobStore, redis_url: str
) -> None:
    deaf = FinishedJobs(redis_url)
    create(jobs)
    waiting = start_waiting(JobWaiter(jobs, deaf), 20)
    await asyncio.sleep(0.2)
    await asyncio.to_thread(jobs.fail, "1", ERROR)
    async with asyncio.timeout(5):
        job = await waiting
    assert job is not None and job.status is JobStatus.FAILED


async def test_a_finish_missed_while_nobody_listened_is_made_up_for_on_subscribing(
    jobs: JobStore, redis_url: str, only_woken: None
) -> None:
    finished = FinishedJobs(redis_url)
    create(jobs)
    waiting = start_waiting(JobWaiter(jobs, finished), 20)
    await asyncio.sleep(0.2)
    await asyncio.to_thread(jobs.fail, "1", ERROR)
    async with finished.listening(), asyncio.timeout(10):
        job = await waiting
    assert job is not None and job.status is JobStatus.FAILED


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis_server(tmp_path) as running:
        yield running


async def test_a_wait_outlives_a_restart_of_redis(server: RedisServer, only_woken: None) -> None:
    finished = FinishedJobs(server.url)
    with connect_redis(server.url) as redis:
        jobs = JobStore(redis, result_ttl_s=600, max_attempts=3)
        async with finished.listening():
            create(jobs)
            waiting = start_waiting(JobWaiter(jobs, finished), 25)
            await asyncio.sleep(1.2)  # the AOF is flushed every second
            server.kill()
            await asyncio.sleep(0.5)
            assert not waiting.done()
            await asyncio.to_thread(server.start)
            await asyncio.sleep(1.5)
            await asyncio.to_thread(jobs.fail, "1", ERROR)
            async with asyncio.timeout(10):
                job = await waiting
    assert job is not None and job.status is JobStatus.FAILED


async def test_a_wait_on_a_redis_that_stays_away_ends_in_its_error(server: RedisServer) -> None:
    finished = FinishedJobs(server.url)
    with connect_redis(server.url) as redis:
        jobs = JobStore(redis, result_ttl_s=600, max_attempts=3)
        async with finished.listening():
            create(jobs)
            waiting = start_waiting(JobWaiter(jobs, finished), 2)
            await asyncio.sleep(0.3)
            server.kill()
            with pytest.raises(RedisError):
                await waiting


async def test_a_connection_that_dies_in_silence_is_given_up_and_made_anew(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting_module, "_REDIS_TIMEOUT_S", 1.5)
    async with FinishedJobs(server.url).listening():
        await asyncio.sleep(4)
        assert "lost the subscription" not in caplog.text
        with server.paused():
            async with asyncio.timeout(20):
                while "lost the subscription" not in caplog.text:
                    await asyncio.sleep(0.05)


async def test_the_listener_stops_at_whatever_moment_it_is_told(redis_url: str) -> None:
    for steps in range(40):
        async with asyncio.timeout(5), FinishedJobs(redis_url).listening():
            for _ in range(steps):
                await asyncio.sleep(0)
