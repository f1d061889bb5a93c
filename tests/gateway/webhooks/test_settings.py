import base64
from pathlib import Path

import pytest

from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.settings import load_settings

SECRET = "whsec_" + base64.b64encode(b"planted-planted-planted-planted!").decode()


@pytest.fixture(autouse=True)
def _redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **settings: str
) -> str:
    for name, value in settings.items():
        monkeypatch.setenv(f"TBSCREEN_{name}", value)
    with pytest.raises(SystemExit):
        load_settings(GatewaySettings, program="gateway")
    return capsys.readouterr().err


def test_without_a_secret_there_are_no_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for secret in (None, "", " "):
        if secret is not None:
            monkeypatch.setenv("TBSCREEN_WEBHOOK_SECRET", secret)
            monkeypatch.setenv("TBSCREEN_WEBHOOK_SECRET_FILE", "")
            monkeypatch.setenv("TBSCREEN_CALLBACK_CA_FILE", "")
        settings = load_settings(GatewaySettings, program="gateway")
        assert settings.webhook_keys == ()
        assert not settings.callback_policy.enabled


def test_settings_are_read(monkeypatch: pytest.MonkeyPatch, ca_file: Path) -> None:
    for name, value in {
        "WEBHOOK_SECRET": f"{SECRET} {SECRET}",
        "CALLBACK_ALLOW": "pacs.lan,10.0.0.0/8",
        "CALLBACK_HTTP": "true",
        "CALLBACK_CA_FILE": str(ca_file),
        "CALLBACK_TIMEOUT_S": "3",
    }.items():
        monkeypatch.setenv(f"TBSCREEN_{name}", value)
    settings = load_settings(GatewaySettings, program="gateway")
    policy = settings.callback_policy
    assert (policy.enabled, policy.http_allowed) == (True, True)
    assert policy.allowed.hosts == {"pacs.lan"} and len(policy.allowed.networks) == 1
    assert len(settings.webhook_keys) == 2
    assert settings.callback_ca_file == ca_file
    assert "planted" not in repr(settings) and SECRET not in repr(settings)


def test_the_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv("TBSCREEN_WEBHOOK_SECRET_FILE", str(file))
    assert load_settings(GatewaySettings, program="gateway").webhook_keys == (
        b"planted-planted-planted-planted!",
    )


def test_a_wrong_setting_is_named_and_no_secret_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = refused(
        monkeypatch,
        capsys,
        WEBHOOK_SECRET="planted",
        CALLBACK_ALLOW="10.0.0.1/8",
        CALLBACK_DENY="10.0.0.2/8",
        CALLBACK_CA_FILE=__file__,
        CALLBACK_TIMEOUT_S="0",
    )
    assert "TBSCREEN_WEBHOOK_SECRET: " in said and "openssl rand -base64 32" in said
    assert "TBSCREEN_CALLBACK_ALLOW: " in said and "10.0.0.1/8" in said
    assert "TBSCREEN_CALLBACK_DENY: " in said and "10.0.0.2/8" in said
    assert "TBSCREEN_CALLBACK_CA_FILE: " in said and "PEM" in said
    assert "TBSCREEN_CALLBACK_TIMEOUT_S: " in said
    assert "planted" not in said


@pytest.mark.parametrize("content", [None, "", b"\xff\xfe"])
def test_a_secrets_file_that_holds_none_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    content: str | bytes | None,
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    said = refused(monkeypatch, capsys, WEBHOOK_SECRET_FILE=str(file))
    assert "TBSCREEN_WEBHOOK_SECRET: " in said and str(file) in said


def test_a_secret_and_a_file_are_one_too_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = refused(
        monkeypatch, capsys, WEBHOOK_SECRET=SECRET, WEBHOOK_SECRET_FILE=str(tmp_path / "secret")
    )
    assert "which one is meant" in said
