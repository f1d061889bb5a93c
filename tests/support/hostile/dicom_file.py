"""Writes DICOM files byte by byte, so that a file may say of itself what it is not."""

import struct
from collections.abc import Mapping
from typing import Final

PREAMBLE: Final = bytes(128)
UNDEFINED: Final = 2**32 - 1
SIDE: Final = 64

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    f"1.2.840.10008.1.2{suffix}" for suffix in ("", ".1", ".2", ".1.99")
)
JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LS, JPEG_2000 = (
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 70, 80, 90)
)
RUN_LENGTHS: Final = "1.2.840.10008.1.2.5"

SAMPLES, PHOTOMETRIC, PLANAR, FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
ROWS, COLUMNS, ALLOCATED, STORED = 0x00280010, 0x00280011, 0x00280100, 0x00280101
HIGH_BIT, SIGNED, PADDING, PADDING_LIMIT = 0x00280102, 0x00280103, 0x00280120, 0x00280121
CENTER, WIDTH, INTERCEPT, SLOPE = 0x00281050, 0x00281051, 0x00281052, 0x00281053
FUNCTION, MODALITY_LUT, VOI_LUT = 0x00281056, 0x00283000, 0x00283010
LUT_DESCRIPTOR, LUT_DATA = 0x00283002, 0x00283006
PIXELS, FLOAT_PIXELS, DOUBLE_PIXELS = 0x7FE00010, 0x7FE00008, 0x7FE00009
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_SECONDARY_CAPTURE: Final = b"1.2.840.10008.5.1.4.1.1.7\0"
_LONG_VRS: Final = (b"OB", b"OW", b"OF", b"OD", b"SQ", b"UN", b"UT", b"OL", b"OV", b"UC", b"UR")

Value = tuple[bytes, bytes]
"""Value representation and value."""

Changes = Mapping[int, Value | None]
"""Further or changed elements by tag; None takes one out."""


def element(tag: int, vr: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """An explicit, little-endian element; `length` lies about the value's."""
    declared = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    size = struct.pack("<HI", 0, declared) if vr in _LONG_VRS else struct.pack("<H", declared)
    return head + size + value


def item(content: bytes, *, length: int | None = None) -> bytes:
    declared = len(content) if length is None else length
    return struct.pack("<HHI", ITEM >> 16, ITEM & 0xFFFF, declared) + content


def delimiter(tag: int) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, 0)


def fragments(*parts: bytes, offsets: bytes = b"") -> bytes:
    """Encapsulated pixel data: an offset table, fragments, the end."""
    padded = (part + b"\0" * (len(part) % 2) for part in parts)
    return item(offsets) + b"".join(map(item, padded)) + delimiter(SEQUENCE_END)


def us(*values: int) -> Value:
    return b"US", struct.pack(f"<{len(values)}H", *values)


def ul(value: int) -> Value:
    return b"UL", struct.pack("<I", value)


def text(vr: str, value: str) -> Value:
    return vr.encode(), value.encode() + b" " * (len(value) % 2)


def meta(syntax: str, *, group_length: int | None = None) -> bytes:
    """Preamble and file meta information."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    body = element(0x00020001, b"OB", b"\0\1") + element(0x00020002, b"UI", _SECONDARY_CAPTURE)
    body += element(0x00020010, b"UI", uid)
    length = len(body) if group_length is None else group_length
    return PREAMBLE + b"DICM" + element(0x00020000, *ul(length)) + body


def image_elements(changes: Changes | None = None) -> dict[int, Value]:
    """The elements of a grey image of 64 x 64 pixels of 8 bits, in their order."""
    elements: dict[int, Value | None] = {
        SAMPLES: us(1),
        PHOTOMETRIC: text("CS", "MONOCHROME2"),
        ROWS: us(SIDE),
        COLUMNS: us(SIDE),
        ALLOCATED: us(8),
        STORED: us(8),
        HIGH_BIT: us(7),
        SIGNED: us(0),
        PIXELS: (b"OW", bytes(range(SIDE)) * SIDE),
        **(changes or {}),
    }
    return {tag: value for tag, value in sorted(elements.items()) if value is not None}


def dataset(changes: Changes | None = None) -> bytes:
    return b"".join(element(tag, *value) for tag, value in image_elements(changes).items())


def dicom(changes: Changes | None = None, *, syntax: str = EXPLICIT) -> bytes:
    """A whole file."""
    return meta(syntax) + dataset(changes)


def encapsulated(syntax: str, *parts: bytes, changes: Changes | None = None) -> bytes:
    """A whole file with compressed pixels, each part a fragment."""
    pixels = element(PIXELS, b"OB", fragments(*parts), length=UNDEFINED)
    return meta(syntax) + dataset({**(changes or {}), PIXELS: None}) + pixels


COLOUR: Final[Changes] = {SAMPLES: us(3), PLANAR: us(0), PHOTOMETRIC: text("CS", "RGB")}
YBR: Final[Changes] = {**COLOUR, PHOTOMETRIC: text("CS", "YBR_FULL")}
DEEP: Final[Changes] = {ALLOCATED: us(16), STORED: us(16), HIGH_BIT: us(15)}


def sized(width: int, height: int) -> dict[int, Value | None]:
    return {COLUMNS: us(width), ROWS: us(height)}
