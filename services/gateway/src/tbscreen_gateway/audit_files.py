"""The audit log's files on the disk: their ends, and bytes that are there once they are synced."""

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tbscreen_shared.audit import Head, digest, read_line

logger = logging.getLogger(__name__)

_TAIL_BYTES: Final = 2 * 1024 * 1024
"""More than a batch takes: what was written and not yet taken from the stream is found in it."""


class AuditLogError(Exception):
    """The log can not be written. The message is for people."""


def read_tail(path: Path) -> list[bytes]:
    """Returns a file's last lines, each with its line feed; the very last may lack it.

    Raises:
        OSError: it can not be read.
    """
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


def without_torn(lines: list[bytes], acknowledged: Head | None) -> list[bytes]:
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


def have_line(files: Iterable[Path], sha256: str) -> bool:
    """Tells whether a line of one of the files has this hash.

    Raises:
        OSError: one can not be read.
    """
    for file in files:
        with file.open("rb") as stream:
            if any(digest(line.rstrip(b"\n")) == sha256 for line in stream):
                return True
    return False


def _prev(line: bytes) -> str | None:
    try:
        return read_line(line).prev
    except ValueError:
        return None


def cut(path: Path, torn_bytes: int) -> int:
    """Takes so many bytes off a file's end; returns its size.

    Raises:
        OSError: it can not be read or written.
    """
    if not path.exists():
        return 0
    size = path.stat().st_size - torn_bytes
    if torn_bytes:
        logger.warning("removed a half-written end of the audit log", extra={"bytes": torn_bytes})
        os.truncate(path, size)
    return size


def append_synced(path: Path, size: int, data: bytes) -> None:
    """Appends to a file of so many bytes, or leaves it as it is.

    Raises:
        AuditLogError: another process has changed it.
        OSError: it can not be written.
    """
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
