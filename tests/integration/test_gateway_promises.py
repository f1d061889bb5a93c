"""Gateways die between the record and the answer: what they recorded is what a repeat gets."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx

from support.fake_bundle import publish_fake_bundle
from support.gateway_process import GatewayProcess, gateway_process
from support.redis_server import running_redis_server
from tbscreen_shared.jobs.keys import QUEUED
from tbscreen_shared.queue import connect_redis

PNG = b"\x89PNG\r\n\x1a\n"
FILES = [("file", ("x", PNG + bytes([n]) * 40)) for n in range(200)]


def submit(gateway: GatewayProcess) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/v1/batches",
        files=FILES,
        headers={"Idempotency-Key": "visit-1"},
        timeout=60,
    )


def test_a_batch_whose_gateway_dies_before_it_answers_is_the_one_that_a_repeat_gets(
    tmp_path: Path,
) -> None:
    publish_fake_bundle(tmp_path / "models", tmp_path / "staging")

    def lose_the_answer(gateway: GatewayProcess) -> None:
        with suppress(httpx.TransportError):
            submit(gateway)

    with (
        running_redis_server(tmp_path) as server,
        connect_redis(server.url) as redis,
        gateway_process(server.url, tmp_path) as gateway,
    ):
        first = threading.Thread(target=lose_the_answer, args=[gateway])
        first.start()
        while not redis.zcard(QUEUED):
            time.sleep(0.002)
        gateway.stop()
        first.join()
        gateway.start()
        answer = submit(gateway)
        assert (answer.status_code, answer.headers["idempotency-replayed"]) == (202, "true")
        assert answer.json()["counts"]["queued"] == redis.zcard(QUEUED) == len(FILES)
        assert len(list(redis.scan_iter("tbscreen:batch:*"))) == 1
