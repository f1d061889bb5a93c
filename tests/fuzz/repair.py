"""Puts right what would keep a mutated PNG from being looked at: its checksums."""

import struct
import zlib
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def repair_png(data: bytes) -> bytes:
    """Returns the PNG with its signature and the right checksum behind every chunk."""
    repaired = bytearray(_SIGNATURE)
    position = len(_SIGNATURE)
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        body = data[position + 4 : end]
        repaired += data[position : position + 4] + body + struct.pack(">I", zlib.crc32(body))
        position = end + 4
    return bytes(repaired)
