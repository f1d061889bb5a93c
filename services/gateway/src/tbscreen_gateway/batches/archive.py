"""Unpacks a zip, entry by entry, into a draft. Nothing that the archive says of itself is trusted.

The standard library's zipfile reads it, within bounds of our own: what it would hold in memory,
which entries share bytes, which methods unpack in bounded steps, and how much comes out, as
counted. Names are never used, but to tell what is no radiograph; archives in the archive are not
opened.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from tbscreen_gateway.batches.draft import BatchDraft, BatchLimits
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.errors import ErrorCode

_CHUNK_BYTES: Final = 256 * 1024

_STEP_BYTES: Final = 4 * 1024 * 1024

_RATIO_FROM_BYTES: Final = 1024 * 1024
"""From here on the ratio counts: less is no bomb, and small files may well be all of one byte."""

_ENTRIES_PER_FILE: Final = 3
"""Beside each file its folder, and the twin that macOS packs."""

_SPARE_ENTRIES: Final = 100
_DIRECTORY_BYTES_PER_ENTRY: Final = 512
"""46 and the name, its extra fields and its comment."""

_TAIL_BYTES: Final = 22 + 65535
"""Where a zip's end is looked for: its last record, with the longest comment."""

_DIRECTORY_ENTRY: Final = b"PK\x01\x02"
_LOCAL_HEADER_BYTES: Final = 30
_ENCRYPTED: Final = 0x1

# By name, in whatever folder: a DICOMDIR is DICOM, and an index.
_CLUTTER: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini", "dicomdir"})

# All that zipfile raises of archives that are not sound: it decodes before it validates.
_UNSOUND: Final = (
    BadZipFile,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)


class Archive:
    """An open zip. Blocking: it lives in the thread pool.

    Attributes:
        files: the entries to be read, with their places in the archive's directory.
        skipped: how many entries are none: folders, and what operating systems and DICOM media put
            beside files.
    """

    def __init__(self, stream: BinaryIO, limits: BatchLimits) -> None:
        """Reads the archive's directory.

        Raises:
            Refusal: `batch_too_large` or `unreadable_archive`.
        """
        self._limits = limits
        self._unpacked_bytes = 0
        try:
            self._zip = ZipFile(_BoundedReader(stream, limits))
        except _UNSOUND as error:
            raise _unreadable("It is no zip, or a damaged one.") from error
        entries = self._zip.infolist()
        _check_apart(entries, self._zip.start_dir)
        self.files = [
            (index, entry) for index, entry in enumerate(entries) if not _is_clutter(entry)
        ]
        self.skipped = len(entries) - len(self.files)
        if len(self.files) > limits.max_files:
            raise limits.too_many_files()

    def unpack(self, index: int, entry: ZipInfo, draft: BatchDraft) -> Iterator[bool]:
        """Adds the entry to the draft, as a file or with the reason why not.

        Yields:
            True every few MiB, for the caller to give its thread away.

        Raises:
            Refusal: `batch_too_large`: the archive unpacks to too much; or what the draft raises.
            BlobError: the volume is full or failing.
            RedisError: the job store can not be reached.
        """
        draft.begin_file(index)
        problem = _why_not(entry)
        if problem:
            draft.refuse_file(ErrorCode.UNREADABLE_ENTRY, problem)
            return
        size_bytes = step_bytes = 0
        try:
            for chunk in self._chunks(entry):
                size_bytes += len(chunk)
                self._unpacked_bytes += len(chunk)
                self._limits.check_unpacked_bytes(self._unpacked_bytes)
                if size_bytes > max(
                    _RATIO_FROM_BYTES, self._limits.max_ratio * entry.compress_size
                ):
                    draft.refuse_file(
                        ErrorCode.FILE_TOO_LARGE,
                        f"The file unpacks to more than {self._limits.max_ratio} times its size.",
                    )
                    return
                if not draft.take(chunk):
                    return
                step_bytes += len(chunk)
                if step_bytes >= _STEP_BYTES:
                    step_bytes = 0
                    yield True
        except _UnsoundEntryError:
            draft.refuse_file(ErrorCode.UNREADABLE_ENTRY, "The file is damaged in its archive.")
            return
        draft.end_file()

    def _chunks(self, entry: ZipInfo) -> Iterator[bytes]:
        try:
            with self._zip.open(entry) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    yield chunk
        except _UNSOUND as error:
            raise _UnsoundEntryError from error


class _UnsoundEntryError(Exception):
    """An entry's bytes are not what the archive says."""


class _BoundedReader:
    """What zipfile reads from. It takes the whole directory into memory, whatever its size."""

    def __init__(self, stream: BinaryIO, limits: BatchLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._size_bytes = stream.seek(0, os.SEEK_END)
        self._max_entries = _ENTRIES_PER_FILE * limits.max_files + _SPARE_ENTRIES
        self._max_read_bytes = max(
            _TAIL_BYTES, _CHUNK_BYTES, _DIRECTORY_BYTES_PER_ENTRY * self._max_entries
        )

    def read(self, size: int = -1, /) -> bytes:
        """Returns up to `size` bytes, all that is left for -1.

        Raises:
            Refusal: `batch_too_large`: it is a directory of too many entries.
        """
        left = self._size_bytes - self._stream.tell()
        wanted = left if size < 0 else min(size, left)
        if wanted > self._max_read_bytes:
            raise self._limits.too_many_files()
        data = self._stream.read(wanted)
        if wanted > _CHUNK_BYTES and data.count(_DIRECTORY_ENTRY) > self._max_entries:
            raise self._limits.too_many_files()
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Goes to a place within the archive.

        Raises:
            BadZipFile: it is not.
        """
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._stream.tell(), os.SEEK_END: self._size_bytes}
        target = base[whence] + offset
        if not 0 <= target <= self._size_bytes:
            raise BadZipFile("points out of the archive")
        return self._stream.seek(target)

    def tell(self) -> int:
        """Returns the place."""
        return self._stream.tell()

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Leaves the stream to whoever opened it."""


def _check_apart(entries: list[ZipInfo], directory_at: int) -> None:
    """Looks whether each entry has its own bytes, before the directory.

    A small archive whose entries share theirs unpacks to petabytes: see D. Fifield, "A better zip
    bomb", WOOT 2019.

    Raises:
        Refusal: `unreadable_archive`.
    """
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    # The last one's end too: the ratio counts from packed sizes, which only this bounds.
    bounds = [*(entry.header_offset for entry in ordered[1:]), directory_at]
    for entry, bound in zip(ordered, bounds, strict=False):
        if entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size > bound:
            raise _unreadable("Its entries overlap, or reach into its directory.")


def _is_clutter(entry: ZipInfo) -> bool:
    path = entry.filename.replace("\\", "/")
    *folders, name = path.split("/")
    return (
        # Not ZipInfo.is_dir, which fails for an entry without a name.
        path.endswith("/")
        or "__MACOSX" in folders
        or name.startswith("._")
        or name.lower() in _CLUTTER
    )


def _why_not(entry: ZipInfo) -> str | None:
    """Returns why an entry is not unpacked, for people; None for one that is."""
    if entry.flag_bits & _ENCRYPTED:
        return "The file is encrypted."
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "The entry is a link, not a file."
    # The other methods' decoders give out what one chunk unpacks to at once, however much.
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return "The file is packed by another method than deflate."
    return None


def _unreadable(detail: str) -> Refusal:
    return Refusal(ErrorCode.UNREADABLE_ARCHIVE, detail)
