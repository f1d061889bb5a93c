from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from support.api_keys import add_key
from support.gateway_app import running_gateway
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.access import ApiKey


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "api-keys.json"


@pytest.fixture
def key(keys_file: Path) -> tuple[ApiKey, str]:
    """One that may everything, and its token."""
    return add_key(keys_file, name="Ward 3")


@pytest.fixture
def guarded(settings: GatewaySettings, keys_file: Path, key: tuple[ApiKey, str]) -> GatewaySettings:
    return settings.model_copy(update={"api_keys_file": keys_file})


@pytest_asyncio.fixture
async def gate(guarded: GatewaySettings) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway that needs a key, and a client without one."""
    async with running_gateway(guarded) as client:
        yield client
