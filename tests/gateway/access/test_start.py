"""When the gateway starts without keys, and when it does not."""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from support.api_keys import add_key, bearer
from support.gateway_app import running_gateway
from support.gateway_process import gateway_process
from tbscreen_gateway.app import create_app
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.access import AuthMode, KeyFileError, NoKeyError


def test_within_reach_of_others_and_without_a_key_it_ends_and_says_how_to_make_one() -> None:
    clean = {name: value for name, value in os.environ.items() if "TBSCREEN" not in name}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tbscreen_gateway"],
        env={**clean, "REDIS_URL": "redis://localhost", "TBSCREEN_HOST": "0.0.0.0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("tbscreen_gateway: no valid API key, and one is needed")
    assert "tbscreen keys create --name NAME --scope submit --scope read --file" in done.stderr
    assert "TBSCREEN_API_KEYS_FILE" in done.stderr


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "0.0.0.0", "published_on": "0.0.0.0"},
        {"host": "127.0.0.1", "published_on": "192.0.2.7"},
        {"host": "0.0.0.0", "published_on": "127.0.0.1", "auth": AuthMode.ON},
        {"trusted_proxies": ("172.18.0.1",)},
        {"published_on": "127.0.0.1", "allowed_hosts": ("screening.clinic.example",)},
    ],
)
def test_what_counts_is_where_others_reach_it(
    settings: GatewaySettings, keys_file: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(NoKeyError):
        create_app(settings.model_copy(update={"api_keys_file": keys_file, **changes}))


def test_keys_that_can_not_be_read_are_no_reason_to_go_without(
    settings: GatewaySettings, tmp_path: Path
) -> None:
    path = tmp_path / "api-keys.json"
    path.write_text("{")
    with pytest.raises(KeyFileError):
        create_app(settings.model_copy(update={"api_keys_file": path}))


async def test_opened_on_purpose_it_starts_and_says_so(
    settings: GatewaySettings, caplog: pytest.LogCaptureFixture
) -> None:
    opened = settings.model_copy(update={"host": "0.0.0.0", "auth": AuthMode.OFF})
    with caplog.at_level(logging.WARNING):
        async with running_gateway(opened) as client:
            note = (await client.get("/health")).json()["access"]["note"]
    assert "other machines can reach 0.0.0.0: whoever gets there can use the gateway" in note
    assert note in caplog.messages


async def test_opened_on_purpose_behind_a_proxy_it_says_so(settings: GatewaySettings) -> None:
    opened = settings.model_copy(update={"auth": AuthMode.OFF, "trusted_proxies": ("172.18.0.1",)})
    async with running_gateway(opened) as client:
        note = (await client.get("/health")).json()["access"]["note"]
    assert "a proxy stands before it" in note


async def test_a_container_published_on_loopback_needs_no_key(settings: GatewaySettings) -> None:
    inside = settings.model_copy(update={"host": "0.0.0.0", "published_on": "127.0.0.1"})
    async with running_gateway(inside) as client:
        access = (await client.get("/health")).json()["access"]
        assert (access["keys_needed"], access["note"]) == (False, None)


async def test_keys_that_are_made_while_none_are_needed_are_told(
    settings: GatewaySettings, keys_file: Path
) -> None:
    started = settings.model_copy(update={"api_keys_file": keys_file})
    async with running_gateway(started) as client:
        add_key(keys_file)
        health = (await client.get("/health")).json()
        assert "asks for none until restarted" in health["access"]["note"]
        keys_file.unlink()
        health = (await client.get("/health")).json()
        assert (health["access"]["ok"], health["access"]["detail"]) == (True, None)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TBSCREEN_TRUSTED_PROXIES", " 10.0.0.0/8, ::1,")
    monkeypatch.setenv("TBSCREEN_ALLOWED_HOSTS", "")
    settings = GatewaySettings(redis_url=SecretStr("redis://localhost"))
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    assert settings.allowed_hosts == ()


@pytest.mark.parametrize("proxies", ["proxy", "*", "10.0.0.0/33"])
def test_proxies_are_addresses(monkeypatch: pytest.MonkeyPatch, proxies: str) -> None:
    monkeypatch.setenv("TBSCREEN_TRUSTED_PROXIES", proxies)
    with pytest.raises(ValidationError, match="must be addresses or networks"):
        GatewaySettings(redis_url=SecretStr("redis://localhost"))


def test_a_trusted_proxy_alone_is_believed_about_https_and_the_client(
    redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "api-keys.json"
    _, token = add_key(path)
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}

    def sign_in(url: str, address: str, headers: Mapping[str, str]) -> httpx.Response:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
            return client.post(f"{url}/v1/session", headers={**forwarded, **headers})

    settings = {"api_keys_file": str(path), "trusted_proxies": "127.0.0.2/32"}
    with gateway_process(redis_url, tmp_path, **settings) as gateway:
        by_proxy = sign_in(gateway.url, "127.0.0.2", bearer(token))
        assert by_proxy.headers["strict-transport-security"] == "max-age=31536000"
        assert "Secure" in by_proxy.headers["set-cookie"]
        by_another = sign_in(gateway.url, "127.0.0.1", bearer(token))
        assert "strict-transport-security" not in by_another.headers
        assert "Secure" not in by_another.headers["set-cookie"]
        for address in ("127.0.0.2", "127.0.0.1"):
            sign_in(gateway.url, address, bearer("tbs_wrong"))
        log = gateway.log.read_text()
        assert log.index('"client": "203.0.113.9"') < log.index('"client": "127.0.0.1"')
