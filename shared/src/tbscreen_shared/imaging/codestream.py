"""What a compressed DICOM frame says of its own image.

Decoders decode what the codestream declares and leave it to others to compare with the header: two
kilobytes of JPEG 2000 can declare 65,535 x 65,535 pixels under a header of 64 x 64.
"""

import re
import struct
from dataclasses import dataclass
from typing import Final

from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

_J2K_START: Final = b"\xff\x4f\xff\x51"
_MAX_TILES: Final = 4096
"""OpenJPEG takes 10 KiB for each, whatever the size of the image."""

_JP2_START: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_JP2_CODESTREAM: Final = b"jp2c"
_JPEG_START: Final = b"\xff\xd8"
_NOT_A_FRAME: Final = (0xC4, 0xC8, 0xCC)
_OF_NO_SEGMENT: Final = frozenset({*range(0xC0), *range(0xD0, 0xDA)})
_JPEG_LS_FRAME: Final = 0xF7
_JFIF_SEGMENT: Final = 0xE0
_FILL: Final = re.compile(rb"\xff+")
_RGB_IDS: Final = (b"RGB", b"rgb")


@dataclass(frozen=True)
class Declared:
    """The image that a codestream declares.

    Attributes:
        width: pixels.
        height: pixels.
        samples: of a pixel.
        bits: of a sample; of the first, where they differ.
        is_ybr: whether a JPEG's markers make it YCbCr (True) or RGB (False), whatever its header
            says; None where they leave it open.
    """

    width: int
    height: int
    samples: int
    bits: int
    is_ybr: bool | None = None


def bare_codestream(frame: bytes) -> bytes:
    """Returns a frame without the JP2 file around it, which PS3.5 8.2.4 forbids and is common.

    What stands in the file's other boxes is nothing that DICOM heeds (a palette among it), and any
    of them may hold what looks like a codestream.

    Raises:
        ValueError: the file holds no codestream.
        struct.error: it ends early.
    """
    if not frame.startswith(_JP2_START):
        return frame
    position = 0
    while True:
        # ISO 15444-1, I.4: 1 puts the length after the type, 0 is a box up to the end.
        length, kind = struct.unpack_from(">I4s", frame, position)
        content = position + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", frame, content)
            content += 8
        end = position + length if length else len(frame)
        if end < content:
            raise ValueError("not a JP2 box")
        if kind == _JP2_CODESTREAM:
            return frame[content:end]
        position = end


def declared_image(codestream: bytes, transfer_syntax: UID) -> Declared:
    """Returns the image that a codestream declares.

    Raises:
        ArithmeticError, ValueError: it is no such codestream.
        struct.error: it ends early.
    """
    if transfer_syntax in JPEG2000TransferSyntaxes:
        return _j2k_image(codestream)
    if transfer_syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        return _jpeg_image(codestream)
    raise ValueError("no codestream of this transfer syntax is known")


def _j2k_image(codestream: bytes) -> Declared:
    """ISO 15444-1, A.5.1."""
    if not codestream.startswith(_J2K_START):
        raise ValueError("not a JPEG 2000 codestream")
    right, bottom, left, top, tile_width, tile_height, tiles_left, tiles_top, samples, depth = (
        struct.unpack_from(">8IHB", codestream, 8)
    )
    tiles = -((tiles_left - right) // tile_width) * -((tiles_top - bottom) // tile_height)
    if tiles > _MAX_TILES:
        raise ValueError("a JPEG 2000 codestream of too many tiles")
    return Declared(right - left, bottom - top, samples, (depth & 0x7F) + 1)


def _jpeg_image(codestream: bytes) -> Declared:
    """ISO 10918-1, B.2.2; JPEG-LS (ISO 14495-1, C.2.2) has the same header under a marker more."""
    if not codestream.startswith(_JPEG_START):
        raise ValueError("not a JPEG codestream")
    position = len(_JPEG_START)
    is_ybr = None
    while True:
        fill, marker, length = struct.unpack_from(">BBH", codestream, position)
        if fill != 0xFF or marker in _OF_NO_SEGMENT:
            raise ValueError("not a JPEG marker")
        if marker == 0xFF:
            position = _last_fill_byte(codestream, position)
            continue
        if marker == _JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NOT_A_FRAME):
            bits, height, width, samples = struct.unpack_from(">BHHB", codestream, position + 4)
            ids = codestream[position + 10 : position + 10 + 3 * samples : 3]
            return Declared(width, height, samples, bits, False if ids in _RGB_IDS else is_ybr)
        if marker == _JFIF_SEGMENT and codestream.startswith(b"JFIF", position + 4):
            is_ybr = True
        position += 2 + length


def _last_fill_byte(codestream: bytes, position: int) -> int:
    run = _FILL.match(codestream, position)
    return run.end() - 1 if run else position
