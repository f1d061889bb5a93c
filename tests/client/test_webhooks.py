import base64
import hashlib
import hmac
import time

import pytest

from support.http_gateway import running_gateway
from tbscreen import Client, InvalidWebhook, verify_webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(bytes(32)).decode()
BODY = b'{"id":"job-1","status":"succeeded","new":1}'


def signed(
    body: bytes = BODY, *secrets: str, at: float | str | None = None, job_id: str = "job-1"
) -> dict[str, str]:
    timestamp = str(int(time.time())) if at is None else str(at)
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets or (SECRET,)]
    digests = [
        hmac.digest(key, f"{job_id}.{timestamp}.".encode() + body, hashlib.sha256) for key in keys
    ]
    return {
        "Webhook-Id": job_id,
        "Webhook-Timestamp": timestamp,
        "Webhook-Signature": " ".join(f"v1,{base64.b64encode(it).decode()}" for it in digests),
    }


def test_a_webhook_of_the_gateway_brings_its_job() -> None:
    job = verify_webhook(BODY, signed(), SECRET)
    assert (job.id, job.status) == ("job-1", "succeeded")
    assert verify_webhook(BODY.decode(), signed(), SECRET.removeprefix("whsec_")) == job


def test_the_conventions_own_example_is_signed_as_it_says() -> None:
    # From its specification: the body is no job, and that is all that is wrong with it.
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    with pytest.raises(InvalidWebhook, match="holds no job"):
        verify_webhook(b'{"test": 2432232314}', headers, SECRET, tolerance_s=float("inf"))


def test_either_secret_is_enough_while_one_replaces_the_other() -> None:
    both = signed(BODY, OTHER, SECRET)
    for secret in (SECRET, OTHER, [SECRET, OTHER]):
        assert verify_webhook(BODY, both, secret).id == "job-1"
    assert verify_webhook(BODY, signed(BODY, OTHER), [SECRET, OTHER]).id == "job-1"
    with pytest.raises(InvalidWebhook):
        verify_webhook(BODY, signed(BODY, OTHER), SECRET)


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
def test_every_header_is_needed(name: str) -> None:
    headers = signed()
    del headers[name]
    with pytest.raises(InvalidWebhook, match=name.lower()):
        verify_webhook(BODY, headers, SECRET)


@pytest.mark.parametrize(
    "change",
    [
        {"Webhook-Id": "job-2"},
        {"Webhook-Timestamp": str(int(time.time()) - 60)},
        {"Webhook-Signature": ""},
        {"Webhook-Signature": "v1,"},
        {"Webhook-Signature": "v1,é"},
        {"Webhook-Signature": signed()["Webhook-Signature"].replace("v1,", "v2,")},
        {"Webhook-Signature": signed(b"{}")["Webhook-Signature"]},
    ],
)
def test_what_was_changed_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(InvalidWebhook, match="no signature is right"):
        verify_webhook(BODY, {**signed(), **change}, SECRET)
    with pytest.raises(InvalidWebhook, match="no signature is right"):
        verify_webhook(BODY + b"\n", signed(), SECRET)


@pytest.mark.parametrize("seconds", [-310, 310])
def test_an_old_webhook_is_no_webhook_nor_is_one_of_the_future(seconds: int) -> None:
    with pytest.raises(InvalidWebhook, match="within"):
        verify_webhook(BODY, signed(at=int(time.time()) + seconds), SECRET)
    assert verify_webhook(BODY, signed(at=int(time.time()) + seconds // 2), SECRET)


@pytest.mark.parametrize("timestamp", ["", "soon", "-1", "1e9", "٣"])
def test_a_timestamp_is_a_number_of_seconds(timestamp: str) -> None:
    with pytest.raises(InvalidWebhook, match="within"):
        verify_webhook(BODY, signed(at=timestamp), SECRET, tolerance_s=1e12)


@pytest.mark.parametrize("secret", ["", "whsec_", "not base64!", ["whsec_"]])
def test_a_secret_that_is_none_is_a_mistake_of_the_program(secret: str | list[str]) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        verify_webhook(BODY, signed(), secret)


def test_a_callback_url_goes_with_the_upload() -> None:
    with running_gateway() as gateway, Client(gateway.url) as client:
        client.submit(b"x", callback_url="https://pacs.example/in?a=b&c")
    assert gateway.calls == [
        "POST /v1/jobs?callback_url=https%3A%2F%2Fpacs.example%2Fin%3Fa%3Db%26c"
    ]
