"""The address of Redis, with all that its connections need to be encrypted and verified."""

import ssl
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis.connection import parse_url

_FORM: Final = "must be redis[s]://[[user]:password@]host[:port][/db]"


def complete_redis_url(
    url: str,
    *,
    ca_file: Path | None = None,
    certificate_file: Path | None = None,
    key_file: Path | None = None,
) -> str:
    """Returns the address as redis-py, redis.asyncio and kombu alike take it.

    All three read the options of TLS from its query, so that one string is enough for each of them.
    A rediss:// server is always verified, its host name too.

    Args:
        url: as the operator wrote it.
        ca_file: PEM file of the authorities that may have signed the server's certificate; None
            for the system's.
        certificate_file: PEM file of a client's certificate, for a server that asks for one.
        key_file: its private key.

    Raises:
        ValueError: it is no such address, or does not go with the files. The message does not
            quote it: it may hold a password.
    """
    try:
        parse_url(url)  # type: ignore[no-untyped-call]  # redis-py's
        parts = urlsplit(url)
    except ValueError:
        # Not the cause: it may quote a part of the URL, and that the password.
        raise ValueError(_FORM) from None
    options = parse_qsl(parts.query)
    if any(name.startswith("ssl") for name, _ in options):
        raise ValueError(
            f"{_FORM}; TLS is set by TBSCREEN_REDIS_CA_FILE, TBSCREEN_REDIS_CERTIFICATE_FILE and "
            "TBSCREEN_REDIS_KEY_FILE"
        )
    if (certificate_file is None) != (key_file is None):
        raise ValueError(
            "a client's certificate needs both TBSCREEN_REDIS_CERTIFICATE_FILE and "
            "TBSCREEN_REDIS_KEY_FILE"
        )
    if parts.scheme != "rediss":
        if ca_file or certificate_file:
            raise ValueError("must begin with rediss:// where certificates are given")
        return url
    _check_files(ca_file, certificate_file, key_file)
    options += [("ssl_cert_reqs", "required"), ("ssl_check_hostname", "true")]
    for name, file in (
        ("ssl_ca_certs", ca_file),
        ("ssl_certfile", certificate_file),
        ("ssl_keyfile", key_file),
    ):
        if file is not None:
            options.append((name, str(file)))
    return urlunsplit(parts._replace(query=urlencode(options)))


def _check_files(
    ca_file: Path | None, certificate_file: Path | None, key_file: Path | None
) -> None:
    context = ssl.create_default_context()
    try:
        if ca_file is not None:
            context.load_verify_locations(ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"TBSCREEN_REDIS_CA_FILE: {_reason(error)}") from None
    try:
        if certificate_file is not None:
            context.load_cert_chain(certificate_file, key_file, password=_no_password)
    except OSError as error:
        raise ValueError(
            f"TBSCREEN_REDIS_CERTIFICATE_FILE or TBSCREEN_REDIS_KEY_FILE: {_reason(error)}"
        ) from None


def _no_password() -> str:
    """Instead of a prompt at a terminal that a service does not have."""
    return ""


def _reason(error: OSError) -> str:
    return "no such PEM file" if isinstance(error, ssl.SSLError) else str(error.strerror)
