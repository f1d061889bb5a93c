"""The audit log's files: one process appends to them, and believes nothing that is not synced."""

import fcntl
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tbscreen_gateway.audit_files import (
    AuditLogError,
    append_synced,
    cut,
    have_line,
    read_tail,
    without_torn,
)
from tbscreen_shared.audit import (
    EMPTY,
    LOG_DIFFERS,
    SET_BACK,
    SIGNING_BEGAN,
    UNREADABLE_ENTRY,
    AuditEntry,
    Head,
    digest,
    file_name,
    file_number,
    is_signed,
    log_files,
    read_line,
    write_line,
)
from tbscreen_shared.jobs import Waiting

logger = logging.getLogger(__name__)

BATCH: Final = 256
"""Entries that are written at once at most, with one sync."""

_MAX_FILE_BYTES: Final = 32 * 1024 * 1024
_LOCK: Final = "lock"


class AuditLog:
    """Files of lines in one folder, chained over the files' ends.

    Args:
        directory: made if it is not there, for this user alone.
        key: signs each line; None signs none.
        max_file_bytes: a file that has grown so long is followed by another, as is last month's.
    """

    def __init__(
        self, directory: Path, *, key: bytes | None = None, max_file_bytes: int = _MAX_FILE_BYTES
    ) -> None:
        self._directory = directory
        self._key = key
        self._max_file_bytes = max_file_bytes
        self._lock: int | None = None
        self._path = directory / file_name(1)
        self._size = 0
        self._month = ""
        self._recent: deque[str] = deque(maxlen=2 * BATCH)
        self.head = EMPTY

    def try_lock(self) -> bool:
        """Takes the folder for this process; False where another process has it.

        Raises:
            AuditLogError: the folder can not be used.
        """
        if self._lock is not None:
            return True
        with _described():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(lock)
                if isinstance(error, BlockingIOError):
                    return False
                raise
        self._lock = lock
        return True

    def begin(self, acknowledged: Head | None) -> None:
        """Finds the log's end, and removes what a crash left half written.

        Where the line is not there with which it ended when it was last written, a line says so:
        lines were removed or changed, or another log was put in its place. Where the last line is
        not signed with the key, the first that is says so.

        Args:
            acknowledged: where it ended when entries were last removed from the stream.

        Raises:
            AuditLogError: it can not be read or written.
        """
        with _described():
            files = log_files(self._directory) or [self._directory / file_name(1)]
            self._path = files[-1]
            lines = read_tail(self._path)
            whole = without_torn(lines, acknowledged)
            self._size = cut(self._path, sum(map(len, lines)) - sum(map(len, whole)))
            earlier = read_tail(files[-2]) if len(files) > 1 and len(whole) <= BATCH else []
            lines = [line.rstrip(b"\n") for line in earlier + whole]
            self._take_up(lines)
            notes = []
            if acknowledged is not None and not self._knows(acknowledged, lines):
                logger.error("the audit log does not end as it did", extra=acknowledged._asdict())
                notes.append(_note_end(LOG_DIFFERS, acknowledged))
            if self._key and lines and not is_signed(lines[-1], self._key):
                notes.append(_note_end(SIGNING_BEGAN, self.head))
        if notes:
            self._append(notes)

    def append(self, waiting: Sequence[Waiting]) -> Head:
        """Writes entries and syncs them; returns where the log ends now.

        Those that the log has already, since a gateway died before it could say so, are left out.
        Nothing is half written: where this fails, the log is as it was.

        Raises:
            AuditLogError: they can not be written: the disk is full, or the log was changed.
        """
        entries: list[AuditEntry] = []
        seq, recent = self.head.seq, set(self._recent)
        for one in waiting:
            entry = one.entry
            if entry is None or entry.seq is None:
                entries.append(_note(UNREADABLE_ENTRY, stream_id=one.id))
                continue
            if _text(entry) in recent:
                continue
            if entry.seq <= seq:
                entries.append(_note(SET_BACK, ended_seq=seq, to=entry.seq))
            entries.append(entry)
            seq = entry.seq
        if entries:
            self._append(entries)
        return self.head

    def close(self) -> None:
        """Gives the folder to other processes."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _append(self, entries: Sequence[AuditEntry]) -> None:
        head, lines = self.head, []
        for entry in entries:
            lines.append(write_line(entry, head.sha256, self._key))
            head = Head(entry.seq or head.seq, digest(lines[-1]))
        data = b"".join(line + b"\n" for line in lines)
        path, size, month = self._path, self._size, _month(entries[0])
        if size and (size + len(data) > self._max_file_bytes or month > self._month):
            path, size = self._directory / file_name(file_number(path) + 1), 0
        with _described():
            append_synced(path, size, data)
        self._path, self._size, self._month = path, size + len(data), month
        self.head = head
        self._recent.extend(map(_text, entries))

    def _knows(self, acknowledged: Head, last_lines: Iterable[bytes]) -> bool:
        """Tells whether the log has the line. A `prev` that names it is no line: anyone writes it.

        It is far from the end where Redis was set back to an older state.
        """
        if acknowledged == EMPTY or any(digest(it) == acknowledged.sha256 for it in last_lines):
            return True
        return have_line(log_files(self._directory), acknowledged.sha256)

    def _take_up(self, lines: Sequence[bytes]) -> None:
        """Takes the lines for the log's end."""
        entries = []
        for line in lines:
            with suppress(ValueError):
                entries.append(read_line(line).entry())
        seqs = [entry.seq for entry in entries if entry.seq is not None]
        self.head = Head(seqs[-1] if seqs else 0, digest(lines[-1])) if lines else EMPTY
        self._month = _month(entries[-1]) if entries else ""
        self._recent = deque(map(_text, entries), maxlen=2 * BATCH)


@contextmanager
def _described() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AuditLogError(f"The audit log can not be written: {error.strerror}.") from error


def _note(event: str, **details: str | int) -> AuditEntry:
    return AuditEntry.model_validate({"at": datetime.now(tz=UTC), "event": event, **details})


def _note_end(event: str, head: Head) -> AuditEntry:
    return _note(event, ended_seq=head.seq, ended_sha256=head.sha256)


def _text(entry: AuditEntry) -> str:
    return entry.model_dump_json(exclude_none=True)


def _month(entry: AuditEntry) -> str:
    return f"{entry.at:%Y-%m}"
