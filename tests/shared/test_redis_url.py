"""How a service is told where Redis is."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tbscreen_shared.settings import ProcessSettings, SharedSettings


def address(monkeypatch: pytest.MonkeyPatch, **environment: object) -> str:
    monkeypatch.delenv("REDIS_URL", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    return SharedSettings().redis_url.get_secret_value()


def test_it_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://gateway:hunter2@redis:6379/0\n")
    found = address(monkeypatch, REDIS_URL_FILE=tmp_path / "url")
    assert found == "redis://gateway:hunter2@redis:6379/0"


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({}, "is missing: set it, or REDIS_URL_FILE"),
        ({"REDIS_URL_FILE": "/nowhere"}, "REDIS_URL_FILE .*/nowhere"),
        ({"REDIS_URL": "redis://host", "REDIS_URL_FILE": "/nowhere"}, "which one"),
        ({"REDIS_URL": "amqp://:hunter2@host"}, "must be redis"),
        ({"REDIS_URL": "redis://:hunter2@host:port"}, "must be redis"),
        ({"REDIS_URL": "rediss://:hunter2@host?ssl_cert_reqs=none"}, "TBSCREEN_REDIS_CA_FILE"),
        (
            {"REDIS_URL": "redis://:hunter2@host", "TBSCREEN_REDIS_CA_FILE": __file__},
            "must begin with rediss://",
        ),
        (
            {"REDIS_URL": "rediss://:hunter2@host", "TBSCREEN_REDIS_CA_FILE": "/nowhere"},
            "TBSCREEN_REDIS_CA_FILE: No such file",
        ),
        (
            {"REDIS_URL": "rediss://:hunter2@host", "TBSCREEN_REDIS_CA_FILE": __file__},
            "TBSCREEN_REDIS_CA_FILE: no such PEM file",
        ),
        (
            {"REDIS_URL": "rediss://:hunter2@host", "TBSCREEN_REDIS_KEY_FILE": "/nowhere"},
            "both TBSCREEN_REDIS_CERTIFICATE_FILE",
        ),
        (
            {
                "REDIS_URL": "rediss://:hunter2@host",
                "TBSCREEN_REDIS_CERTIFICATE_FILE": "/nowhere",
                "TBSCREEN_REDIS_KEY_FILE": "/nowhere",
            },
            "TBSCREEN_REDIS_KEY_FILE: No such file",
        ),
    ],
)
def test_what_is_wrong_is_named_and_no_password_shown(
    environment: dict[str, str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match=complaint) as caught:
        address(monkeypatch, **environment)
    [error] = caught.value.errors()
    assert "hunter2" not in error["msg"]


def test_an_encrypted_one_is_always_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    found = address(monkeypatch, REDIS_URL="rediss://gateway:hunter2@redis/0")
    assert found == (
        "rediss://gateway:hunter2@redis/0?ssl_cert_reqs=required&ssl_check_hostname=true"
    )


def test_who_only_handles_models_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert ProcessSettings().log_format == "json"
