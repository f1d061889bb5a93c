"""A file as httpx uploads it: opened when its turn comes, so that thousands need one descriptor."""

import io
import os
from pathlib import Path
from typing import BinaryIO, Self


class Upload:
    """What httpx reads a part of a form from.

    Args:
        source: path of a file, or its bytes.

    Raises:
        OSError: the file can not be read.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        self._source = source
        self._stream: BinaryIO | None = None
        self._at = 0
        # Now, not in the middle of the request: a file that is not there is nobody else's fault.
        with self._open() as stream:
            self._size = stream.seek(0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, size: int = -1, /) -> bytes:
        """Returns up to `size` bytes.

        Raises:
            OSError: the file can not be read any more.
        """
        if self._stream is None:
            self._stream = self._open()
            self._stream.seek(self._at)
        data = self._stream.read(size)
        self._at += len(data)
        if not data:
            self._close()
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Goes to a place; httpx goes to the end to learn the size, and back."""
        self._close()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}
        self._at = base[whence] + offset
        return self._at

    def tell(self) -> int:
        """Returns the place."""
        return self._at

    def _open(self) -> BinaryIO:
        if isinstance(self._source, bytes):
            return io.BytesIO(self._source)
        return Path(self._source).open("rb")

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None
