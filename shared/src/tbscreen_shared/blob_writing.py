"""Files on their way into the blob store, or through it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from tbscreen_shared.errors import BlobError, ErrorCode

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class BlobWriter:
    """A blob being written. Leaving the `with` block without `commit` leaves nothing behind.

    Where the volume fails meanwhile, leaving it raises BlobError: `storage_unavailable`.
    """

    def __init__(self, root: str, key: str) -> None:
        self.key = key
        self._root = root
        self._final = f"{root}/{key}"
        self._partial = f"{root}/{key}.partial"
        self._stream: BinaryIO | None = None

    def __enter__(self) -> "BlobWriter":
        with storage_errors():
            self._stream = open(self._partial, "xb")
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            # A full disk fails the flush inside close as well; the partial file goes either way.
            with suppress(OSError):
                self._stream.close()
            with storage_errors(), suppress(FileNotFoundError):
                os.unlink(self._partial)

    def write(self, data: bytes) -> None:
        """Appends bytes.

        Raises:
            BlobError: `storage_full` when the volume is full, else `storage_unavailable`.
        """
        if self._stream is None:
            raise ValueError("the blob writer is not open")
        with storage_errors():
            self._stream.write(data)

    def flush(self) -> None:
        """Hands what was written to the operating system, which may refuse it.

        Raises:
            BlobError: `storage_full` when the volume is full, else `storage_unavailable`.
        """
        if self._stream is None:
            raise ValueError("the blob writer is not open")
        with storage_errors():
            self._stream.flush()

    def commit(self) -> str:
        """Makes the blob durable under its key, atomically, and returns the key.

        The directory is synced too: a 202 promises that the upload outlives a power cut.
        """
        if self._stream is None:
            raise ValueError("the blob writer is not open")
        with storage_errors():
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            os.rename(self._partial, self._final)
            sync_directory(self._root)
        self._stream = None
        return self.key


def sync_directory(path: str) -> None:
    """Makes the names in a directory outlive a power cut."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Spool:
    """A file to be written, read and then gone: leaving the `with` block removes it.

    It is made by the first call. It counts in `BlobStore.usage`, and is a partial to
    `BlobStore.partials`. Leaving raises BlobError where the volume fails: `storage_unavailable`.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._stream: BinaryIO | None = None

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            # A full disk fails the flush inside close as well.
            with suppress(OSError):
                self._stream.close()
            with storage_errors(), suppress(FileNotFoundError):
                os.unlink(self._path)

    def write(self, data: bytes) -> None:
        """Appends bytes.

        Raises:
            BlobError: `storage_full` when the volume is full, else `storage_unavailable`.
        """
        with storage_errors():
            self._open().write(data)

    def rewind(self) -> BinaryIO:
        """Returns what was written, to be read from its start.

        Raises:
            BlobError: `storage_full` when the volume is full, else `storage_unavailable`.
        """
        with storage_errors():
            stream = self._open()
            stream.seek(0)
        return stream

    def _open(self) -> BinaryIO:
        if self._stream is None:
            self._stream = open(self._path, "x+b")
        return self._stream


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns what the operating system says into a BlobError, whose cause it is."""
    try:
        yield
    except OSError as error:
        raise storage_error(error) from error


def storage_error(error: OSError) -> BlobError:
    """Returns the BlobError that stands for it: `storage_full` or `storage_unavailable`."""
    if error.errno in _FULL:
        return BlobError(ErrorCode.STORAGE_FULL, "the upload volume is full")
    return BlobError(ErrorCode.STORAGE_UNAVAILABLE, "the upload volume can not be used")
