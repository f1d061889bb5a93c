import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tbscreen_shared.access import ApiKey, KeyFileError, Scope, edited_keys, issue_key, read_keys


def make(name: str) -> ApiKey:
    return issue_key(name, [Scope.READ], now=datetime.now(UTC))[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "api-keys.json"


def test_no_file_is_not_an_empty_one(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_keys(path)
    with edited_keys(path) as keys:
        assert keys == []
    assert read_keys(path) == []


def test_what_was_written_is_read_and_only_the_owner_may(path: Path) -> None:
    key = make("PACS")
    with edited_keys(path) as keys:
        keys.append(key)
    assert read_keys(path) == [key]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_an_edit_that_fails_changes_nothing(path: Path) -> None:
    with edited_keys(path) as keys:
        keys.append(make("PACS"))
    before = path.read_bytes()
    with pytest.raises(RuntimeError), edited_keys(path) as keys:
        keys.clear()
        raise RuntimeError
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_two_editors_do_not_lose_each_others_change(path: Path) -> None:
    def add(number: int) -> None:
        with edited_keys(path) as keys:
            keys.append(make(f"key {number}"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in read_keys(path)} == {f"key {number}" for number in range(20)}


def test_a_reader_sees_the_old_file_or_the_new_one(path: Path) -> None:
    with edited_keys(path) as keys:
        keys.extend(make("first") for _ in range(200))
    counts = set()
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            counts.add(len(read_keys(path)))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        with edited_keys(path) as keys:
            keys.append(keys.pop())
    ended.set()
    reader.join()
    assert counts == {200}


def with_key(**changes: object) -> str:
    return json.dumps({"keys": [{**json.loads(make("PACS").model_dump_json()), **changes}]})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "damaged"),
        ("[]", "damaged"),
        (with_key()[:-9], "damaged"),
        (with_key(expire_at="2026-01-01T00:00:00Z"), "keys.0.expire_at: Extra inputs"),
        (with_key(scopes=["root"]), r"keys.0.scopes.0"),
        (with_key(secret_sha256="hunter2"), "keys.0.secret_sha256"),
        (with_key(expires_at="2026-01-01T00:00:00"), "keys.0.expires_at"),
        (json.dumps({"schema_version": 2, "keys": []}), "schema_version"),
        ("\x00\xff", "damaged"),
    ],
)
def test_a_damaged_file_is_told_without_quoting_it(path: Path, content: str, said: str) -> None:
    path.parent.mkdir()
    path.write_text(content, encoding="latin-1")
    with pytest.raises(KeyFileError, match=said) as caught:
        read_keys(path)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(KeyFileError), edited_keys(path) as keys:
        keys.clear()
    assert path.read_text(encoding="latin-1") == content


def test_one_id_is_one_key(path: Path) -> None:
    key = json.loads(make("PACS").model_dump_json())
    path.parent.mkdir()
    path.write_text(json.dumps({"keys": [key, key]}))
    with pytest.raises(KeyFileError, match="two keys have the same id"):
        read_keys(path)


def test_a_folder_in_its_place_is_told(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(KeyFileError, match="can not be read: Is a directory"):
        read_keys(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_the_file_to_the_one_it_belongs_to(path: Path) -> None:
    path.parent.mkdir()
    os.chown(path.parent, 10001, 10001)
    for _ in range(2):
        with edited_keys(path) as keys:
            keys.append(make("PACS"))
        assert path.stat().st_uid == 10001
    os.chown(path, 10002, 10002)
    with edited_keys(path) as keys:
        keys.clear()
    assert path.stat().st_uid == 10002
