import base64
import secrets
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tbscreen_gateway.webhooks.signing import parse_secrets, signature_headers

OLD, NEW = (f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}" for _ in range(2))
BODY = '{"id":"ä","status":"succeeded"}'.encode()


def signed(secret: str, body: bytes = BODY) -> dict[str, str]:
    return signature_headers(
        parse_secrets(secret), message_id="job-1", timestamp_s=int(time.time()), body=body
    )


def test_the_conventions_own_verifier_accepts_a_signature() -> None:
    assert Webhook(NEW).verify(BODY, signed(NEW)) == {"id": "ä", "status": "succeeded"}


def test_while_a_secret_is_replaced_both_verify() -> None:
    headers = signed(f"{NEW} {OLD}")
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (OLD, NEW):
        Webhook(secret).verify(BODY, headers)


@pytest.mark.parametrize(
    ("header", "value"), [("webhook-id", "job-2"), ("webhook-timestamp", str(int(time.time()) - 1))]
)
def test_what_is_signed_can_not_be_changed(header: str, value: str) -> None:
    headers = signed(NEW)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY, {**headers, header: value})
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY, headers)


def test_no_text_is_no_secret() -> None:
    assert parse_secrets("") == parse_secrets(" \n") == ()


@pytest.mark.parametrize(
    "text",
    [
        *("secret", OLD.removeprefix("whsec_"), "whsec_", "whsec_!!!!", "whsec_" + "A" * 28),
        *("whsec_" + "A" * 88, f"{NEW} short", f"{NEW},{OLD}"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="must be whsec_") as refused:
        parse_secrets(text)
    assert text.removeprefix("whsec_") not in str(refused.value) or text == "whsec_"


@pytest.mark.parametrize("length", [24, 64])
def test_a_secret_has_24_to_64_bytes(length: int) -> None:
    key = bytes(range(length))
    assert parse_secrets(f"whsec_{base64.b64encode(key).decode()}\n") == (key,)
