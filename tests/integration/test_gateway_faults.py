import hashlib
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.blob_files import blob_files
from support.fake_bundle import publish_fake_bundle
from support.fake_worker import FakeWorker, a_result, working_fake
from support.gateway_process import GatewayProcess, gateway_process
from support.redis_server import RedisServer, running_redis_server
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.queue import QUEUE_NAME, connect_redis

PNG = b"\x89PNG\r\n\x1a\n" + bytes(500)
HEAD = (
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
    b"Content-Type: multipart/form-data; boundary=e\r\n\r\n"
)
EDGE = b'--e\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis_server(tmp_path) as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path, server: RedisServer) -> Iterator[GatewayProcess]:
    publish_fake_bundle(tmp_path / "models", tmp_path / "staging")
    with gateway_process(server.url, tmp_path) as running:
        yield running


def submit(gateway: GatewayProcess, data: bytes = PNG, *, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return httpx.post(
        f"{gateway.url}/v1/jobs", files={"file": ("x", data)}, headers=headers, timeout=30
    )


def test_without_redis_uploads_are_refused_in_time_and_taken_again_after(
    gateway: GatewayProcess, server: RedisServer
) -> None:
    assert submit(gateway).status_code == 202
    kept = set(blob_files(gateway.blobs_dir))
    server.kill()
    started = time.perf_counter()
    answer = submit(gateway, key="k")
    refused_after_s = time.perf_counter() - started
    assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert refused_after_s < 3
    assert set(blob_files(gateway.blobs_dir)) == kept
    assert httpx.get(f"{gateway.url}/livez").status_code == 200
    assert httpx.get(f"{gateway.url}/readyz", timeout=10).status_code == 503
    assert httpx.get(f"{gateway.url}/health", timeout=10).json()["status"] == "degraded"
    server.start()
    started = time.perf_counter()
    while submit(gateway, key="k").status_code != 202:
        assert time.perf_counter() - started < 20
        time.sleep(0.1)
    print(
        f"refused after {refused_after_s:.2f} s, "
        f"recovered {time.perf_counter() - started:.2f} s after Redis"
    )
    with working_fake(server.url):
        answer = httpx.post(f"{gateway.url}/predict", files={"file": ("x", PNG)}, timeout=40)
    assert answer.json()["prediction"] == "TB Positive"
    assert "Traceback" not in gateway.log.read_text()


def test_a_redis_that_hangs_holds_up_only_who_asked_first(
    gateway: GatewayProcess, server: RedisServer
) -> None:
    job = f"{gateway.url}{submit(gateway).headers['location']}"
    needs_no_redis = [f"{gateway.url}{path}" for path in ("/livez", "/docs", "/static/main.js")]

    def timed(call: Callable[[], httpx.Response]) -> tuple[int, float]:
        started = time.perf_counter()
        return call().status_code, time.perf_counter() - started

    def look(url: str) -> httpx.Response:
        return httpx.get(url, timeout=60)

    with ThreadPoolExecutor(180) as pool:
        with server.paused():
            first = [pool.submit(timed, lambda: submit(gateway)) for _ in range(60)]
            first += [pool.submit(timed, lambda: look(job)) for _ in range(60)]
            refused = [asked.result() for asked in first]
            second = [pool.submit(timed, lambda: look(job)) for _ in range(40)]
            second += [pool.submit(timed, lambda: submit(gateway)) for _ in range(20)]
            free = [timed(lambda url=url: look(url)) for url in needs_no_redis]
            later = [asked.result() for asked in second]
        deadline = time.monotonic() + 15
        while submit(gateway).status_code != 202:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert {status for status, _ in (*refused, *later)} == {503}
    assert {status for status, _ in free} == {200}
    first_s, later_s = (sorted(wait for _, wait in wave) for wave in (refused, later))
    free_s = max(wait for _, wait in free)
    print(f"first {first_s[60]:.1f} s, later {later_s[30]:.2f} s, without Redis {free_s:.2f} s")
    # One time-out of 5 s, where it was three and a place in the queue for threads.
    assert first_s[100] < 14
    # Some are let through to find out whether Redis is back.
    assert later_s[40] < 5
    assert free_s < 5


def test_every_202_under_a_killed_redis_is_a_job_that_finishes(
    gateway: GatewayProcess, server: RedisServer
) -> None:
    accepted: list[str] = []

    def submit_many(number: int) -> None:
        for turn in range(30):
            answer = submit(gateway, PNG + f"{number}-{turn}".encode())
            assert answer.status_code in (202, 503)
            if answer.status_code == 202:
                accepted.append(answer.json()["id"])

    with ThreadPoolExecutor(4) as pool:
        submitting = [pool.submit(submit_many, number) for number in range(4)]
        for _ in range(2):
            time.sleep(0.4)
            server.kill()
            time.sleep(0.3)
            server.start()
        for one in submitting:
            one.result()
    with connect_redis(server.url) as redis:
        queued = redis.llen(QUEUE_NAME)
    with working_fake(server.url), httpx.Client(base_url=gateway.url) as client:
        for job_id in accepted:
            job = client.get(f"/v1/jobs/{job_id}?wait=30", timeout=40).json()
            assert job["status"] == "succeeded", job
        # One that was recorded without an answer gets its task within seconds.
        deadline = time.monotonic() + 20
        while client.get("/health").json()["queue_length"] and time.monotonic() < deadline:
            time.sleep(0.1)
        assert client.get("/health").json()["queue_length"] == 0
    print(f"{len(accepted)} of 120 accepted, {queued} tasks were queued")
    assert accepted


def test_identical_posts_at_once_to_two_gateways_make_one_job(
    gateway: GatewayProcess, server: RedisServer, tmp_path: Path
) -> None:
    with gateway_process(server.url, tmp_path) as second, ThreadPoolExecutor(16) as pool:
        gateways = [gateway, second] * 8
        answers = list(pool.map(lambda one: submit(one, key="visit-4711"), gateways))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    with connect_redis(server.url) as redis:
        assert redis.llen(QUEUE_NAME) == 1
    assert len(blob_files(gateway.blobs_dir)) == 1


def test_a_repeat_after_the_first_answer_was_lost_makes_no_second_job(
    gateway: GatewayProcess, server: RedisServer
) -> None:
    answers = [submit(gateway, key="k") for _ in range(3)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    conflict = submit(gateway, PNG + b"other", key="k")
    assert conflict.status_code == 409


def test_deleting_ends_a_wait_and_erases_the_upload(
    gateway: GatewayProcess, server: RedisServer
) -> None:
    path = submit(gateway).headers["location"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.get, f"{gateway.url}{path}?wait=20", timeout=30)
        time.sleep(0.3)
        assert httpx.delete(f"{gateway.url}{path}").json()["status"] == "canceled"
        assert waiting.result().json()["status"] == "canceled"
    assert blob_files(gateway.blobs_dir) == []
    with connect_redis(server.url) as redis:
        worker = FakeWorker(redis, lambda sha256: a_result(sha256=sha256))
        assert not worker.finish(worker.take() or "")
    assert httpx.delete(f"{gateway.url}{path}").status_code == 204
    assert httpx.get(f"{gateway.url}{path}").status_code == 404


def test_what_a_killed_gateway_was_receiving_is_there_to_be_swept_and_is_no_upload(
    gateway: GatewayProcess,
) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(HEAD + EDGE + PNG + bytes(500_000))
        while not list(gateway.blobs_dir.glob("*.partial")):
            time.sleep(0.02)
        gateway.signal(signal.SIGKILL)
        gateway.stop()
    (file,) = blob_files(gateway.blobs_dir)
    gateway.start()
    store = BlobStore.existing(gateway.blobs_dir)
    (partial,) = store.partials()
    assert (partial.name, store.keys(older_than_s=0)) == (file.name, [])
    store.erase_partial(partial)
    assert blob_files(gateway.blobs_dir) == []


def test_an_upload_that_outlives_a_stops_grace_is_refused_politely_and_leaves_nothing(
    tmp_path: Path, server: RedisServer
) -> None:
    publish_fake_bundle(tmp_path / "models", tmp_path / "staging")
    with (
        gateway_process(server.url, tmp_path, shutdown_grace_s="1") as gateway,
        socket.create_connection(("127.0.0.1", gateway.port)) as connection,
    ):
        connection.sendall(HEAD + EDGE + PNG + bytes(500_000))
        while not list(gateway.blobs_dir.glob("*.partial")):
            time.sleep(0.02)
        gateway.signal(signal.SIGTERM)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        problem = json.loads(answer.read())
        assert (answer.status, problem["code"]) == (503, "server_stopping")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["x-request-id"] == problem["request_id"]
        assert gateway.process is not None
        gateway.process.wait(timeout=20)
        assert "Traceback" not in gateway.log.read_text()
        assert blob_files(gateway.blobs_dir) == []


def test_the_stored_upload_is_the_one_that_was_sent(gateway: GatewayProcess) -> None:
    data = PNG + os.urandom(3_000_000)
    assert submit(gateway, data).status_code == 202
    (blob,) = blob_files(gateway.blobs_dir)
    assert hashlib.sha256(blob.read_bytes()).digest() == hashlib.sha256(data).digest()
