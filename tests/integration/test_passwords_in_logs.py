"""Whatever goes wrong with Redis, no log line holds a password of it, not even of level DEBUG."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.gateway_process import gateway_process
from support.radiographs import radiograph_files
from support.redis_server import PASSWORDS, RedisServer
from support.serving import running_serve
from support.waits import wait_until
from support.worker_site import WorkerSite
from tbscreen import Client
from tbscreen_shared.redis_users import RedisUser, acl_file


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


def test_gateway_and_worker_keep_it_to_themselves(server: RedisServer, tmp_path: Path) -> None:
    radiograph = radiograph_files(tmp_path)[0]
    site = WorkerSite(tmp_path, server.url, log_level="DEBUG")
    try:
        site.publish()
        worker = site.start_ready_worker()
        with gateway_process(server.url, tmp_path, log_level="DEBUG") as gateway:

            def submit() -> int:
                with radiograph.open("rb") as stream:
                    url = f"{gateway.url}/v1/jobs"
                    return httpx.post(url, files={"file": stream}, timeout=30).status_code

            assert submit() == 202
            server.kill()
            assert submit() == 503
            wait_until(lambda: "ConnectionError" in worker.text(), what="the loss")
            # It is back, and does not know them any more.
            (tmp_path / "users.acl").write_text(
                acl_file({**PASSWORDS, RedisUser.GATEWAY: "other", RedisUser.WORKER: "another"})
            )
            server.start()
            assert submit() == 503
            for log in (gateway.log.read_text, worker.text):
                wait_until(lambda log=log: "AuthenticationError" in log(), what="the refusal")
            shown = gateway.log.read_text() + worker.text()
    finally:
        site.close()
    assert len(shown.splitlines()) > 20
    for user in (RedisUser.GATEWAY, RedisUser.WORKER):
        assert PASSWORDS[user] not in shown


def test_serve_keeps_them_to_itself(tmp_path: Path) -> None:
    environment = {"TBSCREEN_LOG_LEVEL": "DEBUG"}
    with running_serve(tmp_path, environment=environment) as serving, Client(serving.url) as client:
        client.predict(radiograph_files(tmp_path)[0])
        os.kill(serving.leader("redis"), signal.SIGKILL)
        wait_until(lambda: "ConnectionError" in serving.log.read_text(), what="the loss")
        client.predict(radiograph_files(tmp_path)[1])
        secrets = serving.data_dir / "redis" / "secrets"
        names = ("redis/admin", "redis/probe", "gateway/redis-url", "worker/redis-url")
        texts = [(secrets / name).read_text().strip() for name in names]
        commands = " ".join(serving.pids().values())
    passwords = {text.rpartition("@")[0].rpartition(":")[2] or text for text in texts}
    assert len(passwords) == len(RedisUser)
    shown = serving.log.read_text() + commands
    assert not [password for password in passwords if password in shown]
