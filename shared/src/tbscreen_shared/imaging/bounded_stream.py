"""A file that can be read only so often.

Pillow and pydicom parse headers in Python, part by part. An upload holds millions of the smallest
parts: 60 MiB of empty JPEG comments, PNG chunks or DICOM elements were measured to take over a
minute each. Counted are reads, not seconds, so that a file's outcome is the same on a slow machine.
"""

import io
import os
from typing import Final

from tbscreen_shared.errors import ErrorCode, ImageError

MAX_READS: Final = 200_000
"""A PNG of 64 MiB in pixel chunks of 2 KiB takes 130,000; 200,000 DICOM items, two seconds."""


class BoundedStream(io.BufferedReader):
    """A binary file with a bound on how often, and at first on how much, is read of it.

    What is asked for beyond the file's end is not asked of the file: Python allocates as many bytes
    as a read names, and a DICOM element names up to 4 GiB.
    """

    def __init__(self, file: io.FileIO | io.BytesIO, *, header_bytes: int | None = None) -> None:
        """Takes a file and how many of its bytes may be read until `end_header` is called."""
        super().__init__(file)
        self._size = self.seek(0, os.SEEK_END)
        self.seek(0)
        self._reads_left = MAX_READS
        self._header_bytes_left = header_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads up to `size` bytes.

        Raises:
            ImageError: `unreadable_image`, when it is read too often or its header is too long.
        """
        self.check_reads_left()
        self._reads_left -= 1
        left = max(0, self._size - self.tell())
        data = super().read(left if size is None or size < 0 else min(size, left))
        if self._header_bytes_left is not None:
            self._header_bytes_left -= len(data)
            if self._header_bytes_left < 0:
                raise ImageError(ErrorCode.UNREADABLE_IMAGE, "the image's header is too long")
        return data

    def check_reads_left(self) -> None:
        """For callers of libraries that take any error while reading for the file's end.

        Raises:
            ImageError: `unreadable_image`, when the next read would be one too many.
        """
        if self._reads_left <= 0:
            raise ImageError(ErrorCode.UNREADABLE_IMAGE, "the image is made of too many parts")

    def end_header(self) -> None:
        """Lifts the bound on bytes."""
        self._header_bytes_left = None
