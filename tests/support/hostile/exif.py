"""Hostile EXIF blocks: TIFF directories inside JPEG and PNG files."""

import struct
from collections.abc import Iterator
from typing import Final

_HEADER: Final = b"II*\0\x08\0\0\0"
_SHORT, _LONG, _RATIONAL, _IFD = 3, 4, 5, 13
_ORIENTATION, _X_RESOLUTION, _EXIF, _GPS, _INTEROP = 0x112, 0x11A, 0x8769, 0x8825, 0xA005
_MAKER_NOTE, _SUBDIRECTORIES = 0x927C, 0x14A

Entry = tuple[int, int, int, int]
"""Tag, type, count, and the value or where it stands."""

_SIDEWAYS: Final[Entry] = (_ORIENTATION, _SHORT, 1, 6)


def directory(*entries: Entry, following: int = 0, count: int | None = None) -> bytes:
    """A little-endian TIFF directory; `count` lies about how many entries it has."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    declared = len(entries) if count is None else count
    return struct.pack("<H", declared) + packed + struct.pack("<I", following)


def hostile_exifs() -> Iterator[tuple[str, bytes]]:
    """Names and blocks of up to 60 KiB; most also turn the image sideways."""
    yield "empty", b""
    yield "of a header only", _HEADER
    yield "of another kind", b"XX*\0\x08\0\0\0"
    yield "that begins beyond its end", b"II*\0\xff\xff\xff\xff"
    yield "whose directory is its own successor", _HEADER + directory(_SIDEWAYS, following=8)
    yield "with 65,535 entries, one there", _HEADER + directory(_SIDEWAYS, count=65_535)
    yield "with 5,000 entries of one tag", _HEADER + directory(*[_SIDEWAYS] * 5_000)
    for value in (0, 1, 9, 65_535):
        yield f"orientation {value}", _HEADER + directory((_ORIENTATION, _SHORT, 1, value))
    for kind in (0, 2, 5, 7, 12, 13, 16, 255):
        yield f"orientation of type {kind}", _HEADER + directory((_ORIENTATION, kind, 1, 6))
    for count in (0, 2, 30_000, 2**32 - 1):
        yield f"{count} orientations", _HEADER + directory((_ORIENTATION, _SHORT, count, 6))
    for tag in (_EXIF, _GPS, _INTEROP, _MAKER_NOTE, _SUBDIRECTORIES):
        for kind in (_LONG, _IFD):
            for place, offset in (("itself", 8), ("0", 0), ("beyond", 2**32 - 1)):
                entries = sorted([_SIDEWAYS, (tag, kind, 1, offset)])
                yield f"{tag:#x} of type {kind} at {place}", _HEADER + directory(*entries)
    for numerator, divisor in ((1, 0), (0, 0), (2**32 - 1, 1)):
        block = _HEADER + directory(_SIDEWAYS, (_X_RESOLUTION, _RATIONAL, 1, 38))
        yield f"resolution {numerator}/{divisor}", block + struct.pack("<II", numerator, divisor)
    overlapping = [(tag, 7, 30_000, 8) for tag in range(1, 2_500)]
    yield "of values that all overlap", _HEADER + directory(*overlapping) + bytes(30_000)
