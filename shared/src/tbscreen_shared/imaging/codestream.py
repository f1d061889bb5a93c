"""What a compressed DICOM frame says of its own size.

GDCM decodes what the codestream declares and compares with Rows and Columns afterwards: two
kilobytes of JPEG 2000 can declare 65,535 x 65,535 pixels under a header of 64 x 64.
"""

import struct
from typing import Final

from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

_J2K_START: Final = b"\xff\x4f\xff\x51"
_JPEG_START: Final = b"\xff\xd8"
_NOT_A_FRAME: Final = (0xC4, 0xC8, 0xCC)
_JPEG_LS_FRAME: Final = 0xF7


def declared_size(frame: bytes, transfer_syntax: UID) -> tuple[int, int] | None:
    """Returns the (width, height) in pixels that a frame's codestream declares.

    None for a transfer syntax whose frames have no size of their own (RLE).

    Raises:
        ValueError: it is no such codestream.
        struct.error: it ends early.
    """
    if transfer_syntax in JPEG2000TransferSyntaxes:
        return _j2k_size(frame)
    if transfer_syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        return _jpeg_size(frame)
    return None


def _j2k_size(frame: bytes) -> tuple[int, int]:
    """ISO 15444-1, A.5.1. A JP2 box around the codestream is against PS3.5, and common."""
    start = frame.index(_J2K_START)
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    return right - left, bottom - top


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    """ISO 10918-1, B.2.2; JPEG-LS (ISO 14495-1, C.2.2) has the same header under a marker more."""
    if not frame.startswith(_JPEG_START):
        raise ValueError("not a JPEG codestream")
    position = 2
    while True:
        fill, marker, length = struct.unpack_from(">BBH", frame, position)
        if fill != 0xFF:
            raise ValueError("not a JPEG marker")
        if marker == 0xFF:
            position += 1
            continue
        if marker == _JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NOT_A_FRAME):
            height, width = struct.unpack_from(">HH", frame, position + 5)
            return width, height
        position += 2 + length
