"""Redis fails over, and the former master lives on as a replica: it is left for the new one."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ReadOnlyError

from support.ports import free_port
from support.redis_server import PASSWORDS, RedisServer, as_user
from support.waits import wait_until
from support.worker_site import WorkerSite
from tbscreen_shared.contracts import ImageFormat, JobStatus
from tbscreen_shared.jobs import JobStore, NewJob
from tbscreen_shared.queue import QUEUE_NAME, SCREEN_TASK, connect_redis, make_celery_app
from tbscreen_shared.redis_users import RedisUser
from tbscreen_shared.settings import SharedSettings


class Name:
    """An address that leads to one of several servers, as a service's name in a network."""

    def __init__(self, leads_to: int) -> None:
        self.leads_to = leads_to
        self.port = free_port()

    async def serve(self, ready: threading.Event, done: asyncio.Event) -> None:
        async with await asyncio.start_server(self._join, "127.0.0.1", self.port):
            ready.set()
            await done.wait()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self.leads_to)
        await asyncio.gather(_pass_on(reader, there[1]), _pass_on(there[0], writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def serving(name: Name) -> Iterator[None]:
    ready, done = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=[name.serve(ready, done)])
    thread.start()
    assert ready.wait(5)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    directories = [tmp_path / "old", tmp_path / "new"]
    for directory in directories:
        directory.mkdir()
    old, new = (RedisServer(directory) for directory in directories)
    for server in (old, new):
        server.start()
    yield old, new
    for server in (old, new):
        server.kill()


def test_jobs_and_tasks_go_to_the_new_master_though_the_old_one_answers(
    servers: tuple[RedisServer, RedisServer],
) -> None:
    old, new = servers
    name = Name(old.port)
    user = RedisUser.GATEWAY
    url = f"redis://{user}:{PASSWORDS[user]}@127.0.0.1:{name.port}/0"
    with (
        serving(name),
        connect_redis(url) as client,
        make_celery_app(SharedSettings(redis_url=url)) as app,
    ):
        jobs = JobStore(client, result_ttl_s=60, max_attempts=3)

        def submit(job_id: str) -> None:
            jobs.create(NewJob(job_id, "b" * 32, "a" * 64, ImageFormat.PNG))
            app.send_task(SCREEN_TASK, args=[job_id])

        submit("before")
        with Redis.from_url(old.url) as former, Redis.from_url(new.url) as master:
            former.replicaof("127.0.0.1", str(new.port))
            with pytest.raises(ReadOnlyError):
                former.set("a", "b")
            name.leads_to = new.port
            submit("after")
            client.set("tbscreen:plain", "b")
            assert master.exists("tbscreen:job:after", "tbscreen:plain") == 2
            assert master.llen(QUEUE_NAME) == 1


@pytest.fixture
def name(servers: tuple[RedisServer, RedisServer]) -> Iterator[Name]:
    name = Name(servers[0].port)
    with serving(name):
        yield name


@pytest.fixture
def site(tmp_path: Path, name: Name) -> Iterator[WorkerSite]:
    url = as_user(f"redis://127.0.0.1:{name.port}/0", RedisUser.ADMIN)
    site = WorkerSite(tmp_path, url, visibility_timeout_s=14, task_time_limit_s=4)
    site.publish()
    yield site
    site.close()


class Pair:
    """A master and its replica, which change their parts as a sentinel would have it."""

    def __init__(self, old: RedisServer, new: RedisServer) -> None:
        self._ports = old.port, new.port
        self.old, self.new = (Redis.from_url(server.url) for server in (old, new))
        for redis in (self.old, self.new):
            redis.config_set("masteruser", RedisUser.ADMIN)
            redis.config_set("masterauth", PASSWORDS[RedisUser.ADMIN])
        self.new.replicaof("127.0.0.1", str(old.port))
        wait_until(self._is_in_step, what="the first replication")

    def _is_in_step(self) -> bool:
        return int(self.old.wait(1, 1000)) == 1

    def fail_over(self, name: Name) -> None:
        # What is not copied by then is lost, which is said in docs/operating.md.
        wait_until(self._is_in_step, what="the replication")
        self.new.replicaof("NO", "ONE")
        name.leads_to = self._ports[1]
        self.old.replicaof("127.0.0.1", str(self._ports[1]))

    def someone_waits_for_a_task(self) -> bool:
        return any("b" in client["flags"] for client in self.old.client_list())

    def close(self) -> None:
        self.old.close()
        self.new.close()


@pytest.fixture
def pair(servers: tuple[RedisServer, RedisServer]) -> Iterator[Pair]:
    pair = Pair(*servers)
    yield pair
    pair.close()


def test_a_worker_that_waits_for_a_task_consumes_from_the_new_master(
    pair: Pair, name: Name, site: WorkerSite, radiograph: Path
) -> None:
    worker = site.start_ready_worker()
    before = site.submit(radiograph)
    assert site.wait_for_end(before).status is JobStatus.SUCCEEDED
    # A server that is demoted ends the wait with -UNBLOCKED, which is no broken connection.
    wait_until(pair.someone_waits_for_a_task, what="a worker blocked in BRPOP")
    pair.fail_over(name)
    after = site.submit(radiograph)
    assert pair.new.exists(f"tbscreen:job:{before}", f"tbscreen:job:{after}") == 2
    assert site.wait_for_end(after).status is JobStatus.SUCCEEDED
    assert site.job(after).attempts == 1
    wait_until(lambda: pair.new.hlen("unacked") == 0, what="the acknowledgement")
    assert worker.main.poll() is None, "it was this worker, without a new start"


def test_a_job_in_hand_while_the_master_changes_ends_at_the_new_one(
    pair: Pair, name: Name, site: WorkerSite, radiograph: Path
) -> None:
    worker = site.start_ready_worker()
    held = site.submit_held(radiograph)
    site.wait_for_start(held.id)
    pair.fail_over(name)
    held.put_upload_in_place()
    held.let_go_on()
    after = site.submit(radiograph)
    for job_id in (held.id, after):
        assert site.wait_for_end(job_id, timeout_s=45).status is JobStatus.SUCCEEDED
        assert pair.new.hget(f"tbscreen:job:{job_id}", "status") == b"succeeded"
    wait_until(lambda: pair.new.hlen("unacked") == 0, what="the acknowledgements")
    assert worker.main.poll() is None, "it was this worker, without a new start"
