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
from support.redis_server import PASSWORDS, RedisServer
from tbscreen_shared.contracts import ImageFormat
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
