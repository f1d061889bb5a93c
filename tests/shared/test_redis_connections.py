import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Event

import pytest
from redis.exceptions import RedisError, TimeoutError

from support.redis_server import running_redis_server
from tbscreen_shared.queue import connect_redis
from tbscreen_shared.redis_connections import MasterConnection, RedisSilentError, Silence

TIMEOUT_S = 1.0


def waited_s(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    with pytest.raises((TimeoutError, RedisSilentError)):
        call()
    return time.perf_counter() - started


def test_of_many_calls_to_a_redis_that_hangs_few_wait(tmp_path: Path) -> None:
    with (
        running_redis_server(tmp_path) as server,
        connect_redis(server.url, timeout_s=TIMEOUT_S, silence=Silence()) as client,
    ):
        client.ping()
        with server.paused():
            # With its repetition, which is the first look.
            assert 2 * TIMEOUT_S < waited_s(client.ping) < 20 * TIMEOUT_S
            with ThreadPoolExecutor(8) as pool:
                waits = list(pool.map(lambda _: waited_s(client.ping), range(200)))
        resumed = time.monotonic()
        while True:
            try:
                client.ping()
                break
            except RedisError:
                time.sleep(0.02)
        assert time.monotonic() - resumed < 15
        # The first to look has answered for all.
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda _: client.ping(), range(100)))
    assert len([wait for wait in waits if wait >= TIMEOUT_S]) <= 5
    assert sorted(waits)[100] < TIMEOUT_S / 2


def test_calls_that_began_before_the_silence_was_known_wait_once(tmp_path: Path) -> None:
    together = Barrier(8)
    with (
        running_redis_server(tmp_path) as server,
        connect_redis(server.url, timeout_s=TIMEOUT_S, silence=Silence()) as client,
        ThreadPoolExecutor(8) as pool,
    ):

        def ping() -> float:
            together.wait()
            return waited_s(client.ping)

        with server.paused():
            waits = sorted(pool.map(lambda _: ping(), range(8)))
    # The first of them repeats its call; without it all would wait three times.
    assert waits[5] < 2.9 * TIMEOUT_S


def test_what_a_connection_says_after_a_long_rest_is_repeated_in_turns_too(tmp_path: Path) -> None:
    together = Barrier(8)
    with (
        running_redis_server(tmp_path) as server,
        connect_redis(server.url, timeout_s=TIMEOUT_S, silence=Silence()) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        rested = [client.connection_pool.get_connection() for _ in range(8)]
        for connection in rested:
            connection.next_health_check = -1  # as after 15 s: it says PING first
            client.connection_pool.release(connection)

        def wait(_: int) -> float:
            together.wait()
            return waited_s(client.ping)

        with server.paused():
            waits = sorted(pool.map(wait, range(8)))
    assert waits[5] < 2.9 * TIMEOUT_S


def test_a_slow_handshake_is_one_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = MasterConnection._connect

    def connect_slowly(self: MasterConnection) -> object:
        time.sleep(0.3)
        return connect(self)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(MasterConnection, "_connect", connect_slowly)
    silence = Silence(look_every_s=0.05)
    ended = Event()

    def look_too() -> None:
        while not ended.is_set():
            with suppress(RedisSilentError):
                silence.check("another")
            time.sleep(0.01)

    with (
        running_redis_server(tmp_path) as server,
        connect_redis(server.url, silence=silence) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        silence.begin("first", time.monotonic())
        time.sleep(0.1)
        others = pool.submit(look_too)
        try:
            deadline = time.monotonic() + 5
            while True:
                try:
                    assert client.ping()
                    break
                except RedisSilentError:
                    assert time.monotonic() < deadline
        finally:
            ended.set()
        others.result()
    assert not silence.lasts


def test_without_a_shared_silence_each_call_waits(tmp_path: Path) -> None:
    with (
        running_redis_server(tmp_path) as server,
        connect_redis(server.url, timeout_s=TIMEOUT_S) as client,
        server.paused(),
    ):
        assert waited_s(client.ping) > 3 * TIMEOUT_S
        assert waited_s(client.ping) > 3 * TIMEOUT_S


def test_a_refused_call_leaves_its_connection_as_it_is(tmp_path: Path) -> None:
    silence = Silence(look_every_s=60)
    with (
        running_redis_server(tmp_path) as server,
        connect_redis(server.url, silence=silence) as client,
    ):
        mine = client.client_id()
        silence.begin(object(), time.monotonic())
        with pytest.raises(RedisSilentError):
            client.client_id()
        silence.end()
        assert client.client_id() == mine


def test_a_connection_that_died_while_others_were_answered_is_no_silence() -> None:
    silence = Silence()
    asked = time.monotonic()
    silence.end()
    silence.begin("mine", asked)
    silence.check("other")
    assert not silence.lasts


def test_the_call_that_found_the_silence_may_be_repeated_once() -> None:
    silence = Silence(look_every_s=60)
    silence.begin("mine", time.monotonic())
    silence.begin("another", time.monotonic())
    for caller in ("another", "other"):
        with pytest.raises(RedisSilentError):
            silence.check(caller)
    silence.check("mine")
    with pytest.raises(RedisSilentError):
        silence.check("mine")


def test_one_call_in_each_turn_is_let_through() -> None:
    silence = Silence(look_every_s=0.3)
    silence.begin("first", time.monotonic())
    for _ in range(2):
        with pytest.raises(RedisSilentError):
            silence.check("second")
        time.sleep(0.35)
        silence.check("second")
