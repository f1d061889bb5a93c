"""Checks that a webhook comes from the gateway: for the receiver of a `callback_url`."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from tbscreen.errors import InvalidWebhook
from tbscreen.models import Job

TOLERANCE_S: Final = 300.0
"""How old a webhook may be, or how far ahead its sender's clock: what is older may be a replay."""

_SCHEME: Final = "v1,"


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance_s: float = TOLERANCE_S,
) -> Job:
    """Returns the job that a webhook brings, if the gateway has sent it and lately.

    The same job may come more than once: keep its `id`, and answer a repeat with 200 as well.

    Args:
        body: the request's body, exactly as it came; not parsed and written again.
        headers: the request's headers, their names in any case.
        secret: the gateway's TBSCREEN_WEBHOOK_SECRET; several while one replaces another.
        tolerance_s: how far the webhook's time may be from now, in seconds.

    Raises:
        InvalidWebhook: a header is missing, no signature is right, or it is too old or too new.
        ValueError: a secret is not `whsec_` and base64.
    """
    content = body.encode() if isinstance(body, str) else body
    keys = [_key_of(one) for one in ([secret] if isinstance(secret, str) else secret)]
    by_name = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp, signatures = (
            by_name[f"webhook-{name}"] for name in ("id", "timestamp", "signature")
        )
    except KeyError as error:
        raise InvalidWebhook(f"the header {error} is missing") from None
    signed = f"{message_id}.{timestamp}.".encode() + content
    if not _is_signed(signed, signatures, keys):
        raise InvalidWebhook("no signature is right")
    # The signature first: only what it covers is worth a look.
    is_number = timestamp.isascii() and timestamp.isdecimal()
    if not is_number or abs(time.time() - int(timestamp)) > tolerance_s:
        raise InvalidWebhook(f"it was not sent within the last {tolerance_s:g} s")
    try:
        return Job.model_validate_json(content)
    except ValidationError as error:
        raise InvalidWebhook("it is signed, but holds no job") from error


def _is_signed(signed: bytes, signatures: str, keys: Sequence[bytes]) -> bool:
    given = [
        signature.removeprefix(_SCHEME).encode()
        for signature in signatures.split(" ")
        if signature.startswith(_SCHEME)
    ]
    right = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys]
    matches = [hmac.compare_digest(one, other) for one in given for other in right]
    return any(matches)


def _key_of(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("a webhook's secret is whsec_ and its bytes in base64")
    return key
