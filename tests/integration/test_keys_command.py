"""`tbscreen keys`, and what a gateway makes of the file."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tbscreen.cli import app
from tbscreen_gateway.access.key_ring import KeyRing
from tbscreen_shared.access import ApiKey, Scope, read_keys

runner = CliRunner()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "private" / "api-keys.json"


def keys(file: Path, *arguments: object) -> Result:
    environment = {"TBSCREEN_API_KEYS_FILE": str(file), "COLUMNS": "200"}
    return runner.invoke(app, ["keys", *map(str, arguments)], env=environment)


def create(file: Path, *arguments: object, name: str = "PACS") -> tuple[ApiKey, str]:
    result = keys(file, "create", "--name", name, "--scope", "submit", *arguments)
    assert result.exit_code == 0, result.output
    return read_keys(file)[-1], result.stdout


def test_a_key_is_printed_once_alone_and_kept_as_its_hash(file: Path) -> None:
    result = keys(file, "create", "--name", "Ward 3", "--scope", "submit", "--scope", "read")
    token = result.stdout
    assert re.fullmatch(r"tbs_[0-9a-f]{12}_[0-9a-f]{64}\n", token)
    secret = token.strip().split("_")[2]
    assert "Ward 3 (read, submit), expires never" in result.stderr
    assert "not shown again" in result.stderr
    assert secret not in result.stderr and secret not in file.read_text()
    (kept,) = json.loads(file.read_text())["keys"]
    assert kept["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert file.stat().st_mode & 0o777 == 0o600
    assert secret not in keys(file, "list").output


def test_a_gateway_takes_it_and_what_becomes_of_it(file: Path) -> None:
    ring = KeyRing(file)
    made, token = create(file)
    assert ring.recognise(token.strip()) == made
    assert made.scopes == (Scope.SUBMIT,)
    assert keys(file, "revoke", made.id).exit_code == 0
    assert ring.find_valid(made.id) is None


def test_a_key_may_expire(file: Path) -> None:
    made, _ = create(file, "--expires-in-days", 90)
    assert made.expires_at == made.created_at + timedelta(days=90)
    assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=1)


def test_the_list_shows_each_keys_state_and_no_hash(file: Path) -> None:
    assert keys(file, "list").stderr == f"no keys in {file}\n"
    first, _ = create(file)
    second, _ = create(file, "--expires-in-days", 1, name="Ward 3")
    keys(file, "revoke", first.id)
    result = keys(file, "list")
    header, *rows = [re.split(r"\s{2,}", line) for line in result.stdout.splitlines()]
    assert header == ["ID", "STATE", "EXPIRES", "SCOPES", "NAME"]
    assert rows[0] == [first.id, "revoked", "never", "submit", "PACS"]
    assert rows[1][:2] == [second.id, "valid"]
    assert rows[1][2] == f"{second.expires_at:%Y-%m-%d %H:%MZ}"
    assert first.secret_sha256 not in result.output


def test_a_revoked_key_stays_revoked_as_of_when_it_was(file: Path) -> None:
    made, _ = create(file)
    keys(file, "revoke", made.id)
    (once,) = read_keys(file)
    assert keys(file, "revoke", made.id).exit_code == 0
    assert read_keys(file) == [once]


def test_rotation_leaves_both_valid_for_a_while(file: Path) -> None:
    ring = KeyRing(file)
    old, old_token = create(file, "--scope", "read", "--expires-in-days", 90)
    result = keys(file, "rotate", old.id, "--overlap-hours", 2)
    assert result.exit_code == 0, result.output
    left, new = read_keys(file)
    assert (left.id, left.secret_sha256) == (old.id, old.secret_sha256)
    assert left.expires_at is not None
    assert timedelta(hours=1, minutes=59) < left.expires_at - datetime.now(UTC)
    assert left.expires_at - datetime.now(UTC) <= timedelta(hours=2)
    assert (new.name, new.scopes) == (old.name, old.scopes)
    assert new.expires_at is not None
    assert new.expires_at - new.created_at == timedelta(days=90)
    assert ring.recognise(old_token.strip()) == left
    assert ring.recognise(result.stdout.strip()) == new


def test_rotation_never_lets_a_key_live_longer(file: Path) -> None:
    old, _ = create(file, "--expires-in-days", 1)
    keys(file, "rotate", old.id, "--overlap-hours", 100)
    assert read_keys(file)[0].expires_at == old.expires_at


def test_rotation_without_overlap_ends_the_old_one_at_once(file: Path) -> None:
    old, _ = create(file)
    keys(file, "rotate", old.id, "--overlap-hours", 0)
    assert KeyRing(file).find_valid(old.id) is None


def test_a_revoked_key_is_not_rotated(file: Path) -> None:
    old, _ = create(file)
    keys(file, "revoke", old.id)
    before = file.read_bytes()
    result = keys(file, "rotate", old.id)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is revoked" in result.stderr
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["revoke", "0" * 12], 1, "there is no key 000000000000"),
        (["rotate", "0" * 12], 1, "there is no key 000000000000"),
        (["create", "--name", "a", "--scope", "root"], 1, "a scope is one of submit, read, admin"),
        (["create", "--name", "a\nb", "--scope", "read"], 1, "name: "),
        (["create", "--name", "a"], 2, "--scope"),
        (["create", "--scope", "read"], 2, "--name"),
    ],
)
def test_a_mistake_is_a_line_and_changes_nothing(
    file: Path, arguments: list[str], code: int, said: str
) -> None:
    create(file)
    before = file.read_bytes()
    result = keys(file, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert file.read_bytes() == before


def test_a_damaged_file_is_told_and_left_alone(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("{")
    commands: list[list[Any]] = [["list"], ["revoke", "0" * 12], ["rotate", "0" * 12]]
    for arguments in [*commands, ["create", "--name", "a", "--scope", "read"]]:
        result = keys(file, *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{file} is damaged" in result.stderr
    assert file.read_text() == "{"
