"""Deflate streams that expand a thousandfold, as fast as they can be repeated."""

import struct
import zlib
from typing import Final

_MIB: Final = 2**20
_ADLER_MODULUS: Final = 65_521


def zeros(mib: int) -> bytes:
    """A raw deflate stream of that many mebibytes of zeros, about a kilobyte for each."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # A full flush ends at a byte and forgets the window, so that the piece can be repeated.
    piece = packer.compress(bytes(_MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * mib + packer.flush(zlib.Z_FINISH)


def zlib_zeros(mib: int) -> bytes:
    """The same with zlib's header and checksum."""
    adler = (mib * _MIB % _ADLER_MODULUS) << 16 | 1
    return b"\x78\xda" + zeros(mib) + struct.pack(">I", adler)
