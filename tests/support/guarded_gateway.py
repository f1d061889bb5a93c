"""A second gateway of a running stack, which needs keys, as one published beyond this machine."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from support.compose import ComposeStack
from support.ports import free_port

# Beside the file of the stack's own gateway, which needs none.
_KEYS_FILE = "/var/lib/tbscreen/keys/e2e.json"
_CONTAINER = "tbscreen-e2e-guarded"


@dataclass(frozen=True)
class Guarded:
    """Where it answers, and a key that may submit and read."""

    url: str
    token: str

    @property
    def key_id(self) -> str:
        return self.token.split("_")[1]


def keys(stack: ComposeStack, *arguments: str) -> str:
    """Runs `tbscreen keys` on that gateway's keys, as the operator does."""
    environment = _environment({"TBSCREEN_API_KEYS_FILE": _KEYS_FILE})
    return stack.compose("run", "--rm", "-T", *environment, "admin", "keys", *arguments)


@contextmanager
def guarded_gateway(
    stack: ComposeStack, settings: Mapping[str, str] | None = None
) -> Iterator[Guarded]:
    """Starts one with a key of its own, and these settings beside the stack's."""
    everything = ("--scope", "submit", "--scope", "read")
    token = keys(stack, "create", "--name", "Ward 3", *everything).strip()
    port = free_port()
    environment = {
        "TBSCREEN_API_KEYS_FILE": _KEYS_FILE,
        "TBSCREEN_PUBLISHED_ON": "0.0.0.0",
        **(settings or {}),
    }
    stack.compose(
        *("run", "--detach", "--no-deps", "--name", _CONTAINER, *_environment(environment)),
        *("--publish", f"127.0.0.1:{port}:8000", "gateway"),
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while not _answers(url):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield Guarded(url, token)
    finally:
        subprocess.run(["docker", "rm", "--force", _CONTAINER], check=True, capture_output=True)


def _environment(settings: Mapping[str, str]) -> list[str]:
    return [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").is_success
    except httpx.TransportError:
        return False
