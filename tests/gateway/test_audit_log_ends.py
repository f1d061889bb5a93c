"""What the audit log's writer says of a log that does not end as it did."""

from pathlib import Path

import pytest

from support.audit_entries import check_chain, lines_of, many, open_log, told, waiting
from tbscreen_gateway import audit_files
from tbscreen_gateway.audit_log import BATCH, AuditLog
from tbscreen_shared.audit import GENESIS, digest, is_signed, log_files, write_line


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def test_lines_cut_from_the_end_are_told_once_when_the_log_goes_on(directory: Path) -> None:
    log = open_log(directory)
    head = log.append(many(range(1, 6)))
    log.close()
    (file,) = log_files(directory)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:3]))
    again = open_log(directory, head)
    again.append(many([6]))
    assert told(directory) == [1, 2, 3, "log_differs", 6]
    assert lines_of(directory)[3].details == {"ended_seq": 5, "ended_sha256": head.sha256}
    check_chain(directory)
    again.close()
    open_log(directory, again.head)
    assert told(directory).count("log_differs") == 1


def write_anew(file: Path, count: int, *, prev: str = GENESIS) -> None:
    """What anyone can do who has the folder: a chain of their own, in which nothing is missing."""
    lines = []
    for one in many(range(1, count + 1)):
        assert one.entry is not None
        lines.append(write_line(one.entry.model_copy(update={"event": "erased"}), prev, None))
        prev = digest(lines[-1])
    file.write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize("harm", ["removed", "changed", "replaced", "longer", "continued"])
def test_a_log_that_ends_otherwise_is_told(directory: Path, harm: str) -> None:
    log = open_log(directory)
    head = log.append(many([1, 2]))
    log.close()
    (file,) = log_files(directory)
    if harm == "removed":
        file.unlink()
    elif harm == "changed":
        file.write_bytes(file.read_bytes().replace(b"job-2", b"job-9"))
    elif harm == "replaced":
        file.write_bytes(b"")
    elif harm == "longer":
        write_anew(file, 600)
    else:
        # It says that it goes on after the line that is gone.
        write_anew(file, 3, prev=head.sha256)
    open_log(directory, head)
    assert told(directory)[-1] == "log_differs"


@pytest.mark.parametrize("options", [{}, {"max_file_bytes": 20_000}])
def test_a_redis_that_was_set_back_is_told_apart_from_a_log_that_was_changed(
    directory: Path, options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_files, "_TAIL_BYTES", 100_000)
    log = open_log(directory, **options)
    long_ago = log.append(many(range(1, 4)))
    for first in range(4, 1000, BATCH):
        log.append(many(range(first, first + BATCH)))
    log.close()
    again = open_log(directory, long_ago, **options)
    assert "log_differs" not in told(directory)
    again.append([waiting(4, event="erased")])
    assert told(directory)[-2:] == ["sequence_set_back", 4]


def test_a_key_that_comes_later_is_told_once(directory: Path) -> None:
    log = open_log(directory)
    head = log.append(many([1, 2]))
    log.close()
    for seq in (3, 4):
        log = AuditLog(directory, key=b"key")
        assert log.try_lock()
        log.begin(head)
        head = log.append(many([seq]))
        log.close()
    assert told(directory) == [1, 2, "signing_began", 3, 4]
    lines = (directory / "audit-000001.jsonl").read_bytes().splitlines()
    assert [is_signed(line, b"key") for line in lines] == [False, False, True, True, True]
    assert lines_of(directory)[2].details == {"ended_seq": 2, "ended_sha256": digest(lines[1])}
    check_chain(directory)
