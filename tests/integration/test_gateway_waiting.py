import json
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from redis import Redis

from support.fake_bundle import publish_fake_bundle
from support.fake_worker import FakeWorker, a_result
from support.gateway_process import GatewayProcess, gateway_process
from support.redis_server import running_redis
from support.waits import wait_until
from tbscreen_shared.queue import QUEUE_NAME, connect_redis

FILE = {"file": ("radiograph", b"\x89PNG\r\n\x1a\n" + bytes(500))}


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with running_redis(tmp_path) as url:
        yield url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect_redis(redis_url) as client:
        yield client


@pytest.fixture
def worker(redis: Redis) -> FakeWorker:
    return FakeWorker(redis, lambda sha256: a_result(sha256=sha256))


@pytest.fixture
def gateway(tmp_path: Path, redis_url: str) -> Iterator[GatewayProcess]:
    publish_fake_bundle(tmp_path / "models", tmp_path / "staging")
    with gateway_process(redis_url, tmp_path) as running:
        yield running


def test_a_long_poll_is_answered_by_the_finish(gateway: GatewayProcess, worker: FakeWorker) -> None:
    delays_ms = []
    with httpx.Client(base_url=gateway.url, timeout=40) as client:
        for _ in range(10):
            path = client.post("/v1/jobs", files=FILE).headers["location"]
            job_id = worker.take() or ""
            finished_at: list[float] = []

            def finish(job_id: str = job_id, at: list[float] = finished_at) -> None:
                time.sleep(0.3)
                worker.finish(job_id)
                at.append(time.perf_counter())

            finishing = threading.Thread(target=finish)
            finishing.start()
            job = client.get(f"{path}?wait=20").json()
            answered_at = time.perf_counter()
            finishing.join()
            assert job["status"] == "succeeded"
            delays_ms.append((answered_at - finished_at[0]) * 1000)
    print(f"woken after {statistics.median(delays_ms):.1f} ms, at most {max(delays_ms):.1f} ms")
    # Looking again would take 2.7 s.
    assert statistics.median(delays_ms) < 1000
    assert max(delays_ms) < 2500


def test_a_hundred_clients_may_wait_at_once(gateway: GatewayProcess, worker: FakeWorker) -> None:
    with (
        httpx.Client(
            base_url=gateway.url, timeout=40, limits=httpx.Limits(max_connections=None)
        ) as client,
        ThreadPoolExecutor(100) as pool,
    ):
        path = client.post("/v1/jobs", files=FILE).headers["location"]
        waits = [pool.submit(client.get, f"{path}?wait=20") for _ in range(100)]
        time.sleep(2)
        # Waiting holds no thread of the gateway: everything else goes on.
        assert client.get("/readyz").elapsed.total_seconds() < 10
        worker.finish(worker.take() or "")
        assert {wait.result().json()["status"] for wait in waits} == {"succeeded"}


def test_a_client_that_stops_waiting_is_let_go(gateway: GatewayProcess) -> None:
    path = httpx.post(f"{gateway.url}/v1/jobs", files=FILE).headers["location"]
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{gateway.url}{path}?wait=25", timeout=0.5)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        polls = [
            line
            for line in map(json.loads, gateway.log.read_text().splitlines())
            if line.get("route") == "/v1/jobs/{job_id}"
        ]
        if polls:
            break
        time.sleep(0.05)
    assert polls[0]["duration_ms"] < 3000


def test_a_server_told_to_stop_answers_those_who_wait_and_ends(
    gateway: GatewayProcess, redis: Redis
) -> None:
    with ThreadPoolExecutor(1) as pool:
        url = f"{gateway.url}/v1/jobs?wait=25"
        waiting = pool.submit(httpx.post, url, files=FILE, timeout=30)
        wait_until(lambda: redis.llen(QUEUE_NAME), what="the task")
        time.sleep(0.5)
        told_at = time.perf_counter()
        gateway.signal(signal.SIGTERM)
        answer = waiting.result()
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert gateway.process is not None
    gateway.process.wait(timeout=20)
    taken_s = time.perf_counter() - told_at
    print(f"stopped after {taken_s:.2f} s")
    assert taken_s < 9  # cut off, it would take 10
    assert "Traceback" not in gateway.log.read_text()
