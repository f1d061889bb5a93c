import asyncio
import base64
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from support.blob_files import blob_files
from support.fake_worker import FakeWorker
from support.gateway_app import PNG, as_form, running_gateway
from support.webhook_receiver import Answer, WebhookReceiver, running_receiver
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.jobs import JobStore

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def calling(settings: GatewaySettings) -> GatewaySettings:
    """With a secret, and this machine as the only receiver beside the public ones."""
    return settings.model_copy(
        update={
            "webhook_secret": SecretStr(SECRET),
            "callback_allow": "127.0.0.1",
            "callback_http": True,
        }
    )


@pytest_asyncio.fixture
async def gateway(calling: GatewaySettings) -> AsyncIterator[httpx.AsyncClient]:
    async with running_gateway(calling) as client:
        yield client


async def submit(client: httpx.AsyncClient, callback_url: str) -> httpx.Response:
    params = {"callback_url": callback_url}
    return await client.post("/v1/jobs", params=params, files=as_form(PNG))


async def settled(client: httpx.AsyncClient, job_id: str) -> dict[str, object]:
    for _ in range(200):
        callback: dict[str, object] = (await client.get(f"/v1/jobs/{job_id}/callback")).json()
        if callback["status"] != "pending":
            return callback
        await asyncio.sleep(0.05)
    raise AssertionError(callback)


async def test_a_finished_job_is_sent_to_its_callback_url(
    gateway: httpx.AsyncClient, worker: FakeWorker, receiver: WebhookReceiver
) -> None:
    accepted = await submit(gateway, f"{receiver.url}/in?ward=7")
    assert accepted.status_code == 202
    job_id = accepted.json()["id"]
    before = (await gateway.get(f"/v1/jobs/{job_id}/callback")).json()
    assert (before["status"], before["attempts"], before["next_attempt_at"]) == ("pending", 0, None)
    worker.finish(worker.take() or "")
    finished = await gateway.get(f"/v1/jobs/{job_id}")
    callback = await settled(gateway, job_id)
    assert (callback["status"], callback["attempts"], callback["last_status"]) == (
        "delivered",
        1,
        204,
    )
    (delivery,) = receiver.deliveries
    assert delivery.path == "/in?ward=7"
    assert delivery.body == finished.content
    assert delivery.headers["webhook-id"] == job_id
    assert Webhook(SECRET).verify(delivery.body, delivery.headers)["id"] == job_id
    # That it was delivered changes nothing of the job.
    again = await gateway.get(f"/v1/jobs/{job_id}")
    assert again.headers["etag"] == finished.headers["etag"]


async def test_each_job_of_a_batch_is_sent_to_the_batchs_callback_url(
    gateway: httpx.AsyncClient, worker: FakeWorker, receiver: WebhookReceiver
) -> None:
    accepted = await gateway.post(
        "/v1/batches",
        params={"callback_url": f"{receiver.url}/in"},
        files=[("file", ("x", PNG)), ("file", ("x", b"a note")), ("file", ("x", PNG + b"2"))],
    )
    job_ids = [item["job_id"] for item in accepted.json()["items"] if item["job_id"]]
    assert len(job_ids) == 2
    for _ in job_ids:
        worker.finish(worker.take() or "")
    for job_id in job_ids:
        assert (await settled(gateway, job_id))["status"] == "delivered"
    assert {delivery.headers["webhook-id"] for delivery in receiver.deliveries} == set(job_ids)


async def test_a_retried_job_is_sent_to_the_first_ones_callback_url(
    gateway: httpx.AsyncClient, jobs: JobStore, worker: FakeWorker, receiver: WebhookReceiver
) -> None:
    job_id = (await submit(gateway, receiver.url)).json()["id"]
    worker.take()
    for _ in range(4):
        jobs.claim(job_id, worker="w", lost_worker="w")
    await asyncio.to_thread(receiver.wait_for, 1)
    retried = (await gateway.post(f"/v1/jobs/{job_id}/retry")).json()["id"]
    worker.finish(worker.take() or "")
    assert (await settled(gateway, retried))["status"] == "delivered"
    assert [one.headers["webhook-id"] for one in receiver.deliveries] == [job_id, retried]


async def test_a_batch_with_a_callback_that_may_not_be_is_refused_unread(
    gateway: httpx.AsyncClient, calling: GatewaySettings
) -> None:
    answer = await gateway.post(
        "/v1/batches?callback_url=https://10.0.0.1/", files={"file": ("x", PNG)}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "callback_not_allowed")
    assert blob_files(calling.blobs_dir) == []


async def test_a_canceled_job_calls_back_and_an_erased_one_does_not(
    gateway: httpx.AsyncClient, receiver: WebhookReceiver
) -> None:
    receiver.usual = Answer(500)
    job_id = (await submit(gateway, receiver.url)).json()["id"]
    await gateway.delete(f"/v1/jobs/{job_id}")
    await asyncio.to_thread(receiver.wait_for, 1)
    assert b'"status":"canceled"' in receiver.deliveries[0].body
    assert (await gateway.delete(f"/v1/jobs/{job_id}")).status_code == 204
    answer = await gateway.get(f"/v1/jobs/{job_id}/callback")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_a_job_without_a_callback_url_has_no_callback(gateway: httpx.AsyncClient) -> None:
    job_id = (await gateway.post("/v1/jobs", files=as_form(PNG))).json()["id"]
    answer = await gateway.get(f"/v1/jobs/{job_id}/callback")
    assert (answer.status_code, answer.json()["code"]) == (404, "callback_not_found")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "invalid_request"),
        ("nonsense", "invalid_request"),
        ("https://user:planted@example.org/", "invalid_request"),
        ("https://example.org/#x", "invalid_request"),
        (f"https://example.org/{'x' * 2048}", "invalid_request"),
        ("https://10.0.0.1/", "callback_not_allowed"),
        ("https://0x7f.2/", "callback_not_allowed"),
        ("https://localhost/", "callback_not_allowed"),
        ("http://169.254.169.254/latest/meta-data/", "callback_not_allowed"),
    ],
)
async def test_a_url_that_callbacks_may_not_go_to_is_refused_before_the_upload_is_read(
    gateway: httpx.AsyncClient, calling: GatewaySettings, url: str, code: str
) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    answer = await gateway.post(
        "/v1/jobs",
        params={"callback_url": url},
        content=body(),
        headers={"Content-Type": "multipart/form-data; boundary=e"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert "planted" not in answer.text
    assert blob_files(calling.blobs_dir) == []


async def test_without_a_secret_no_callback_is_taken(client: httpx.AsyncClient) -> None:
    answer = await submit(client, "https://example.org/")
    assert (answer.status_code, answer.json()["code"]) == (422, "callback_not_allowed")
    assert "secret" in answer.json()["detail"]


async def test_a_repeat_with_another_url_is_told_that_it_changes_nothing(
    gateway: httpx.AsyncClient, worker: FakeWorker, receiver: WebhookReceiver
) -> None:
    first, second, repeat = [
        await gateway.post(
            "/v1/jobs",
            params={"callback_url": f"{receiver.url}/{path}"},
            files=as_form(PNG),
            headers={"Idempotency-Key": "k"},
        )
        for path in ("first", "second", "first")
    ]
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_conflict")
    assert repeat.headers["idempotency-replayed"] == "true"
    worker.finish(worker.take() or "")
    await settled(gateway, first.json()["id"])
    assert [delivery.path for delivery in receiver.deliveries] == ["/first"]


async def test_callbacks_are_counted(
    gateway: httpx.AsyncClient, worker: FakeWorker, receiver: WebhookReceiver
) -> None:
    receiver.answers += [Answer(), Answer(500)]
    ids = [(await submit(gateway, receiver.url)).json()["id"] for _ in range(2)]
    worker.finish(worker.take() or "")
    await settled(gateway, ids[0])
    worker.finish(worker.take() or "")
    expected = (
        "tbscreen_callbacks_pending 1.0",
        'tbscreen_callbacks_total{outcome="delivered"} 1.0',
        'tbscreen_callbacks_total{outcome="retry"} 1.0',
    )
    for _ in range(100):
        text = (await gateway.get("/metrics")).text
        if all(line in text for line in expected):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(text)


async def test_the_document_says_what_receivers_are_sent(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    submission = document["paths"]["/v1/jobs"]["post"]
    assert "callback_url" in [parameter["name"] for parameter in submission["parameters"]]
    (requests,) = submission["callbacks"].values()
    sent = requests["{$request.query.callback_url}"]["post"]
    assert {header["name"] for header in sent["parameters"]} == {
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    }
    assert sent["requestBody"]["content"]["application/json"]["schema"]
