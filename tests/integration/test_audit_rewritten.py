"""`tbscreen audit verify` on logs that were written anew, with and without a key."""

from pathlib import Path

import pytest

from support.audit_entries import waiting
from support.audit_logs import audit, go_on, write_log
from support.http_gateway import running_gateway
from tbscreen_gateway.audit_log import AuditLog
from tbscreen_shared.audit import digest

KEY = b"a key of the audit log"


def forge_log(directory: Path, count: int) -> None:
    """A log of other entries: the gateway's own code makes a chain without a fault."""
    log = AuditLog(directory)
    assert log.try_lock()
    log.begin(None)
    log.append([waiting(seq, event="erased") for seq in range(1, count + 1)])
    log.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def lines_of(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def test_a_chain_made_anew_shows_by_an_anchor_or_a_key(directory: Path) -> None:
    head = write_log(directory, key=KEY)
    key_file = directory.parent / "key"
    key_file.write_bytes(KEY + b"\n")
    whole = audit("verify", directory, "--key-file", key_file)
    assert whole.exit_code == 0
    assert "10 signed with the key" in whole.stdout
    (directory / "audit-000001.jsonl").unlink()
    write_log(directory)
    assert audit("verify", directory).exit_code == 0
    assert audit("verify", directory, "--anchor", head.sha256).exit_code == 1
    unsigned = audit("verify", directory, "--key-file", key_file)
    assert unsigned.exit_code == 1
    assert "no line is signed with this key" in unsigned.stdout


@pytest.mark.parametrize("key", [None, KEY])
def test_a_chain_made_anew_and_longer_shows_once_the_log_goes_on(
    directory: Path, key: bytes | None
) -> None:
    head = write_log(directory, key=key)
    (directory / "audit-000001.jsonl").unlink()
    forge_log(directory, count=12)
    assert audit("verify", directory).exit_code == 0, "the chain alone can not tell"
    ended = go_on(directory, head, [11, 12], key=key)
    with running_gateway() as gateway:
        gateway.audit_sha256 = ended.sha256
        for options in ((), ("--url", gateway.url)):
            result = audit("verify", directory, *options)
            assert result.exit_code == 1
            assert f"the log had ended with entry 10 and the hash {head.sha256}" in result.stdout
    if key is not None:
        key_file = directory.parent / "key"
        key_file.write_bytes(key)
        assert "line 1: this and all up to audit-000001.jsonl, line 12 are not signed" in (
            audit("verify", directory, "--key-file", key_file).stdout
        )


def test_what_is_older_than_the_key_counts_only_up_to_the_line_that_is_named(
    directory: Path,
) -> None:
    head = write_log(directory, count=3)
    go_on(directory, head, [4, 5], key=KEY)
    key_file = directory.parent / "key"
    key_file.write_bytes(KEY)
    unnamed = audit("verify", directory, "--key-file", key_file)
    assert unnamed.exit_code == 1
    assert "line 1: this and all up to audit-000001.jsonl, line 3 are not" in unnamed.stdout
    file = directory / "audit-000001.jsonl"
    earlier = digest(lines_of(file)[1].rstrip())
    named = ("--key-file", key_file, "--unsigned-until")
    assert audit("verify", directory, *named, earlier).exit_code == 1
    assert audit("verify", directory, *named, "0" * 64).exit_code == 1
    assert audit("verify", directory, *named, "nonsense").exit_code == 2
    whole = audit("verify", directory, *named, head.sha256)
    assert whole.exit_code == 0
    assert "3 signed with the key" in whole.stdout
    assert f"before it the log ended with entry 3 and the hash {head.sha256}" in whole.stdout
    lines = lines_of(file)
    mac = lines[5].index(b',"mac"')
    file.write_bytes(b"".join(lines[:5]) + lines[5][:mac] + b"}\n")
    result = audit("verify", directory, *named, head.sha256)
    assert result.exit_code == 1
    assert "line 6: it is not signed with this key" in result.stdout
