"""An image within every limit, that no small worker can read."""

import struct
import zlib


def bomb(side: int = 8000) -> bytes:
    """Returns a 16-bit grey PNG of side x side pixels: a few hundred kB, 128 MB once decoded."""
    header = struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1) + b"".join(struct.pack(">H", 7 * x % 65521) for x in range(side))
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, body) for kind, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
