"""The audit log's files: one process appends to them, and believes nothing that is not synced."""

import fcntl
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tbscreen_shared.audit import (
    EMPTY,
    LOG_DIFFERS,
    SET_BACK,
    UNREADABLE_ENTRY,
    AuditEntry,
    Head,
    digest,
    file_name,
    file_number,
    log_files,
    read_line,
    write_line,
)
from tbscreen_shared.jobs import Waiting

logger = logging.getLogger(__name__)

BATCH: Final = 256
"""Entries that are written at once at most, with one sync."""

_TAIL_BYTES: Final = 2 * 1024 * 1024
"""More than a batch takes: what was written and not yet taken from the stream is found in it."""

_MAX_FILE_BYTES: Final = 32 * 1024 * 1024
_LOCK: Final = "lock"


class AuditLogError(Exception):
    """The log can not be written. The message is for people."""


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

        Where the log does not end as it did when it was last written, a line says so: lines were
        removed or changed, or an older copy was put in its place.

        Args:
            acknowledged: where it ended when entries were last removed from the stream.

        Raises:
            AuditLogError: it can not be read or written.
        """
        with _described():
            files = log_files(self._directory) or [self._directory / file_name(1)]
            self._path = files[-1]
            lines = _read_tail(self._path)
            whole = _without_torn(lines, acknowledged)
            self._size = _cut(self._path, sum(map(len, lines)) - sum(map(len, whole)))
            earlier = _read_tail(files[-2]) if len(files) > 1 and len(whole) <= BATCH else []
        known = self._take_up([line.rstrip(b"\n") for line in earlier + whole])
        if acknowledged is None or acknowledged.sha256 in known:
            return
        if acknowledged.seq >= self.head.seq:
            logger.error("the audit log does not end as it did", extra=acknowledged._asdict())
            note = _note(LOG_DIFFERS, ended_seq=acknowledged.seq, ended_sha256=acknowledged.sha256)
            self._append([note])

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
            _append_synced(path, size, data)
        self._path, self._size, self._month = path, size + len(data), month
        self.head = head
        self._recent.extend(map(_text, entries))

    def _take_up(self, lines: Sequence[bytes]) -> set[str]:
        """Takes the lines for the log's end; returns the hashes that they know of."""
        entries, known = [], {digest(line) for line in lines}
        for line in lines:
            with suppress(ValueError):
                read = read_line(line)
                entries.append(read.entry())
                known.add(read.prev)
        seqs = [entry.seq for entry in entries if entry.seq is not None]
        self.head = Head(seqs[-1] if seqs else 0, digest(lines[-1])) if lines else EMPTY
        self._month = _month(entries[-1]) if entries else ""
        self._recent = deque(map(_text, entries), maxlen=2 * BATCH)
        return known


def _read_tail(path: Path) -> list[bytes]:
    """Returns a file's last lines, each with its line feed; the very last may lack it."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return []
    with stream:
        start = max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES)
        stream.seek(start)
        # Not bytes.splitlines, which knows more ends of lines than one.
        lines = [line + b"\n" for line in stream.read().split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines[1 if start else 0 : None if lines[-1] else -1]


def _without_torn(lines: list[bytes], acknowledged: Head | None) -> list[bytes]:
    """Leaves out what a crash left half written: no entry of it has left the stream.

    That is a last line without its end and, after a power cut, what does not follow from the last
    line that is known to be synced.
    """
    whole = lines[:-1] if lines and not lines[-1].endswith(b"\n") else lines
    if acknowledged is None:
        return whole
    digests = [digest(line[:-1]) for line in whole]
    if acknowledged.sha256 in digests:
        sound = digests.index(acknowledged.sha256) + 1
    elif whole and _prev(whole[0]) == acknowledged.sha256:
        sound = 0
    else:
        return whole
    previous = acknowledged.sha256
    while sound < len(whole) and _prev(whole[sound]) == previous:
        previous = digests[sound]
        sound += 1
    return whole[:sound]


def _prev(line: bytes) -> str | None:
    try:
        return read_line(line).prev
    except ValueError:
        return None


def _cut(path: Path, torn_bytes: int) -> int:
    """Takes so many bytes off a file's end; returns its size."""
    if not path.exists():
        return 0
    size = path.stat().st_size - torn_bytes
    if torn_bytes:
        logger.warning("removed a half-written end of the audit log", extra={"bytes": torn_bytes})
        os.truncate(path, size)
    return size


def _append_synced(path: Path, size: int, data: bytes) -> None:
    """Appends to a file of so many bytes, or leaves it as it is."""
    create = os.O_CREAT if size == 0 else 0
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | create, 0o600)
    try:
        if os.fstat(file).st_size != size:
            raise AuditLogError("The audit log was changed by another process.")
        try:
            written = 0
            while written < len(data):
                written += os.write(file, data[written:])
            os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
    if create:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def _described() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AuditLogError(f"The audit log can not be written: {error.strerror}.") from error


def _note(event: str, **details: str | int) -> AuditEntry:
    return AuditEntry.model_validate({"at": datetime.now(tz=UTC), "event": event, **details})


def _text(entry: AuditEntry) -> str:
    return entry.model_dump_json(exclude_none=True)


def _month(entry: AuditEntry) -> str:
    return f"{entry.at:%Y-%m}"
