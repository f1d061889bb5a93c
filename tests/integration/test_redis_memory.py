"""A bounded Redis fills up: uploads are refused, and whatever was accepted ends with no human."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest
from redis import Redis

from support.gateway_process import GatewayProcess, gateway_process
from support.redis_server import running_redis
from support.waits import wait_until
from support.worker_site import WorkerSite
from tbscreen_shared.jobs.keys import QUEUED, STARTED

DAMAGED = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WorkerSite]:
    with running_redis(tmp_path) as url:
        site = WorkerSite(tmp_path, url)
        site.publish()
        yield site
        site.close()


@pytest.fixture
def gateway(tmp_path: Path, site: WorkerSite) -> Iterator[GatewayProcess]:
    with gateway_process(site.redis_url, tmp_path) as running:
        yield running


def used_bytes(redis: Redis) -> int:
    return cast("dict[str, int]", redis.info("memory"))["used_memory"]


def submit(gateway: GatewayProcess, files: int) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/v1/batches", files=[("file", ("x", DAMAGED))] * files, timeout=60
    )


def wait_for_all_to_end(site: WorkerSite) -> None:
    wait_until(
        lambda: not site.redis.zcard(QUEUED) and not site.redis.zcard(STARTED),
        timeout_s=240,
        what="the end of all jobs",
    )


def test_uploads_are_refused_before_redis_is_full_and_what_was_accepted_ends(
    site: WorkerSite, gateway: GatewayProcess
) -> None:
    worker = site.start_ready_worker()
    bound = used_bytes(site.redis) + 2_000_000
    site.redis.config_set("maxmemory", bound)
    accepted = []
    while (answer := submit(gateway, 20)).status_code == 202:
        accepted.append(answer.json()["id"])
        assert len(accepted) < 100
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert accepted
    wait_for_all_to_end(site)
    assert used_bytes(site.redis) < bound
    for batch in accepted:
        counts = httpx.get(f"{gateway.url}/v1/batches/{batch}").json()["counts"]
        assert counts["failed"] == 20
    assert worker.main.poll() is None


def test_a_redis_that_something_else_fills_lets_all_jobs_end_and_be_looked_at(
    site: WorkerSite, gateway: GatewayProcess
) -> None:
    batch = submit(gateway, 400).json()["id"]
    worker = site.start_ready_worker()
    wait_until(lambda: site.redis.zcard(QUEUED) < 390, what="the first jobs' end")
    site.redis.config_set("maxmemory", 1)
    left = int(site.redis.zcard(QUEUED))
    assert left > 20
    wait_for_all_to_end(site)
    url = f"{gateway.url}/v1/batches/{batch}"
    assert httpx.get(url).json()["counts"]["failed"] == 400
    wait_until(lambda: not site.redis.hlen("unacked"), what="all acknowledgements", timeout_s=20)
    assert worker.main.poll() is None
    health = httpx.get(f"{gateway.url}/health").json()
    assert health["redis"]["ok"]
    assert "The job store (Redis) has no memory left: uploads are refused." in health["problems"]
    assert httpx.delete(url).status_code == 204
    assert submit(gateway, 1).status_code == 507
