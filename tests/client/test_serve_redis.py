"""The embedded Redis, run for real."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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


def talk(embedded: EmbeddedRedis, *commands: str, password: str | None = None) -> list[str]:
    with socket.create_connection(("127.0.0.1", embedded.port), timeout=5) as connection:
        lines = connection.makefile("r", newline="\r\n")
        replies = []
        for command in (f"AUTH {password or embedded.password}", *commands):
            connection.sendall(f"{command}\r\n".encode())
            reply = lines.readline().rstrip("\r\n")
            if reply.startswith("$") and reply != "$-1":
                reply = lines.readline().rstrip("\r\n")
            replies.append(reply)
        lines.close()
        return replies[1:] if password is None else replies


def test_does_not_answer_before_it_runs(tmp_path: Path) -> None:
    assert asyncio.run(plan_redis(tmp_path).answers()) is False


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    embedded = plan_redis(tmp_path)
    with running(embedded) as process:
        assert talk(embedded, "SET job 42") == ["+OK"]
        process.kill()
        process.wait()
    with running(embedded):
        assert talk(embedded, "GET job") == ["42"]


def test_data_is_found_again_with_the_next_starts_port_and_password(tmp_path: Path) -> None:
    first, second = plan_redis(tmp_path), plan_redis(tmp_path)
    assert first.password != second.password
    with running(first):
        talk(first, "SET job 42")
    with running(second):
        assert talk(second, "GET job") == ["42"]


def test_is_durable_and_never_evicts(tmp_path: Path) -> None:
    embedded = plan_redis(tmp_path)
    with running(embedded):
        connection = socket.create_connection(("127.0.0.1", embedded.port), timeout=5)
        with connection:
            connection.sendall(f"AUTH {embedded.password}\r\nCONFIG GET *\r\n".encode())
            text = b""
            while b"maxmemory-policy" not in text or b"appendfsync" not in text:
                text += connection.recv(65536)
    words = text.decode().split("\r\n")
    for name, value in (
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("maxmemory-policy", "noeviction"),
        ("bind", "127.0.0.1"),
    ):
        assert words[words.index(name) + 2] == value


def test_stranger_is_turned_away(tmp_path: Path) -> None:
    embedded = plan_redis(tmp_path)
    with running(embedded):
        with socket.create_connection(("127.0.0.1", embedded.port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(64).startswith(b"-NOAUTH")
        assert talk(embedded, password="wrong")[0].startswith("-WRONGPASS")


def test_password_is_in_a_private_file_and_in_no_argument(tmp_path: Path) -> None:
    embedded = plan_redis(tmp_path)
    (tmp_path / "redis.conf").write_text("left over, readable by all")
    spec = embedded.spec({})
    assert not any(embedded.password in word for word in spec.command)
    assert (tmp_path / "redis.conf").stat().st_mode & 0o777 == 0o600
    assert embedded.password in (tmp_path / "redis.conf").read_text()


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
