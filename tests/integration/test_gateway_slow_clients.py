"""Clients that are slow on purpose: they must not hold what others need."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest

from support.fake_bundle import publish_fake_bundle
from support.gateway_process import GatewayProcess
from support.redis_server import running_redis

HEAD_TIMEOUT_S = 15


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    directory = Path(tmp_path_factory.mktemp("gateway"))
    publish_fake_bundle(directory / "models", directory / "staging")
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        process = GatewayProcess(url, directory, max_concurrent_uploads="3")
        process.start()
        yield process
        process.stop()


def connect(gateway: GatewayProcess, sends: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", gateway.port))
    connection.settimeout(HEAD_TIMEOUT_S + 15)
    connection.sendall(sends)
    return connection


def test_connections_without_a_whole_request_head_are_closed_in_time(
    gateway: GatewayProcess,
) -> None:
    begun = time.monotonic()
    whole = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with (
        connect(gateway) as silent,
        connect(gateway, whole[:-5]) as halting,
        connect(gateway, whole) as again,
    ):
        answer = b""
        while not answer.endswith(b"alive\n"):
            answer += again.recv(4096)
        again.sendall(whole[:-5])
        # A byte at a time does not win time.
        for _ in range(5):
            time.sleep(1)
            halting.sendall(b"a")
        for connection in (silent, halting, again):
            assert connection.recv(4096) == b""
            assert HEAD_TIMEOUT_S - 1 < time.monotonic() - begun < HEAD_TIMEOUT_S + 10


def answered(connection: socket.socket) -> int:
    """Reads one answer to its end, which may come in parts, and returns its status."""
    response = HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def test_what_follows_on_an_answered_request_is_read_for_a_while_and_not_for_ever(
    gateway: GatewayProcess,
) -> None:
    head = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000\r\n"
        b"Content-Type: text/plain\r\n\r\n"
    )
    short = head.replace(b"60000000", b"3")
    begun = time.monotonic()
    with (
        connect(gateway, head) as once,
        connect(gateway, head) as dripping,
        connect(gateway, short) as ending,
    ):
        for connection in (once, dripping, ending):
            assert answered(connection) == 415
            connection.sendall(b"a")
        ending.sendall(b"aa")
        for _ in range(10):
            time.sleep(1)
            dripping.sendall(b"a")
        ending.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answered(ending) == 200, "its body has ended"
        for connection in (once, dripping):
            with suppress(ConnectionResetError):
                assert connection.recv(4096) == b""
            assert HEAD_TIMEOUT_S - 1 < time.monotonic() - begun < HEAD_TIMEOUT_S + 10


def test_a_long_wait_for_a_result_is_no_slow_client(gateway: GatewayProcess) -> None:
    files = {"file": ("r", b"\x89PNG\r\n\x1a\n" + bytes(200))}
    begun = time.monotonic()
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        answer = client.post("/v1/jobs", files=files, params={"wait": HEAD_TIMEOUT_S + 2})
    assert answer.status_code == 202
    assert time.monotonic() - begun > HEAD_TIMEOUT_S


def test_uploads_at_once_are_bounded_and_others_are_told_to_come_again(
    gateway: GatewayProcess,
) -> None:
    head = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    held = [connect(gateway, head) for _ in range(3)]
    files = {"file": ("r", b"\x89PNG\r\n\x1a\n" + bytes(200))}
    deadline = time.monotonic() + 20
    while (refused := httpx.post(f"{gateway.url}/v1/jobs", files=files)).status_code == 202:
        assert time.monotonic() < deadline
    assert (refused.status_code, refused.json()["code"]) == (503, "server_busy")
    assert int(refused.headers["Retry-After"]) >= 1
    for connection in held:
        connection.close()
    deadline = time.monotonic() + 20
    while httpx.post(f"{gateway.url}/v1/jobs", files=files).status_code != 202:
        assert time.monotonic() < deadline
        time.sleep(0.05)
