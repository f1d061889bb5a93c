"""What of a file's structure is checked before a decoder sees it.

Each of these was found to make Pillow take minutes or gigabytes over an upload of ordinary size.
"""

import re
import struct
from typing import Final

from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging.bounded_stream import BoundedStream

_PNG_SIGNATURE_BYTES: Final = 8
_PNG_PIXELS: Final = (b"IDAT", b"fdAT")
_MAX_PNG_PIXEL_CHUNKS: Final = 32_768
_MAX_PNG_OTHER_CHUNKS: Final = 256
"""Pillow inflates each text and profile to up to 1 MiB: a millisecond, for a kilobyte of upload."""

_MAX_JPEG_SCANS: Final = 64
"""Encoders write about ten; each costs a pass over all coefficients, however few bytes it has."""
_MAX_JPEG_MARKERS: Final = 10_000
_JPEG_MARKER: Final = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
"""Of a segment or the end. JPEG-LS writes 0x00 to 0x7F behind 0xFF into its scans, JPEG 0x00."""
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9

_TIFF_PIECES: Final = (273, 279, 324, 325)
"""Offsets and lengths of strips and tiles."""
_MAX_TIFF_PIECES: Final = 100_000
"""Pillow makes a quarter of a kilobyte of each."""


def check_png(stream: BoundedStream) -> None:
    """Checks how many chunks a PNG has.

    Raises:
        ImageError: `unreadable_image`, when there are too many.
    """
    stream.seek(_PNG_SIGNATURE_BYTES)
    pixel_chunks = other_chunks = 0
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in _PNG_PIXELS:
            pixel_chunks += 1
        else:
            other_chunks += 1
        if pixel_chunks > _MAX_PNG_PIXEL_CHUNKS or other_chunks > _MAX_PNG_OTHER_CHUNKS:
            raise _too_many("chunks")
        stream.seek(length + 4, 1)


def check_jpeg(data: bytes, *, whole: bool = False) -> None:
    """Checks how many scans a JPEG has.

    Args:
        data: of the file.
        whole: for a decoder that does not mind where a file is cut off, and paints the rest grey.

    Raises:
        ImageError: `unreadable_image`, when there are too many, or the image has no end.
    """
    scans = markers = position = 0
    while found := _JPEG_MARKER.search(data, position):
        marker, position = data[found.start() + 1], found.end()
        markers += 1
        scans += marker == _START_OF_SCAN
        if scans > _MAX_JPEG_SCANS or markers > _MAX_JPEG_MARKERS:
            raise _too_many("scans")
        if marker == _END_OF_IMAGE:
            return
        position += int.from_bytes(data[position : position + 2])
    if whole:
        raise ImageError(ErrorCode.UNREADABLE_IMAGE, "the image has no end")


def check_tiff(stream: BoundedStream) -> None:
    """Checks how many strips or tiles a TIFF's first directory lists.

    Raises:
        ImageError: `unreadable_image`, when there are too many.
        struct.error: the file ends early.
    """
    stream.seek(0)
    order = "<" if stream.read(2) == b"II" else ">"
    (directory,) = struct.unpack(f"{order}2xI", stream.read(6))
    stream.seek(directory)
    (count,) = struct.unpack(f"{order}H", stream.read(2))
    entries = stream.read(12 * count)
    for tag, values in struct.iter_unpack(f"{order}H2xI4x", entries[: len(entries) // 12 * 12]):
        if tag in _TIFF_PIECES and values > _MAX_TIFF_PIECES:
            raise _too_many("strips")


def _too_many(parts: str) -> ImageError:
    return ImageError(ErrorCode.UNREADABLE_IMAGE, f"the image is made of too many {parts}")
