"""The blob store: uploads by opaque key on a volume. The queue never carries image bytes.

No upload's name goes through pathlib, which would intern each (ADR 27).
"""

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from tbscreen_shared.blob_writing import (
    BlobWriter,
    Spool,
    storage_error,
    storage_errors,
    sync_directory,
)
from tbscreen_shared.errors import BlobError

_KEY: Final = re.compile(r"[0-9a-f]{32}")
_PARTIAL: Final = re.compile(r"[0-9a-f]{32}\.partial")
_ANY: Final = re.compile(r".+", re.DOTALL)
_MARKER: Final = ".tbscreen-blobs"


class BlobStoreMissingError(Exception):
    """There is no blob store to be had: its volume is not mounted or fails, or a setting is wrong.

    The job in hand can do nothing for it.
    """


class Partial(NamedTuple):
    """A file on its way into the store, as it was at one moment.

    Attributes:
        name: of the file.
        written_ns: when it was last written to, by the wall clock; to be compared with itself only.
    """

    name: str
    written_ns: int


class BlobStore:
    """Files under one directory, named by random keys that say nothing about their content."""

    def __init__(self, root: Path) -> None:
        """Makes `root` a blob store unless it is one.

        Raises:
            OSError: it can not be created or marked.
        """
        root.mkdir(parents=True, exist_ok=True)
        marker = root / _MARKER
        if not marker.exists():
            marker.touch()
        self._root = os.fspath(root)

    @classmethod
    def existing(cls, root: Path) -> "BlobStore":
        """Returns the store that another process makes; creates nothing.

        Whoever only reads must not take an empty directory for a store whose blobs are gone.
        """
        store = cls.__new__(cls)
        store._root = os.fspath(root)
        return store

    def check_present(self) -> None:
        """Looks for the mark that the store's maker left.

        Raises:
            BlobStoreMissingError: it is not there, or can not be reached.
        """
        try:
            os.stat(f"{self._root}/{_MARKER}")
        except OSError as error:
            raise BlobStoreMissingError(
                f"{self._root} is not a blob store: {_MARKER}: {error.strerror}"
            ) from error

    def path(self, key: str) -> str:
        """Returns the blob's path, whether it exists or not.

        Raises:
            ValueError: `key` is not one of this store's, so it can not lead out of the directory.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a blob key: {key!r}")
        return f"{self._root}/{key}"

    def open_writer(self) -> "BlobWriter":
        """Starts a new blob; it exists under its key only once `commit` has returned."""
        return BlobWriter(self._root, secrets.token_hex(16))

    def open_spool(self) -> "Spool":
        """Starts a file on the volume that never becomes a blob."""
        return Spool(f"{self._root}/{secrets.token_hex(16)}.partial")

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """Opens a blob for reading.

        Raises:
            FileNotFoundError: it was erased, or never committed.
        """
        with open(self.path(key), "rb") as stream:
            yield stream

    def erase(self, key: str) -> None:
        """Removes a blob; one that is gone already is no error.

        Raises:
            OSError: the volume is failing.
        """
        with suppress(FileNotFoundError):
            os.unlink(self.path(key))

    def touch(self, key: str) -> None:
        """Makes a blob as young as one that is committed now.

        Raises:
            BlobError: it is gone, or the volume is failing.
        """
        with storage_errors():
            os.utime(self.path(key))

    def link(self, key: str) -> tuple[str, int]:
        """Gives a blob a second key of its own, durably; returns that and the size in bytes.

        The bytes stay until both keys are erased.

        Raises:
            FileNotFoundError: there is no such blob.
            BlobError: the volume is failing.
        """
        twin = secrets.token_hex(16)
        try:
            os.link(self.path(key), self.path(twin))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise storage_error(error) from error
        with storage_errors():
            sync_directory(self._root)
            return twin, os.stat(self.path(twin)).st_size

    def keys(self, *, older_than_s: float) -> list[str]:
        """Returns the keys of the blobs that were committed before so many seconds.

        Raises:
            OSError: the directory can not be read.
        """
        before = time.time() - older_than_s
        return [entry.name for entry, found in self._entries(_KEY) if found.st_mtime < before]

    def usage(self) -> tuple[int, int]:
        """Returns how many blobs there are, and their bytes together, unfinished ones included.

        Raises:
            BlobError: the directory can not be read.
        """
        count = total = 0
        with storage_errors():
            for _, found in self._entries(_ANY):
                total += found.st_size
                count += 1
        return count, total

    def free_bytes(self) -> int:
        """Returns what the volume has left for this process.

        Raises:
            BlobError: the volume can not be asked.
        """
        with storage_errors():
            volume = os.statvfs(self._root)
        return volume.f_bavail * volume.f_frsize

    def partials(self) -> set[Partial]:
        """Returns what is being written, or was when its process was killed."""
        return {Partial(entry.name, found.st_mtime_ns) for entry, found in self._entries(_PARTIAL)}

    def erase_partial(self, partial: Partial) -> None:
        """Removes what a killed process left; one that is gone already is no error."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self._root}/{partial.name}")

    def _entries(
        self, names: re.Pattern[str]
    ) -> Iterator[tuple["os.DirEntry[str]", os.stat_result]]:
        with os.scandir(self._root) as entries:
            for entry in entries:
                if names.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        yield entry, entry.stat()

    def check_whole(self) -> None:
        """Writes, syncs and erases a blob.

        Raises:
            BlobStoreMissingError: that failed, so it is the volume that is at fault, not a file.
        """
        try:
            with self.open_writer() as writer:
                writer.write(b"probe")
                self.erase(writer.commit())
        except (BlobError, OSError) as error:
            # A BlobError says less: it may be shown to clients.
            raise BlobStoreMissingError(str(error.__cause__ or error)) from error

    def check_writable(self) -> None:
        """Writes and removes a probe file.

        Raises:
            BlobError: the volume is full, read-only or gone.
        """
        with self.open_writer() as writer:
            writer.write(b"probe")
            writer.flush()
