import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from support.audit_entries import (
    BEGINNING,
    check_chain,
    lines_of,
    many,
    open_log,
    told,
    waiting,
)
from tbscreen_gateway.audit_files import AuditLogError
from tbscreen_gateway.audit_log import BATCH, AuditLog
from tbscreen_shared.audit import EMPTY, Head, digest, is_signed, log_files
from tbscreen_shared.jobs import Waiting


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Every file of this process: beyond it a write fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_entries_are_written_in_a_chain_for_the_owner_alone(directory: Path) -> None:
    log = open_log(directory)
    assert log.head == EMPTY
    log.append(many([1, 2]))
    head = log.append(many([3]))
    assert told(directory) == [1, 2, 3]
    check_chain(directory)
    (file,) = log_files(directory)
    assert head == Head(3, digest(file.read_bytes().splitlines()[-1]))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (directory, file, directory / "lock")]
    assert modes == [0o700, 0o600, 0o600]


def test_a_log_goes_on_where_it_ended(directory: Path) -> None:
    log = open_log(directory)
    head = log.append(many([1, 2]))
    log.close()
    again = open_log(directory, head)
    assert again.head == head
    again.append(many([3]))
    assert told(directory) == [1, 2, 3]
    check_chain(directory)


def test_one_process_has_the_folder(directory: Path) -> None:
    first, second = AuditLog(directory), AuditLog(directory)
    assert first.try_lock()
    assert first.try_lock()
    assert not second.try_lock()
    first.close()
    assert second.try_lock()


def test_lines_are_signed_where_there_is_a_key(directory: Path) -> None:
    log = AuditLog(directory, key=b"key")
    assert log.try_lock()
    log.begin(None)
    log.append(many([1, 2]))
    (file,) = log_files(directory)
    assert all(is_signed(line, b"key") for line in file.read_bytes().splitlines())
    check_chain(directory)


def test_a_file_that_is_long_enough_and_last_months_are_followed_by_another(
    directory: Path,
) -> None:
    log = open_log(directory, max_file_bytes=1000)
    for seq in range(1, 7):
        log.append(many([seq]))
    log.append([waiting(7, at=BEGINNING + timedelta(days=20))])
    log.append([waiting(8, at=BEGINNING)])
    names = [file.name for file in log_files(directory)]
    assert names == [f"audit-{number:06}.jsonl" for number in (1, 2, 3)]
    assert told(directory) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(file.stat().st_size <= 1000 for file in log_files(directory))
    check_chain(directory)
    log.close()
    open_log(directory, log.head, max_file_bytes=1000).append(many([9]))
    check_chain(directory)


@pytest.mark.parametrize("rotates", [False, True])
def test_what_a_crash_left_in_the_stream_is_written_once(directory: Path, rotates: bool) -> None:
    options = {"max_file_bytes": 300} if rotates else {}
    log = open_log(directory, **options)
    acknowledged = log.append(many(range(1, 4)))
    log.append(many(range(4, 4 + BATCH)))  # and then it died before it said so
    log.close()
    again = open_log(directory, acknowledged, **options)
    again.append(many(range(4, 4 + BATCH)))
    again.append(many([4 + BATCH]))
    assert told(directory) == list(range(1, 5 + BATCH))
    assert len(log_files(directory)) == (3 if rotates else 1)


@pytest.mark.parametrize(
    "torn", [b'{"seq":3,"at":"2026', b"\0" * 300, b"\0" * 100 + b"\n" + b'{"seq":5}\n']
)
def test_a_half_written_end_is_removed_and_written_again(directory: Path, torn: bytes) -> None:
    log = open_log(directory)
    acknowledged = log.append(many([1, 2]))
    log.close()
    with (directory / "audit-000001.jsonl").open("ab") as stream:
        stream.write(torn)
    again = open_log(directory, acknowledged)
    again.append(many([3]))
    assert told(directory) == [1, 2, 3]
    check_chain(directory)


def test_a_half_written_end_is_removed_though_nothing_was_ever_acknowledged(
    directory: Path,
) -> None:
    directory.mkdir()
    (directory / "audit-000001.jsonl").write_bytes(b'{"seq":1,"at"')
    log = open_log(directory)
    log.append(many([1]))
    assert told(directory) == [1]


def test_a_redis_that_is_set_back_is_told_in_the_log(directory: Path) -> None:
    log = open_log(directory)
    head = log.append(many(range(1, 11)))
    # The backup was made after 6, while 5 and 6 waited; they are in the log already.
    later = [waiting(seq, event="erased", at=BEGINNING + timedelta(hours=1)) for seq in (7, 8)]
    log.append(many([5, 6]) + later)
    assert told(directory) == [*range(1, 11), "sequence_set_back", 7, 8]
    note = lines_of(directory)[10]
    assert note.details == {"ended_seq": 10, "to": 7}
    assert [line.event for line in lines_of(directory)[11:]] == ["erased", "erased"]
    check_chain(directory)
    assert head.seq == 10 and log.head.seq == 8


def test_what_does_not_fit_on_the_disk_is_not_half_written(directory: Path) -> None:
    log = open_log(directory)
    head = log.append(many([1, 2]))
    before = (directory / "audit-000001.jsonl").read_bytes()
    with files_limited_to(len(before) + 500), pytest.raises(AuditLogError, match="too large"):
        log.append(many(range(3, 50)))
    assert (directory / "audit-000001.jsonl").read_bytes() == before
    assert log.head == head
    log.append(many(range(3, 50)))
    assert told(directory) == list(range(1, 50))
    check_chain(directory)


def test_lines_are_on_the_disk_before_they_are_reported_written(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, int]] = []
    sync = os.fsync

    def note(file: int) -> None:
        found = os.fstat(file)
        synced.append((stat.S_ISDIR(found.st_mode), found.st_size))
        sync(file)

    monkeypatch.setattr(os, "fsync", note)
    log = open_log(directory)
    log.append(many([1, 2]))
    size = (directory / "audit-000001.jsonl").stat().st_size
    assert [(False, size)] == [one for one in synced if not one[0]]
    assert any(is_directory for is_directory, _ in synced), "a new file's name as well"
    log.append(many([3]))
    assert synced[-1] == (False, (directory / "audit-000001.jsonl").stat().st_size)


def test_a_new_file_that_does_not_fit_is_tried_again(directory: Path) -> None:
    log = open_log(directory, max_file_bytes=100)
    log.append(many([1]))
    with files_limited_to(10), pytest.raises(AuditLogError):
        log.append(many([2]))
    log.append(many([2]))
    assert told(directory) == [1, 2]
    assert len(log_files(directory)) == 2
    log.close()
    open_log(directory, log.head, max_file_bytes=100).append(many([3]))
    check_chain(directory)


def test_a_log_that_another_writes_to_is_left_alone(directory: Path) -> None:
    log = open_log(directory)
    log.append(many([1]))
    with (directory / "audit-000001.jsonl").open("ab") as stream:
        stream.write(b"another's\n")
    with pytest.raises(AuditLogError, match="changed by another process"):
        log.append(many([2]))


def test_a_log_that_was_taken_away_is_not_begun_anew_in_silence(directory: Path) -> None:
    log = open_log(directory)
    head = log.append(many([1]))
    (directory / "audit-000001.jsonl").unlink()
    with pytest.raises(AuditLogError, match="No such file"):
        log.append(many([2]))
    log.begin(head)
    log.append(many([2]))
    assert told(directory) == ["log_differs", 2]


def test_what_is_no_entry_is_told_as_such(directory: Path) -> None:
    log = open_log(directory)
    log.append([waiting(1), Waiting("99-0", None), waiting(2)])
    assert told(directory) == [1, "unreadable_entry", 2]
    assert lines_of(directory)[1].details == {"stream_id": "99-0"}


def test_a_folder_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditLogError, match="Not a directory"):
        AuditLog(tmp_path / "file" / "audit").try_lock()


def test_a_damaged_line_does_not_keep_the_log_from_going_on(directory: Path) -> None:
    log = open_log(directory)
    log.append(many([1, 2]))
    log.close()
    with (directory / "audit-000001.jsonl").open("ab") as stream:
        stream.write(b"damaged\n")
    again = open_log(directory, None)
    again.append(many([3]))
    lines = (directory / "audit-000001.jsonl").read_bytes().splitlines()
    assert lines[2] == b"damaged"
    assert digest(lines[2]).encode() in lines[3]
    assert len(lines) == 4
