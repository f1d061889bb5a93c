"""Signatures by the Standard Webhooks convention, so that receivers verify with any library of it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

_PREFIX: Final = "whsec_"
_MIN_BYTES: Final = 24
_MAX_BYTES: Final = 64


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """Returns the signing keys, none for an empty text.

    Args:
        text: `whsec_` and 24 to 64 random bytes in base64; several while one replaces another,
            separated by white space.

    Raises:
        ValueError: one is something else; the message does not quote it.
    """
    return tuple(_parse(secret) for secret in text.split())


def signature_headers(
    keys: tuple[bytes, ...], *, message_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """Returns the headers that prove who sent the body, and when: a signature by each key.

    Args:
        keys: HMAC-SHA256 keys.
        message_id: the same whenever the same message is sent again; without a dot.
        timestamp_s: of this sending, seconds since the epoch.
        body: exactly as it is sent.
    """
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(it).decode()}" for it in digests),
    }


def _parse(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_PREFIX) or not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        raise ValueError(
            f"must be {_PREFIX} and {_MIN_BYTES} to {_MAX_BYTES} random bytes in base64, e.g. from "
            f'echo "{_PREFIX}$(openssl rand -base64 32)"'
        )
    return key
