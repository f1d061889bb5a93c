import base64
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from support.fake_bundle import publish_fake_bundle
from support.fake_worker import FakeWorker, a_result, working_fake
from support.gateway_process import GatewayProcess, gateway_process
from support.redis_server import RedisServer, running_redis_server
from support.webhook_receiver import Answer, WebhookReceiver, running_receiver, until
from tbscreen import verify_webhook
from tbscreen_shared.queue import connect_redis

Gateways = tuple[GatewayProcess, GatewayProcess]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(500)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis_server(tmp_path) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def gateways(tmp_path: Path, server: RedisServer) -> Iterator[Gateways]:
    publish_fake_bundle(tmp_path / "models", tmp_path / "staging")
    with ExitStack() as stack:
        both = [
            stack.enter_context(
                gateway_process(
                    server.url,
                    tmp_path,
                    webhook_secret=SECRET,
                    callback_allow="127.0.0.0/8",
                    callback_http="true",
                    # A claim lapses 5 s after that.
                    callback_timeout_s="2",
                )
            )
            for _ in range(2)
        ]
        yield both[0], both[1]


def submit(gateway: GatewayProcess, receiver: WebhookReceiver) -> str:
    answer = httpx.post(
        f"{gateway.url}/v1/jobs",
        params={"callback_url": f"{receiver.url}/in"},
        files={"file": ("x", PNG)},
        timeout=30,
    )
    assert answer.status_code == 202
    return str(answer.json()["id"])


def times_by_id(receiver: WebhookReceiver) -> Counter[str]:
    return Counter(one.headers["webhook-id"] for one in receiver.deliveries)


def test_what_a_killed_gateway_was_sending_the_other_sends_under_the_same_id(
    gateways: Gateways, server: RedisServer, receiver: WebhookReceiver
) -> None:
    one, other = gateways
    receiver.answers += [Answer(hold_s=60)]
    job_id = submit(one, receiver)
    other.signal(signal.SIGSTOP)
    with working_fake(server.url):
        until(lambda: receiver.in_hand == 1)
        one.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        other.signal(signal.SIGCONT)
        receiver.wait_for(2, timeout_s=20)
    print(f"sent again {time.monotonic() - killed_at:.1f} s after the kill")
    path = f"{other.url}/v1/jobs/{job_id}"
    until(lambda: httpx.get(f"{path}/callback").json()["status"] == "delivered")
    assert httpx.get(f"{path}/callback").json()["attempts"] == 2
    assert [one.headers["webhook-id"] for one in receiver.deliveries] == [job_id, job_id]
    for delivery in receiver.deliveries:
        assert verify_webhook(delivery.body, delivery.headers, SECRET).id == job_id
        assert delivery.body == httpx.get(path).content
    assert "Traceback" not in other.log.read_text()


def test_every_job_calls_back_though_gateways_and_redis_are_killed_meanwhile(
    gateways: Gateways, server: RedisServer, receiver: WebhookReceiver
) -> None:
    one, other = gateways
    receiver.usual = Answer(204, hold_s=0.1)
    accepted = [submit(gateway, receiver) for _ in range(30) for gateway in gateways]
    for gateway in gateways:
        gateway.signal(signal.SIGSTOP)
    with connect_redis(server.url) as redis:
        worker = FakeWorker(redis, lambda sha256: a_result(sha256=sha256))
        for _ in accepted:
            assert worker.finish(worker.take() or "")
    for gateway in gateways:
        gateway.signal(signal.SIGCONT)
    receiver.wait_for(10)
    one.signal(signal.SIGKILL)
    receiver.wait_for(20)
    server.kill()
    time.sleep(0.3)
    server.start()
    until(lambda: times_by_id(receiver).keys() == set(accepted), 30)
    times = times_by_id(receiver)
    repeated = sum(count - 1 for count in times.values())
    print(f"{len(times)} of {len(accepted)} jobs called back, {repeated} of them again")
    # A killed gateway has at most eight in hand for one receiver, and so has a killed Redis' one.
    assert repeated <= 16
    assert "Traceback" not in other.log.read_text()
