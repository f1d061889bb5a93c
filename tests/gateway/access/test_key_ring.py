"""Keys are made and revoked while the gateway runs."""

import logging
import shutil
from pathlib import Path

import httpx
import pytest

from support.api_keys import add_key, bearer, revoke
from tbscreen_gateway.access.key_ring import KeyRing
from tbscreen_shared.access import ApiKey, KeyFileError


async def status(gate: httpx.AsyncClient, token: str) -> int:
    return (await gate.get("/v1/models", headers=bearer(token))).status_code


async def test_a_new_key_opens_and_a_revoked_one_does_not_from_the_next_request(
    gate: httpx.AsyncClient, keys_file: Path, key: tuple[ApiKey, str]
) -> None:
    made, token = add_key(keys_file)
    assert await status(gate, token) == 200
    revoke(keys_file, made)
    assert await status(gate, token) == 401
    assert await status(gate, key[1]) == 200


@pytest.mark.parametrize("damage", ["cut", "gone", "folder", "unknown field", "empty"])
async def test_a_damaged_file_leaves_the_keys_as_they_were_and_is_told(
    gate: httpx.AsyncClient,
    keys_file: Path,
    key: tuple[ApiKey, str],
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = keys_file.read_text()
    keys_file.unlink()
    if damage == "folder":
        keys_file.mkdir()
    elif damage != "gone":
        keys_file.write_text(
            {"cut": whole[:-20], "empty": "", "unknown field": whole.replace("name", "nom")}[damage]
        )
    with caplog.at_level(logging.ERROR):
        assert [await status(gate, key[1]) for _ in range(3)] == [200, 200, 200]
    assert len([line for line in caplog.records if line.levelno == logging.ERROR]) == 1
    health = (await gate.get("/health", headers=bearer(key[1]))).json()
    assert health["status"] == "degraded"
    assert health["access"]["ok"] is False
    assert health["access"]["detail"].startswith("The API keys read before still hold: ")
    assert health["access"]["detail"] in health["problems"]
    assert (await gate.get("/health")).json()["status"] == "degraded"
    if damage == "folder":
        keys_file.rmdir()
    keys_file.write_text(whole)
    health = (await gate.get("/health", headers=bearer(key[1]))).json()
    assert health["access"]["ok"] is True


async def test_a_file_that_loses_every_key_leaves_none(
    gate: httpx.AsyncClient, keys_file: Path, key: tuple[ApiKey, str]
) -> None:
    keys_file.write_text('{"schema_version": 1, "keys": []}')
    assert await status(gate, key[1]) == 401


def test_a_file_that_is_made_later_is_read(tmp_path: Path) -> None:
    path = tmp_path / "api-keys.json"
    ring = KeyRing(path)
    assert (list(ring.keys()), ring.check()) == ([], None)
    made, token = add_key(path)
    assert ring.recognise(token) == made
    assert ring.find_valid(made.id) == made
    revoke(path, made)
    assert ring.find_valid(made.id) is None


def test_a_damaged_file_at_start_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "api-keys.json"
    path.write_text("{")
    with pytest.raises(KeyFileError):
        KeyRing(path)


def test_a_file_is_not_read_again_while_it_stays(tmp_path: Path) -> None:
    path = tmp_path / "api-keys.json"
    made, _ = add_key(path)
    ring = KeyRing(path)
    assert ring.keys()[0] is ring.keys()[0]
    shutil.copy(path, tmp_path / "copy.json")
    (tmp_path / "copy.json").replace(path)
    assert ring.keys() == [made]
    assert ring.keys()[0] is not made
