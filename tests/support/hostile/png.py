"""Hostile PNG files."""

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Final

from support.hostile.case import (
    READ,
    TOO_LARGE,
    UNREADABLE,
    Case,
    case,
    either,
    truncations,
)
from support.hostile.deflate import zlib_zeros
from support.hostile.exif import hostile_exifs
from support.hostile.seeds import phantom_bytes

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_CHANNELS: Final = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def header(width: int, height: int, *, bits: int = 8, colour: int = GREY) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def png(
    *before: bytes,
    size: tuple[int, int] = (64, 64),
    bits: int = 8,
    colour: int = GREY,
    level: int = 0x5A,
    pixels: bytes | None = None,
    after: bytes = b"",
) -> bytes:
    """A PNG of one byte value, with chunks `before` and `after` its pixels."""
    width, height = size
    row = b"\0" + bytes([level]) * -(-width * bits * _CHANNELS[colour] // 8)
    data = zlib.compress(row * height, 1) if pixels is None else pixels
    begin = SIGNATURE + header(width, height, bits=bits, colour=colour)
    return begin + b"".join(before) + chunk(b"IDAT", data) + after + chunk(b"IEND")


def cases() -> Iterator[Case]:
    yield from _bombs()
    yield from _many_chunks()
    yield from _dimensions()
    yield from _depths()
    yield from _palettes()
    yield from _metadata()
    yield from _animations()
    plain = phantom_bytes("PNG", 96)
    yield from truncations("png", plain, _chunk_edges(plain))


def _chunk_edges(data: bytes) -> Iterator[int]:
    """Where each chunk, its type, its body, its middle and its checksum begin."""
    yield from (4, 8)
    position = 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        body = position + 8
        yield from (position + 4, body, body + length // 2, body + length)
        position = body + length + 4
        yield position


def _bombs() -> Iterator[Case]:
    four_gib = zlib_zeros(4096)
    yield either("png pixels of 4 GiB for 64 x 64", partial(png, pixels=four_gib))
    for kind, prefix in (
        (b"zTXt", b"Comment\0\0"),
        (b"iTXt", b"Comment\0\1\0\0\0"),
        (b"iCCP", b"profile\0\0"),
    ):
        bomb = chunk(kind, prefix + four_gib)
        yield case(f"png {kind.decode()} of 4 GiB", partial(png, bomb), UNREADABLE)
    one_mib = zlib_zeros(1)
    for name, piece in (
        ("texts", chunk(b"zTXt", b"Comment\0\0" + one_mib)),
        # Pillow counts the memory of texts that have a name only.
        ("nameless texts", chunk(b"zTXt", b"\0\0" + one_mib)),
        ("profiles", chunk(b"iCCP", b"p\0\0" + one_mib[:-8])),
    ):
        many = piece * 10_000
        yield case(f"png 10,000 {name} of 1 MiB", partial(png, many), UNREADABLE)
        yield case(f"png 10,000 {name} of 1 MiB at the end", partial(png, after=many), UNREADABLE)


def _many_chunks() -> Iterator[Case]:
    private = chunk(b"prVt") * 2_000_000
    yield case("png 2 million private chunks", partial(png, private), UNREADABLE)
    yield case("png 2 million private chunks at the end", partial(png, after=private), UNREADABLE)
    empty = chunk(b"IDAT") * 2_000_000
    yield case("png 2 million empty pixel chunks", partial(png, empty), UNREADABLE)
    data = zlib.compress(bytes(65 * 64))
    bytewise = b"".join(chunk(b"IDAT", data[i : i + 1]) for i in range(len(data)))
    yield case("png a chunk a byte", SIGNATURE + header(64, 64) + bytewise, READ)


def _dimensions() -> Iterator[Case]:
    for width, height, outcome in (
        (65_535, 65_535, TOO_LARGE),
        (2**31 - 1, 2**31 - 1, TOO_LARGE),
        (2**32 - 1, 2**32 - 1, TOO_LARGE),
        (2_000_001, 32, TOO_LARGE),
        (0, 64, UNREADABLE),
        (64, 0, UNREADABLE),
        (0, 0, UNREADABLE),
        (64, 31, UNREADABLE),
    ):
        content = SIGNATURE + header(width, height) + chunk(b"IDAT", zlib_zeros(1))
        yield case(f"png {width} x {height}", content + chunk(b"IEND"), outcome)
    yield case("png a second header, larger", png(header(60_000, 60_000)), TOO_LARGE)
    yield case("png a second header, smaller", png(header(1, 1)), UNREADABLE)


def _depths() -> Iterator[Case]:
    for bits, colour in ((3, GREY), (16, PALETTE), (8, 1), (4, RGB), (0, GREY), (255, 255)):
        content = SIGNATURE + header(64, 64, bits=bits, colour=colour)
        content += chunk(b"IDAT", zlib.compress(bytes(64 * 65))) + chunk(b"IEND")
        yield case(f"png {bits} bits and colour type {colour}", content, UNREADABLE)
    for bits in (1, 2, 4, 8):
        grey = partial(png, bits=bits)
        name = f"png grey of {bits} bits"
        yield case(name, grey(), READ)
        yield case(f"{name}, transparent", grey(chunk(b"tRNS", b"\0\1")), READ)
        yield case(f"{name}, transparency cut", grey(chunk(b"tRNS", b"\0")), UNREADABLE)
    transparent = chunk(b"tRNS", b"ZZ")
    yield case("png grey of 16 bits, transparent", png(transparent, bits=16), READ)
    yield case("png RGB, transparency cut", png(transparent, colour=RGB), UNREADABLE)
    yield case("png RGB, transparent", png(chunk(b"tRNS", b"\0Z" * 3), colour=RGB), READ)
    for colour in (RGB, GREY_ALPHA, RGBA):
        yield case(f"png 16 bits, colour type {colour}", png(bits=16, colour=colour), READ)


def _palettes() -> Iterator[Case]:
    two_colours = chunk(b"PLTE", bytes([0, 0, 0, 255, 255, 255]))
    for bits in (1, 2, 4, 8):
        palette = partial(png, bits=bits, colour=PALETTE, level=0xFF)
        name = f"png palette of {bits} bits"
        yield case(f"{name}, indices beyond", palette(two_colours), READ)
        yield either(f"{name}, none there", palette())
        yield either(f"{name}, too many alphas", palette(two_colours, chunk(b"tRNS", bytes(300))))
        yield either(f"{name}, no alphas", palette(two_colours, chunk(b"tRNS")))
    for length in (0, 1, 2, 769, 30_000):
        colours = chunk(b"PLTE", bytes(length))
        yield either(f"png palette of {length} bytes", png(colours, colour=PALETTE))


def _metadata() -> Iterator[Case]:
    for kind in (b"IHDR", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"acTL", b"fcTL", b"fdAT"):
        yield either(f"png empty {kind.decode()}", png(chunk(kind)))
    for kind in (b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"eXIf"):
        yield either(f"png empty {kind.decode()}", png(chunk(kind)))
    wrong = bytearray(png())
    wrong[30] ^= 1
    yield case("png wrong checksum of the header", bytes(wrong), UNREADABLE)
    yield case("png chunk of 4 GiB", png(b"\xff\xff\xff\xffprVt"), UNREADABLE)
    yield case("png chunk without a name", png(bytes(8)), UNREADABLE)
    for name in (b"crc_", b"read", b"IEND", b"DDAT"):
        yield either(f"png chunk named {name.decode()}", png(chunk(name)))
    for text, block in hostile_exifs():
        yield either(f"png EXIF {text}", png(chunk(b"eXIf", block)))
    raw = b"Raw profile type exif\0\nexif\n" + b"9" * 5_000 + b"\n"
    yield either("png EXIF as text", png(chunk(b"tEXt", raw)))


def _animations() -> Iterator[Case]:
    def control(width: int, height: int, dispose: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 0, dispose, 1))

    for frames in (0, 1, 2, 2**31, 2**32 - 1):
        animated = chunk(b"acTL", struct.pack(">II", frames, 0))
        yield either(f"png of {frames} frames", png(animated))
        for side in (0, 1, 64):
            for dispose in (0, 1, 2, 255):
                name = f"png of {frames} frames, the first {side} x {side}, dispose {dispose}"
                yield either(name, png(animated, control(side, side, dispose)))
        huge = control(65_535, 65_535, 0)
        yield either(f"png of {frames} frames, one larger", png(animated, huge))
