"""Writes TIFF files field by field, so that a file may say of itself what it is not."""

import struct
from collections.abc import Mapping
from typing import Final

from support.hostile.exif import directory

ASCII, SHORT, LONG, RATIONAL, BYTES, FLOAT = 2, 3, 4, 5, 7, 11
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIPS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 277, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 322, 323, 324, 325
ORIENTATION, PLANAR, PREDICTOR, COLOURS, EXTRA_SAMPLES = 274, 284, 317, 320, 338
SUBDIRECTORIES, SAMPLE_FORMAT, YBR_SAMPLING = 330, 339, 530
RAW, FAX4, LZW, JPEG, DEFLATE, PACKBITS = 1, 4, 5, 7, 8, 32773

SIDE: Final = 64
PIXELS_AT: Final = 8
_FORMATS: Final = {SHORT: "H", LONG: "I"}

Field = tuple[int, int | list[int] | bytes]
"""Type and value: one, several, or the bytes of them."""


def tiff(changes: Mapping[int, Field | None] | None = None, pixels: bytes | None = None) -> bytes:
    """A little-endian TIFF of 64 x 64 grey pixels in one strip right behind the header.

    Args:
        changes: further or changed fields by tag; None takes one out.
        pixels: the strip's bytes.
    """
    data = bytes(range(SIDE)) * SIDE if pixels is None else pixels
    fields: dict[int, Field | None] = {
        WIDTH: (LONG, SIDE),
        HEIGHT: (LONG, SIDE),
        BITS: (SHORT, 8),
        COMPRESSION: (SHORT, RAW),
        PHOTOMETRIC: (SHORT, 1),
        STRIPS: (LONG, PIXELS_AT),
        SAMPLES: (SHORT, 1),
        ROWS_PER_STRIP: (LONG, SIDE),
        STRIP_BYTES: (LONG, len(data)),
        **(changes or {}),
    }
    outside = bytearray(data)
    entries = []
    for tag, field in sorted(fields.items()):
        if field is None:
            continue
        kind, value = field
        if isinstance(value, int):
            entries.append((tag, kind, 1, value))
            continue
        entries.append((tag, kind, len(value), PIXELS_AT + len(outside)))
        outside += (
            value
            if isinstance(value, bytes)
            else struct.pack(f"<{len(value)}{_FORMATS[kind]}", *value)
        )
    begin = struct.pack("<2sHI", b"II", 42, PIXELS_AT + len(outside))
    return begin + bytes(outside) + directory(*entries)


def packed(
    compression: int, pixels: bytes, changes: Mapping[int, Field | None] | None = None
) -> bytes:
    return tiff({COMPRESSION: (SHORT, compression), **(changes or {})}, pixels)


def directory_of(content: bytes) -> int:
    (place,) = struct.unpack_from("<I", content, 4)
    return int(place)
