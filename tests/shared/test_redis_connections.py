import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from redis.exceptions import TimeoutError

from support.redis_server import running_redis_server
from tbscreen_shared.queue import connect_redis
from tbscreen_shared.redis_connections import Silence

TIMEOUT_S = 0.5


def waited_s(call: object) -> float:
    assert callable(call)
    started = time.perf_counter()
    with pytest.raises(TimeoutError):
        call()
    return time.perf_counter() - started


def test_of_many_calls_to_a_redis_that_hangs_few_wait(tmp_path: Path) -> None:
    with (
        running_redis_server(tmp_path) as server,
        connect_redis(server.url, timeout_s=TIMEOUT_S, silence=Silence()) as client,
    ):
        client.ping()
        with server.paused():
            assert waited_s(client.ping) > TIMEOUT_S
            with ThreadPoolExecutor(8) as pool:
                waits = list(pool.map(lambda _: waited_s(client.ping), range(100)))
        resumed = time.monotonic()
        while True:
            try:
                client.ping()
                break
            except TimeoutError:
                time.sleep(0.02)
        assert time.monotonic() - resumed < 2
        # The first to look has answered for all.
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda _: client.ping(), range(100)))
    # A failed call is tried twice more, after a moment: that is the short wait of the others.
    assert len([wait for wait in waits if wait > TIMEOUT_S]) <= 5
    assert sorted(waits)[50] < TIMEOUT_S


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
            waits = list(pool.map(lambda _: ping(), range(8)))
    # Without it: three times each.
    assert max(waits) < 2 * TIMEOUT_S


def test_without_a_shared_silence_each_call_waits(tmp_path: Path) -> None:
    with (
        running_redis_server(tmp_path) as server,
        connect_redis(server.url, timeout_s=TIMEOUT_S) as client,
        server.paused(),
    ):
        assert waited_s(client.ping) > 3 * TIMEOUT_S
        assert waited_s(client.ping) > 3 * TIMEOUT_S
