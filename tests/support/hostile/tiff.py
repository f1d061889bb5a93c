"""Hostile TIFF files: sizes, strips, tiles and directories."""

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Final

from support.hostile import tiff_file as t
from support.hostile.case import (
    MIB,
    READ,
    TOO_LARGE,
    UNREADABLE,
    UNSUPPORTED,
    Case,
    case,
    either,
    truncations,
)
from support.hostile.deflate import zlib_zeros
from support.hostile.seeds import phantom_bytes
from support.hostile.tiff_file import packed, tiff

_MAX_LONG: Final = 2**32 - 1
_DEFLATED: Final = zlib.compress(bytes(t.SIDE * t.SIDE))


def cases() -> Iterator[Case]:
    yield from _bombs()
    yield from _sizes()
    yield from _strips()
    yield from _tiles()
    yield from _directories()
    yield from _subdirectories()
    plain = tiff()
    entries = range(t.directory_of(plain), len(plain), 12)
    yield from truncations("tiff", plain, [4, 8, 4000, *(entry + 2 for entry in entries)])
    for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg"):
        data = phantom_bytes("TIFF", 96, compression=name)
        begin = t.directory_of(data)
        count = int.from_bytes(data[begin : begin + 2], "little")
        entries = range(begin + 2, begin + 2 + 12 * count + 1, 12)
        edges = [8, begin, *entries, len(data) // 2, len(data) - 20]
        yield from truncations(f"tiff of {name}", data, edges)


def _bombs() -> Iterator[Case]:
    yield case("tiff deflate of 4 GiB for 64 x 64", packed(t.DEFLATE, zlib_zeros(4096)), READ)
    runs = b"\x81\0" * (10 * MIB)
    yield case("tiff PackBits of 1.3 GiB for 64 x 64", partial(packed, t.PACKBITS, runs), READ)
    nothing = bytes(20 * MIB)
    yield either("tiff LZW of 20 MiB of nothing", partial(packed, t.LZW, nothing))
    one_bit: dict[int, t.Field | None] = {t.BITS: (t.SHORT, 1)}
    yield either("tiff fax of 20 MiB of nothing", partial(packed, t.FAX4, nothing, one_bit))
    for rows in (0, 2**31, _MAX_LONG):
        content = packed(t.DEFLATE, _DEFLATED, {t.ROWS_PER_STRIP: (t.LONG, rows)})
        yield either(f"tiff deflate, {rows} rows in a strip", content)
    for tag in (700, 33_723, 34_377, 34_675, 37_724, 65_000):
        content = tiff({tag: (t.BYTES, bytes(20 * MIB))})
        yield either(f"tiff 20 MiB in tag {tag}", content)


def _sizes() -> Iterator[Case]:
    for width, height, outcome in (
        (0, 64, UNREADABLE),
        (64, 0, UNREADABLE),
        (65_535, 65_535, TOO_LARGE),
        (_MAX_LONG, _MAX_LONG, TOO_LARGE),
        (2**31, 32, TOO_LARGE),
        (1000, 1000, UNREADABLE),
    ):
        size: dict[int, t.Field | None] = {t.WIDTH: (t.LONG, width), t.HEIGHT: (t.LONG, height)}
        for compression in (t.RAW, t.DEFLATE):
            name = f"tiff {width} x {height}, compression {compression}"
            yield case(name, packed(compression, b"x", size), outcome)
    fields: dict[str, t.Field | None] = {
        "missing": None,
        "text": (t.ASCII, b"64\0" * 4),
        "a fraction": (t.RATIONAL, 8),
        "a float": (t.FLOAT, 8),
        "a list": (t.LONG, [64, 64]),
    }
    for tag in (t.WIDTH, t.HEIGHT):
        for name, field in fields.items():
            yield either(f"tiff {tag} is {name}", tiff({tag: field}))


def _strips() -> Iterator[Case]:
    for offset in (0, 4, 2**31, _MAX_LONG):
        yield either(f"tiff strip at {offset}", tiff({t.STRIPS: (t.LONG, offset)}))
    for length in (0, 1, _MAX_LONG):
        yield either(f"tiff strip of {length} bytes", tiff({t.STRIP_BYTES: (t.LONG, length)}))
    yield case("tiff no strips", tiff({t.STRIPS: None}), UNREADABLE)
    yield case("tiff an empty list of strips", tiff({t.STRIPS: (t.LONG, [])}), UNREADABLE)
    yield either("tiff strips without lengths", tiff({t.STRIP_BYTES: None}))
    by_row: dict[int, t.Field | None] = {t.ROWS_PER_STRIP: (t.LONG, 1)}
    yield either("tiff strips too few", tiff(by_row))
    same: dict[int, t.Field | None] = {
        t.STRIPS: (t.LONG, [8] * 64),
        t.STRIP_BYTES: (t.LONG, [64] * 64),
    }
    yield case("tiff all strips the same", tiff({**by_row, **same}), READ)
    for kind in (t.SHORT, t.LONG):
        for compression in (t.RAW, t.DEFLATE):
            name = f"tiff 3 million strips of type {kind}, compression {compression}"
            yield case(name, partial(_endless_strips, 3_000_000, kind, compression), UNREADABLE)


def _endless_strips(count: int, kind: int, compression: int) -> bytes:
    # The list lies where the pixels are: from a real one it would take seconds.
    places = struct.pack("<H" if kind == t.SHORT else "<I", 8) * count
    content = bytearray(packed(compression, places, {t.ROWS_PER_STRIP: (t.LONG, 1)}))
    entry = content.index(struct.pack("<HHII", t.STRIPS, t.LONG, 1, 8), len(places))
    content[entry : entry + 12] = struct.pack("<HHII", t.STRIPS, kind, count, 8)
    return bytes(content)


def _tiles() -> Iterator[Case]:
    no_strips: dict[int, t.Field | None] = {t.STRIPS: None, t.STRIP_BYTES: None}
    for width, height in (
        (0, 16),
        (16, 0),
        (16_000, 16_000),
        (_MAX_LONG, _MAX_LONG),
        (17, 1),
        (1, 1),
    ):
        tiles: dict[int, t.Field | None] = {
            t.TILE_WIDTH: (t.LONG, width),
            t.TILE_HEIGHT: (t.LONG, height),
            t.TILES: (t.LONG, [8] * 4),
            t.TILE_BYTES: (t.LONG, [64] * 4),
        }
        for compression in (t.RAW, t.DEFLATE):
            name = f"tiff tiles of {width} x {height}, compression {compression}"
            yield either(name, packed(compression, _DEFLATED, {**no_strips, **tiles}))
    unsized: dict[int, t.Field | None] = {t.STRIPS: None, t.TILES: (t.LONG, [8] * 4)}
    yield case("tiff tiles without a size", tiff(unsized), UNREADABLE)


def _directories() -> Iterator[Case]:
    plain = tiff()
    first, end = t.directory_of(plain), len(plain)
    looped = plain[:-4] + struct.pack("<I", first)
    yield case("tiff directory its own successor", looped, READ)
    circle = plain[:-4] + struct.pack("<I", end) + plain[first:-4] + struct.pack("<I", first)
    yield case("tiff directories in a circle", circle, READ)
    links = (struct.pack("<HI", 0, end + 6 * index) for index in range(1, 100_001))
    chain = plain[:-4] + struct.pack("<I", end) + b"".join(links)
    yield case("tiff 100,000 directories", chain, READ)
    for place in (0, 1, first + 1, end, _MAX_LONG):
        content = plain[:4] + struct.pack("<I", place) + plain[8:]
        yield case(f"tiff directory at {place}", content, UNREADABLE)
    for count in (0, 1, 65_535):
        content = plain[:first] + struct.pack("<H", count) + plain[first + 2 :]
        yield either(f"tiff {count} entries declared", content)
    yield case("tiff of 64-bit offsets", b"II+\0\x08\0\0\0" + bytes(64), UNSUPPORTED)
    yield case("tiff of mixed byte orders", b"MM\0*" + plain[4:], UNREADABLE)


def _subdirectories() -> Iterator[Case]:
    first = t.directory_of(tiff())
    for tag in (t.SUBDIRECTORIES, 0x8769, 0x8825, 0xA005):
        for place in (0, first, 2**31):
            for compression in (t.RAW, t.DEFLATE):
                pixels = _DEFLATED.ljust(t.SIDE * t.SIDE, b"\0")
                name = f"tiff subdirectory {tag:#x} at {place}, compression {compression}"
                yield either(name, packed(compression, pixels, {tag: (t.LONG, place)}))
    many = tiff({t.SUBDIRECTORIES: (t.LONG, [first] * 10_000)})
    yield either("tiff 10,000 subdirectories", many)
