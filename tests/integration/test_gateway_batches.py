import hashlib
import os
import signal
import socket
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis

from support.blob_files import blob_files
from support.fake_bundle import publish_fake_bundle
from support.fake_worker import working_fake
from support.gateway_process import GatewayProcess, gateway_process
from support.redis_server import RedisServer, running_redis_server
from support.waits import wait_until
from tbscreen_gateway.reconciliation import Reconciler
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.sweeping import Sweeper
from tbscreen_gateway.task_queue import CeleryTaskQueue
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.jobs import DeadJobs, JobStore, RetainedUploads
from tbscreen_shared.queue import QUEUE_NAME, connect_redis

PNG = b"\x89PNG\r\n\x1a\n"
BOUNDARY = "edge"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
TAIL = f"--{BOUNDARY}--\r\n".encode()
MIB = 2**20


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, str, Path]]:
    """A gateway that no test kills, its Redis and its directory."""
    directory = tmp_path_factory.mktemp("lasting")
    publish_fake_bundle(directory / "models", directory / "staging")
    with (
        running_redis_server(directory) as server,
        gateway_process(server.url, directory) as gateway,
    ):
        yield gateway, server.url, directory


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis_server(tmp_path) as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path, server: RedisServer) -> Iterator[GatewayProcess]:
    publish_fake_bundle(tmp_path / "models", tmp_path / "staging")
    with gateway_process(server.url, tmp_path) as running:
        yield running


def part_head(name: str = "file") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n\r\n'
    return head.encode()


def film(number: int, size: int = 1000) -> bytes:
    return PNG + number.to_bytes(4, "big") + bytes(size)


def form_of(count: int, size: int = 1000) -> bytes:
    return b"".join(part_head() + film(n, size) + b"\r\n" for n in range(count)) + TAIL


def submit(gateway: GatewayProcess, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/v1/batches",
        content=body,
        headers={"Content-Type": FORM, **headers},
        timeout=60,
    )


def recorded(redis: Redis) -> set[str]:
    """What Redis knows of jobs, batches and keys; the audit log's business aside."""
    return {key for key in redis.scan_iter("tbscreen:*") if "audit" not in key}


def post_measured(
    gateway: GatewayProcess, body: Iterator[bytes], total_bytes: int
) -> httpx.Response:
    """Posts a batch and holds that its gateway's resident memory hardly grows by it."""
    submit(gateway, form_of(3)).raise_for_status()
    before = peak = gateway.rss_bytes()
    done = threading.Event()

    def measure() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, gateway.rss_bytes())

    measuring = threading.Thread(target=measure)
    measuring.start()
    started = time.perf_counter()
    try:
        answer = httpx.post(
            f"{gateway.url}/v1/batches", content=body, headers={"Content-Type": FORM}, timeout=240
        )
    finally:
        done.set()
        measuring.join()
    grown = max(peak, gateway.rss_bytes()) - before
    taken_s = time.perf_counter() - started
    print(f"{total_bytes / MIB:.0f} MiB in {taken_s:.1f} s, resident memory +{grown / MIB:.1f} MiB")
    assert answer.status_code == 202
    assert grown < 24 * MIB
    return answer


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_batch_of_500_mib_is_not_held_in_memory(
    lasting: tuple[GatewayProcess, str, Path],
) -> None:
    gateway, _, _ = lasting
    block = os.urandom(MIB)
    digests: list[str] = []

    def body() -> Iterator[bytes]:
        for number in range(25):
            head = film(number, 0)
            digest = hashlib.sha256(head)
            yield part_head() + head
            for _ in range(20):
                digest.update(block)
                yield block
            yield b"\r\n"
            digests.append(digest.hexdigest())
        yield TAIL

    batch = post_measured(gateway, body(), 500 * MIB).json()
    assert [item["sha256"] for item in batch["items"]] == digests


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_archive_of_250_mib_is_not_held_in_memory_and_not_kept(
    lasting: tuple[GatewayProcess, str, Path], tmp_path: Path
) -> None:
    gateway, _, _ = lasting
    block = os.urandom(MIB)
    path = tmp_path / "films.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:
        for number in range(10):
            with archive.open(f"{number}.png", "w") as entry:
                entry.write(film(number, 0))
                for _ in range(25):
                    entry.write(block)

    def body() -> Iterator[bytes]:
        yield part_head("archive")
        with path.open("rb") as stream:
            while chunk := stream.read(MIB):
                yield chunk
        yield b"\r\n" + TAIL

    stored_before = len(blob_files(gateway.blobs_dir))
    batch = post_measured(gateway, body(), 250 * MIB).json()
    assert batch["counts"]["queued"] == 10
    assert len(blob_files(gateway.blobs_dir)) - stored_before == 3 + 10


def test_two_gateways_that_are_sent_one_batch_at_once_make_it_once(
    lasting: tuple[GatewayProcess, str, Path],
) -> None:
    gateway, redis_url, directory = lasting
    stored = len(blob_files(gateway.blobs_dir))
    answers: list[httpx.Response] = []
    body = form_of(30)
    with gateway_process(redis_url, directory) as second:
        threads = [
            threading.Thread(
                target=lambda one=one: answers.append(submit(one, body, **{"Idempotency-Key": "k"}))
            )
            for one in [gateway, second] * 3
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len(blob_files(gateway.blobs_dir)) == stored + 30


def test_a_gateway_killed_while_a_batch_comes_in_has_promised_nothing_and_its_files_are_swept(
    gateway: GatewayProcess, server: RedisServer
) -> None:
    body = form_of(200, 10_000)
    head = (
        "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(head.encode() + body[: len(body) * 3 // 4])
        wait_until(lambda: len(blob_files(gateway.blobs_dir)) > 20, every_s=0.005)
        gateway.signal(signal.SIGKILL)
        gateway.stop()
    left = blob_files(gateway.blobs_dir)
    assert len(left) > 20
    with connect_redis(server.url) as redis:
        assert recorded(redis) == set()
        assert redis.llen(QUEUE_NAME) == 0
        jobs = JobStore(redis, result_ttl_s=600, max_attempts=3)
        for path in left:
            os.utime(path, (0, 0))
        sweeper = Sweeper(
            jobs,
            DeadJobs(redis, result_ttl_s=600),
            RetainedUploads(redis),
            BlobStore(gateway.blobs_dir),
            abandoned_after_s=0.2,
        )
        swept = sweeper.sweep()
        time.sleep(0.3)
        assert swept + sweeper.sweep() == len(left)
    assert blob_files(gateway.blobs_dir) == []


def read_those_without_tasks_too(server: RedisServer, redis: Redis) -> None:
    """Has a worker read all that is queued, and a reconciler send what is lost."""
    jobs = JobStore(redis, result_ttl_s=600, max_attempts=3)
    tasks = CeleryTaskQueue(GatewaySettings(redis_url=SecretStr(server.url)))
    reconciler = Reconciler(redis, jobs, tasks, visibility_timeout_s=1)
    with working_fake(server.url):
        while jobs.queue_length():
            reconciler.resend_lost()
            time.sleep(0.1)
    tasks.close()


def test_a_gateway_killed_while_it_sends_a_batchs_tasks_leaves_a_whole_batch_that_is_read(
    gateway: GatewayProcess, server: RedisServer
) -> None:
    count = 600

    def submit_in_vain() -> None:
        with pytest.raises(httpx.TransportError):
            submit(gateway, form_of(count))

    submitting = threading.Thread(target=submit_in_vain)
    submitting.start()
    with connect_redis(server.url) as redis:
        wait_until(lambda: int(redis.llen(QUEUE_NAME)) > 20, every_s=0.005)
        gateway.signal(signal.SIGKILL)
        gateway.stop()
        submitting.join()
        sent = int(redis.llen(QUEUE_NAME))
        assert 20 < sent < count, "killed too late"
        (batch_key,) = redis.scan_iter("tbscreen:batch:*")
        jobs = JobStore(redis, result_ttl_s=600, max_attempts=3)
        assert jobs.queue_length() == count
        assert jobs.needed_blobs() == {path.name for path in blob_files(gateway.blobs_dir)}
        read_those_without_tasks_too(server, redis)
    gateway.start()
    batch_id = batch_key.removeprefix("tbscreen:batch:")
    batch = httpx.get(f"{gateway.url}/v1/batches/{batch_id}").json()
    print(f"{sent} of {count} tasks were sent before the kill")
    assert (batch["finished"], batch["counts"]["succeeded"]) == (True, count)


def test_a_redis_killed_while_a_recorded_batchs_tasks_are_sent_costs_none_of_it(
    gateway: GatewayProcess, server: RedisServer
) -> None:
    answers: list[httpx.Response] = []
    count = 600
    body = form_of(count)
    submitting = threading.Thread(
        target=lambda: answers.append(submit(gateway, body, **{"Idempotency-Key": "k"}))
    )
    submitting.start()
    with connect_redis(server.url) as redis:
        wait_until(lambda: int(redis.llen(QUEUE_NAME)) > 20, every_s=0.005)
        server.kill()
    submitting.join()
    assert answers[0].status_code == 202
    server.start()
    with connect_redis(server.url) as redis:
        assert int(redis.llen(QUEUE_NAME)) < count, "killed too late"
        again = submit(gateway, body, **{"Idempotency-Key": "k"})
        assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
        assert again.headers["location"] == answers[0].headers["location"]
        read_those_without_tasks_too(server, redis)
    batch = httpx.get(f"{gateway.url}{again.headers['location']}").json()
    assert (batch["finished"], batch["counts"]["succeeded"]) == (True, count)
