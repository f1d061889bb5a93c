"""Real sockets against the server's protocol: who reads nothing, who reads slowly, and how many."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from support.gateway_process import gateway_process
from support.waits import wait_until
from tbscreen_gateway import connections
from tbscreen_gateway.connection_limits import ConnectionLimits
from tbscreen_gateway.connections import limited_protocol

STALL_S = 1.0
ANSWER = bytes(8 * 1024**2)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET_AND_CLOSE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """A large answer, or the path's own name: /late comes late."""
    body = scope["path"][1:].encode() or ANSWER
    await asyncio.sleep(3 * STALL_S if body == b"late" else 0)
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(limits: ConnectionLimits) -> Iterator[tuple[uvicorn.Server, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, http=limited_protocol(limits), lifespan="off", ws="none", log_config=None
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield server, listener.getsockname()[1]
        finally:
            server.force_exit = server.should_exit = True
            thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[uvicorn.Server, int]]:
    monkeypatch.setattr(connections, "STALL_TIMEOUT_S", STALL_S)
    with serving(ConnectionLimits(100)) as running:
        yield running


def connect(port: int, source: str = "127.0.0.1", buffer_bytes: int = 0) -> socket.socket:
    connection = socket.socket()
    if buffer_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    connection.settimeout(20)
    connection.bind((source, 0))
    connection.connect(("127.0.0.1", port))
    return connection


@pytest.mark.parametrize("sends", [GET, GET * 40, GET_AND_CLOSE], ids=["one", "many", "close"])
def test_who_reads_nothing_of_an_answer_is_cut_off(
    server: tuple[uvicorn.Server, int], sends: bytes
) -> None:
    running, port = server
    with connect(port, buffer_bytes=4096) as connection:
        connection.sendall(sends)
        wait_until(lambda: running.server_state.connections)
        begun = time.monotonic()
        wait_until(lambda: not running.server_state.connections, timeout_s=15)
        assert time.monotonic() - begun > STALL_S / 2


def test_who_reads_slowly_gets_the_whole_answer(server: tuple[uvicorn.Server, int]) -> None:
    """So slowly that the system takes nothing from the gateway for several times the wait."""
    _, port = server
    with connect(port, buffer_bytes=32 * 1024) as connection:
        connection.sendall(GET_AND_CLOSE)
        begun, received = time.monotonic(), 0
        while time.monotonic() - begun < 5 * STALL_S:
            received += len(connection.recv(8 * 1024))
            time.sleep(0.1)
        while chunk := connection.recv(1024**2):
            received += len(chunk)
    assert received > len(ANSWER)


def test_who_waits_for_an_answer_is_no_reader_that_stalls(
    server: tuple[uvicorn.Server, int],
) -> None:
    _, port = server
    assert httpx.get(f"http://127.0.0.1:{port}/late", timeout=60).text == "late"


def test_a_client_with_too_many_connections_is_told_and_others_are_served() -> None:
    def ask(source: str) -> httpx.Response:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=source)) as client:
            return client.post(f"http://127.0.0.1:{port}/soon", content=bytes(100_000))

    with serving(ConnectionLimits(4)) as (running, port):
        with connect(port), connect(port):
            wait_until(lambda: len(running.server_state.connections) == 2)
            refused = ask("127.0.0.1")
            assert (refused.status_code, refused.json()["code"]) == (503, "server_busy")
            assert refused.headers["content-type"] == "application/problem+json"
            assert int(refused.headers["retry-after"]) >= 1
            assert ask("127.0.0.2").status_code == 200
        wait_until(lambda: not running.server_state.connections, timeout_s=15)
        assert ask("127.0.0.1").status_code == 200


@pytest.mark.parametrize("sent", [b"no request\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + bytes(100_000)])
def test_what_is_no_request_is_told_so_in_a_problem(
    server: tuple[uvicorn.Server, int], sent: bytes
) -> None:
    with connect(server[1]) as connection:
        connection.sendall(sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        problem = json.loads(answer.read())
    assert (answer.status, problem["code"], problem["status"]) == (400, "malformed_request", 400)
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_comes_after_a_whole_request_does_not_cost_it_its_answer(
    server: tuple[uvicorn.Server, int],
) -> None:
    with connect(server[1]) as connection:
        connection.sendall(GET_AND_CLOSE.replace(b"GET /", b"GET /late"))
        time.sleep(0.5)
        connection.sendall(b"\r\nno request\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.read()) == (200, b"late")


def test_a_body_that_can_not_be_read_ends_its_request_whoever_waits_for_it(
    server: tuple[uvicorn.Server, int],
) -> None:
    running, port = server
    with connect(port) as connection:
        head = b"POST /late HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"5\r\nhello\r\n" + b"no chunk\r\n" + bytes(200_000))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (400, "malformed_request")
    wait_until(lambda: not running.server_state.connections)


def test_connections_are_bounded_in_all_and_of_each_client_but_a_proxy() -> None:
    limits = ConnectionLimits(4, ("192.0.2.0/28",))
    proxy, *clients = "192.0.2.1", "198.51.100.1", "198.51.100.2"
    assert [limits.take(clients[0]) for _ in range(3)] == [True, True, False]
    assert [limits.take(proxy) for _ in range(3)] == [True, True, False]
    assert not limits.take(clients[1])
    limits.leave(clients[0])
    limits.leave(clients[0])
    assert [limits.take(proxy) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::2:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(first: str, second: str, is_one: bool) -> None:
    limits = ConnectionLimits(2)
    assert limits.take(first)
    assert limits.take(second) is not is_one
    limits.leave(first)
    assert limits.take(second) is is_one


def test_the_gateway_has_as_many_connections_as_its_settings_say(
    redis_url: str, tmp_path: Path
) -> None:
    with gateway_process(redis_url, tmp_path, max_connections="4") as gateway:
        deadline = time.monotonic() + 10
        with connect(gateway.port) as first, connect(gateway.port) as second:
            for connection in (first, second):
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                connection.recv(4096)
            assert httpx.get(f"{gateway.url}/livez").json()["code"] == "server_busy"
        while httpx.get(f"{gateway.url}/livez").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
