from collections.abc import Iterator

import pytest

from support.http_gateway import GatewayState, running_gateway
from tbscreen import Client


@pytest.fixture
def gateway() -> Iterator[GatewayState]:
    with running_gateway() as state:
        yield state


@pytest.fixture
def client(gateway: GatewayState) -> Iterator[Client]:
    with Client(gateway.url, retry_for_s=5) as made:
        yield made
