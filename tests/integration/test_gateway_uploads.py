import hashlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.blob_files import blob_files
from support.fake_bundle import publish_fake_bundle
from support.fake_worker import working_fake
from support.gateway_process import GatewayProcess, gateway_process
from support.radiographs import radiograph_files
from support.redis_server import running_redis
from support.waits import wait_until

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
BOUNDARY = "edge"
PART_HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'.encode()
)
PART_TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def redis_url(directory: Path) -> Iterator[str]:
    with running_redis(directory) as url:
        yield url


@pytest.fixture(scope="module")
def gateway(directory: Path, redis_url: str) -> Iterator[GatewayProcess]:
    publish_fake_bundle(directory / "models", directory / "staging")
    with gateway_process(redis_url, directory) as running:
        yield running


def request_head(length: int, *extra: str) -> bytes:
    lines = [
        "POST /v1/jobs HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {length}",
        *extra,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_status(connection: socket.socket) -> int:
    return int(connection.recv(4096).split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_upload_of_60_mib_is_not_held_in_memory(gateway: GatewayProcess) -> None:
    block = os.urandom(1024 * 1024)
    digest = hashlib.sha256(PNG_MAGIC)
    peak = 0

    def body() -> Iterator[bytes]:
        nonlocal peak
        yield PART_HEAD + PNG_MAGIC
        for _ in range(60):
            digest.update(block)
            yield block
            peak = max(peak, gateway.rss_bytes())
        yield PART_TAIL

    small = {"file": ("x", PNG_MAGIC + bytes(2000))}
    httpx.post(f"{gateway.url}/v1/jobs", files=small).raise_for_status()
    before = gateway.rss_bytes()
    started = time.perf_counter()
    answer = httpx.post(
        f"{gateway.url}/v1/jobs",
        content=body(),
        headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        timeout=60,
    )
    taken_s = time.perf_counter() - started
    grown = max(peak, gateway.rss_bytes()) - before
    print(f"60 MiB in {taken_s:.2f} s, resident memory +{grown / 2**20:.1f} MiB")
    assert answer.status_code == 202
    assert grown < 16 * 2**20
    stored = [path.read_bytes() for path in blob_files(gateway.blobs_dir)]
    assert digest.hexdigest() in {hashlib.sha256(data).hexdigest() for data in stored}


def test_a_client_that_leaves_in_mid_upload_leaves_no_file(gateway: GatewayProcess) -> None:
    before = set(blob_files(gateway.blobs_dir))
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(request_head(5_000_000) + PART_HEAD + PNG_MAGIC + bytes(1_000_000))
        wait_until(lambda: any(gateway.blobs_dir.glob("*.partial")))
    # One that only falls silent is given up after 60 s.
    wait_until(lambda: set(blob_files(gateway.blobs_dir)) == before, timeout_s=20)
    assert httpx.get(f"{gateway.url}/livez").status_code == 200


def test_content_that_is_no_radiograph_is_answered_before_it_is_all_sent(
    gateway: GatewayProcess,
) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(request_head(50_000_000) + PART_HEAD + b"%PDF-1.7" + bytes(4000))
        assert read_status(connection) == 415


def test_a_file_too_large_is_answered_before_any_of_it_is_sent(gateway: GatewayProcess) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(request_head(500_000_000, "Expect: 100-continue"))
        assert read_status(connection) == 413


def test_a_refusal_reaches_a_client_that_sends_everything_first(gateway: GatewayProcess) -> None:
    answer = httpx.post(
        f"{gateway.url}/v1/jobs", files={"file": ("x", b"%PDF-1.7" + bytes(30_000_000))}, timeout=60
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_radiographs_go_through_as_they_are(
    gateway: GatewayProcess, redis_url: str, tmp_path: Path
) -> None:
    with working_fake(redis_url), httpx.Client(base_url=gateway.url) as client:
        for path in radiograph_files(tmp_path):
            data = path.read_bytes()
            answer = client.post("/v1/jobs?wait=20", files={"file": ("radiograph", data)})
            assert answer.json()["status"] == "succeeded"
            assert answer.json()["result"]["input"]["sha256"] == hashlib.sha256(data).hexdigest()
