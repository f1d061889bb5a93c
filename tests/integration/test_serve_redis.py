"""The embedded Redis, run for real."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from tbscreen.serve import ServeError, redis
from tbscreen.serve.redis import EmbeddedRedis, find_redis_server, plan_redis


@contextmanager
def running(embedded: EmbeddedRedis) -> Iterator[subprocess.Popen[bytes]]:
    spec = embedded.spec(os.environ)
    process = subprocess.Popen(
        spec.command, cwd=spec.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 15
        while not asyncio.run(embedded.answers()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def password_of(embedded: EmbeddedRedis, user: str) -> str:
    return (embedded.directory / "secrets" / "redis" / user).read_text().strip()


@contextmanager
def admin_of(embedded: EmbeddedRedis) -> Iterator[Redis]:
    with Redis(
        port=embedded.port,
        username="admin",
        password=password_of(embedded, "admin"),
        decode_responses=True,
    ) as client:
        yield client


def test_does_not_answer_before_it_runs(tmp_path: Path) -> None:
    assert asyncio.run(plan_redis(tmp_path).answers()) is False


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    embedded = plan_redis(tmp_path)
    with running(embedded) as process:
        with admin_of(embedded) as admin:
            admin.set("job", "42")
        process.kill()
        process.wait()
    with running(embedded), admin_of(embedded) as admin:
        assert admin.get("job") == "42"


def test_data_is_found_again_with_the_next_starts_port_and_passwords(tmp_path: Path) -> None:
    first, second = plan_redis(tmp_path), plan_redis(tmp_path)
    with running(first), admin_of(first) as admin:
        admin.set("job", "42")
        former = password_of(first, "admin")
    with running(second), admin_of(second) as admin:
        assert admin.get("job") == "42"
        assert password_of(second, "admin") != former


def test_is_durable_and_never_evicts(tmp_path: Path) -> None:
    embedded = plan_redis(tmp_path)
    wanted = {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory": str(2**30),
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }
    with running(embedded), admin_of(embedded) as admin:
        configured = cast("dict[str, str]", admin.config_get("*"))
    assert {name: configured[name] for name in wanted} == wanted


def test_its_memory_is_bounded_as_the_operator_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TBSCREEN_REDIS_MAXMEMORY", "64mb")
    embedded = plan_redis(tmp_path)
    with running(embedded), admin_of(embedded) as admin:
        assert admin.config_get("maxmemory") == {"maxmemory": str(64 * 2**20)}
    for wrong in ("much", "0", "1gb\nport 1"):
        with pytest.raises(ServeError, match="TBSCREEN_REDIS_MAXMEMORY"):
            embedded.spec({"TBSCREEN_REDIS_MAXMEMORY": wrong})


def test_stranger_is_turned_away(tmp_path: Path) -> None:
    embedded = plan_redis(tmp_path)
    with running(embedded):
        with Redis(port=embedded.port) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()
        wrong = Redis(port=embedded.port, username="admin", password="wrong")
        with wrong, pytest.raises(AuthenticationError):
            wrong.ping()


def test_services_have_their_rights_and_no_more(tmp_path: Path) -> None:
    embedded = plan_redis(tmp_path)
    with running(embedded):
        for service in ("gateway", "worker"):
            url = embedded.url_file(service).read_text().strip()
            with Redis.from_url(url) as client:
                client.hset("tbscreen:job:a", "status", "queued")
                with pytest.raises(NoPermissionError):
                    client.flushall()


def test_passwords_are_in_private_files_and_in_no_argument(tmp_path: Path) -> None:
    embedded = plan_redis(tmp_path)
    (tmp_path / "redis.conf").write_text("left over, readable by all")
    assert embedded.spec({}).command[1:] == ("redis.conf",)
    assert (tmp_path / "redis.conf").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0


def test_port_lies_below_the_ephemeral_range(tmp_path: Path) -> None:
    assert {plan_redis(tmp_path).port // 10000 for _ in range(20)} == {2}


def test_an_ordinary_life_shows_nothing(tmp_path: Path) -> None:
    embedded = plan_redis(tmp_path)
    spec = embedded.spec(os.environ)
    process = subprocess.Popen(
        spec.command,
        cwd=spec.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not asyncio.run(embedded.answers()):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    output, _ = process.communicate(timeout=15)
    assert "Redis is starting" in output
    assert [line for line in output.splitlines() if spec.shows(line)] == []
    assert spec.shows("7:M 1 Nov 2026 12:00:00.000 # Bad file format reading the append only file")


def test_missing_redis_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServeError, match=r"tbscreen\[serve\].*apt install redis-server.*REDIS_URL"):
        find_redis_server()


def test_redis_on_the_path_is_taken_where_none_is_bundled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "redis-server"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setattr(redis.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == binary
