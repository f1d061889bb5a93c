import base64
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.webhook_receiver import WebhookReceiver, running_receiver

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(tmp_path_factory.mktemp("ca")) / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """What a receiver named pacs.example, or called by its loopback address, proves itself with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pacs.example", "127.0.0.1").configure_cert(context)
    return context
