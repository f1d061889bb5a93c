"""Valid compressed frames of DICOM files."""

import struct
from functools import cache

import numpy as np
from imagecodecs import jpeg8_encode, jpegls_encode

from support.hostile.dicom_file import (
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LS,
    SIDE,
)
from support.hostile.jpeg_file import segment
from support.hostile.seeds import blank_bytes, phantom_bytes


@cache
def codestream(syntax: str, side: int = SIDE, *, bits: int = 8, colour: bool = False) -> bytes:
    """One frame of side x side pixels in a transfer syntax."""
    mode = "RGB" if colour else "L"
    is_drawn = side <= SIDE and not colour
    if syntax in (JPEG_BASELINE, JPEG_EXTENDED):
        return phantom_bytes("JPEG", side) if is_drawn else blank_bytes("JPEG", mode, side)
    if syntax == JPEG_2000:
        if is_drawn:
            return phantom_bytes("JPEG2000", side, no_jp2=True)
        return blank_bytes("JPEG2000", mode, side, no_jp2=True)
    pixels = np.zeros((side, side, 3) if colour else (side, side), f"u{bits // 8}")
    pixels[: side // 2] = 100
    if syntax == JPEG_LS:
        return bytes(jpegls_encode(pixels))
    return bytes(jpeg8_encode(pixels, lossless=True, outcolorspace="RGB", bitspersample=bits))


def run_lengths(*segments: bytes, offsets: list[int] | None = None) -> bytes:
    """A run-length coded frame; `offsets` lies about where its segments begin."""
    places = offsets or [64 + sum(map(len, segments[:index])) for index in range(len(segments))]
    return struct.pack("<16I", len(segments), *(places + [0] * 15)[:15]) + b"".join(segments)


def endless_codestream() -> bytes:
    """A JPEG-LS frame of 48 x 48 pixels, without an end, that CharLS 2.4.3 takes seconds to refuse.

    Its scan ends in the middle of a code, and the decoder goes on reading zeros for 2^32 bits
    (team-charls/charls, pull request 434).
    """
    frame = segment(0xF7, bytes.fromhex("08 0030 0030 01 01 11 00"))
    scan = segment(0xDA, bytes.fromhex("01 01 00 00 00 00"))
    data = bytes.fromhex("000001010b1dc695ff7fff7fff7e")
    return b"\xff\xd8" + frame + scan + data
