"""Entries as they come from the audit stream, and logs of them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tbscreen_gateway.audit_log import AuditLog
from tbscreen_shared.audit import GENESIS, AuditEntry, AuditLine, Head, digest, log_files, read_line
from tbscreen_shared.jobs import Waiting

BEGINNING = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def waiting(seq: int, *, event: str = "accepted", at: datetime | None = None) -> Waiting:
    fields = {
        "seq": seq,
        "at": at or BEGINNING + timedelta(seconds=seq),
        "event": event,
        "job": f"job-{seq}",
        "sha256": f"{seq:064x}",
    }
    return Waiting(f"{seq}-0", AuditEntry.model_validate(fields))


def many(seqs: Iterable[int]) -> list[Waiting]:
    return [waiting(seq) for seq in seqs]


def lines_of(directory: Path) -> list[AuditLine]:
    return [
        read_line(line) for file in log_files(directory) for line in file.read_bytes().splitlines()
    ]


def told(directory: Path) -> list[int | str]:
    """The numbers of a log's entries in order, and the events of the writer's own lines."""
    return [line.event if line.seq is None else line.seq for line in lines_of(directory)]


def check_chain(directory: Path) -> None:
    """Fails where a line does not name the one before."""
    prev = GENESIS
    for file in log_files(directory):
        for line in file.read_bytes().splitlines():
            assert f'"prev":"{prev}"'.encode() in line
            prev = digest(line)


def open_log(
    directory: Path, acknowledged: Head | None = None, *, max_file_bytes: int = 2**25
) -> AuditLog:
    """The log as its one writer has it."""
    log = AuditLog(directory, max_file_bytes=max_file_bytes)
    assert log.try_lock()
    log.begin(acknowledged)
    return log
