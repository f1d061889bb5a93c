"""Takes JPEG files apart and puts them together otherwise."""

import struct
from functools import cache
from typing import Final

from support.hostile.seeds import blank_bytes

FRAMES: Final = (0xC0, 0xC1, 0xC2, 0xC3)
START_OF_SCAN: Final = b"\xff\xda"
_FRAME_FIELDS: Final = {
    "precision": (4, 1),
    "height": (5, 2),
    "width": (7, 2),
    "components": (9, 1),
    "sampling": (11, 1),
}


def segment(marker: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def segments(data: bytes) -> list[tuple[int, int, int]]:
    """Marker, begin and end of each segment up to the first scan's header, that included."""
    found, position = [], 2
    while True:
        _, marker, length = struct.unpack_from(">BBH", data, position)
        found.append((marker, position, position + 2 + length))
        position += 2 + length
        if marker == 0xDA:
            return found


def frame_of(data: bytes) -> tuple[int, int]:
    """Begin and end of the frame header."""
    return next((begin, end) for marker, begin, end in segments(data) if marker in FRAMES)


def with_segments(data: bytes, *inserted: bytes) -> bytes:
    """Puts segments right behind the start of image."""
    return data[:2] + b"".join(inserted) + data[2:]


def without(data: bytes, marker: int) -> bytes:
    """Takes out every segment of a kind that stands before the first scan."""
    for kind, begin, end in reversed(segments(data)):
        if kind == marker:
            data = data[:begin] + data[end:]
    return data


def reframed(data: bytes, *, marker: int | None = None, **fields: int) -> bytes:
    """Changes the frame header: precision, height, width, components, sampling or its marker."""
    begin, _ = frame_of(data)
    changed = bytearray(data)
    if marker is not None:
        changed[begin + 1] = marker
    for name, value in fields.items():
        offset, width = _FRAME_FIELDS[name]
        changed[begin + offset : begin + offset + width] = value.to_bytes(width)
    return bytes(changed)


def with_second_frame(data: bytes, *, first: bool = False) -> bytes:
    """Adds a frame header of 65,535 x 65,535 behind the frame's own, or before it."""
    begin, end = frame_of(data)
    frame = bytearray(data[begin:end])
    frame[5:9] = b"\xff" * 4
    place = begin if first else end
    return data[:place] + bytes(frame) + data[place:]


@cache
def many_scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: each is a run over all of its blocks."""
    data = blank_bytes("JPEG", "L", side, progressive=True)
    scan = data[data.rindex(START_OF_SCAN) : -2]
    return data[:-2] + scan * count + data[-2:]
