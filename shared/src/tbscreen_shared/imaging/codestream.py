"""What a compressed DICOM frame says of its own shape.

GDCM decodes what the codestream declares and compares with the header afterwards: two kilobytes of
JPEG 2000 can declare 65,535 x 65,535 pixels under a header of 64 x 64, another number of components
than SamplesPerPixel ends the process (JPEG 2000) or gives wrong levels (JPEG, JPEG-LS).
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
_JP2_START: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_JP2_CODESTREAM: Final = b"jp2c"
_JPEG_START: Final = b"\xff\xd8"
_NOT_A_FRAME: Final = (0xC4, 0xC8, 0xCC)
_JPEG_LS_FRAME: Final = 0xF7

Shape = tuple[int, int, int]
"""Width and height in pixels, samples per pixel."""


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


def declared_shape(codestream: bytes, transfer_syntax: UID) -> Shape | None:
    """Returns the shape that a codestream declares.

    None for a transfer syntax whose frames have no shape of their own (RLE).

    Raises:
        ValueError: it is no such codestream.
        struct.error: it ends early.
    """
    if transfer_syntax in JPEG2000TransferSyntaxes:
        return _j2k_shape(codestream)
    if transfer_syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        return _jpeg_shape(codestream)
    return None


def _j2k_shape(codestream: bytes) -> Shape:
    """ISO 15444-1, A.5.1."""
    if not codestream.startswith(_J2K_START):
        raise ValueError("not a JPEG 2000 codestream")
    right, bottom, left, top, components = struct.unpack_from(">4I16xH", codestream, 8)
    return right - left, bottom - top, components


def _jpeg_shape(codestream: bytes) -> Shape:
    """ISO 10918-1, B.2.2; JPEG-LS (ISO 14495-1, C.2.2) has the same header under a marker more."""
    if not codestream.startswith(_JPEG_START):
        raise ValueError("not a JPEG codestream")
    position = 2
    while True:
        fill, marker, length = struct.unpack_from(">BBH", codestream, position)
        if fill != 0xFF:
            raise ValueError("not a JPEG marker")
        if marker == 0xFF:
            position += 1
            continue
        if marker == _JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NOT_A_FRAME):
            height, width, components = struct.unpack_from(">HHB", codestream, position + 5)
            return width, height, components
        position += 2 + length
