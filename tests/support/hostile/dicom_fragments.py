"""Hostile DICOM files: fragments and run lengths."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from support.hostile import dicom_file as d
from support.hostile.case import MIB, READ, UNREADABLE, Case, case, either
from support.hostile.codestreams import codestream, run_lengths
from support.hostile.dicom_file import (
    dataset,
    delimiter,
    element,
    encapsulated,
    fragments,
    item,
    meta,
    text,
    us,
)

_EVEN: Final = b"\x81\x07" * 32
"""A segment of 64 x 64 sevens."""


def cases() -> Iterator[Case]:
    yield from _fragments()
    yield from _run_lengths()


def _pixels(content: bytes, frames: int = 1) -> bytes:
    number = {d.FRAMES: text("IS", str(frames)), d.PIXELS: None}
    pixels = element(d.PIXELS, b"OB", content, length=d.UNDEFINED)
    return meta(d.JPEG_BASELINE) + dataset(number) + pixels


def _fragments() -> Iterator[Case]:
    frame = codestream(d.JPEG_BASELINE)
    end = delimiter(d.SEQUENCE_END)
    for name, content in (
        ("none", end),
        ("an offset table only", item(b"") + end),
        ("an empty one", fragments(b"")),
        ("one of undefined length", item(b"") + item(frame, length=d.UNDEFINED)),
        ("something else", element(d.ROWS, *us(1)) * 10),
    ):
        yield case(f"dicom fragments: {name}", _pixels(content), UNREADABLE)
    yield either("dicom fragments: no end", _pixels(fragments(frame)[:-8]))
    yield either("dicom fragments: fewer than frames", _pixels(fragments(frame), 9))
    for length in (1, 2**31, 2**32 - 2):
        content = item(b"") + item(frame, length=length)
        yield either(f"dicom fragments: one of {length} bytes", _pixels(content))
    halves = fragments(frame[:300], frame[300:])
    yield case("dicom fragments: a frame in two", _pixels(halves), READ)
    pairs = fragments(*(frame[i : i + 2] for i in range(0, len(frame), 2)))
    yield case("dicom fragments: a frame in pairs of bytes", _pixels(pairs), READ)
    for offsets in (b"\0", bytes(4), b"\xff" * 4, b"\xff" * 4_000, bytes(400_000)):
        name = f"dicom fragments: {len(offsets)} bytes of offsets {offsets[:1].hex()}"
        yield either(name, _pixels(fragments(frame, offsets=offsets), 2))
    for frames in (1, 2):
        content = item(b"") * 2_000_000 + end
        name = f"dicom fragments: 2 million of {frames} frames"
        yield case(name, _pixels(content, frames), UNREADABLE)
    whole = meta(d.JPEG_BASELINE) + dataset()
    yield case("dicom compressed pixels of defined length", whole, UNREADABLE)


def _run_lengths() -> Iterator[Case]:
    encode = partial(encapsulated, d.RUN_LENGTHS)
    yield case("dicom runs", encode(run_lengths(_EVEN)), READ)
    for name, segment in (
        ("of 1.3 GiB", b"\x81\0" * (10 * MIB)),
        ("of no operation", b"\x80" * (20 * MIB)),
        ("that end early", _EVEN[:-2]),
        ("cut in a literal", _EVEN[:-2] + b"\x7f\x07"),
    ):
        yield case(f"dicom runs {name}", encode(run_lengths(segment)), UNREADABLE)
    large = d.sized(1000, 1000)
    for piece in (b"\0\7", b"\xff\7", b"\x80"):
        name = f"dicom runs of {piece.hex()} for 1000 x 1000"
        yield either(name, encode(run_lengths(piece * (10 * MIB)), changes=large))
    ones = run_lengths(b"\0\7" * 1_000_000)
    yield case("dicom runs of one byte", encode(ones, changes=large), READ)
    for count in (0, 2, 3, 15):
        content = encode(run_lengths(*[_EVEN] * count))
        yield case(f"dicom runs in {count} segments", content, UNREADABLE)
    for offset in (0, 63, 65, 100_000, d.UNDEFINED):
        content = encode(run_lengths(_EVEN, offsets=[offset]))
        yield either(f"dicom runs that begin at {offset}", content)
    overlapping = run_lengths(_EVEN, _EVEN, offsets=[64, 64])
    yield either("dicom runs whose segments overlap", encode(overlapping, changes=d.DEEP))
    for allocated in (1, 8, 12, 32, 64, 120):
        bits = {d.ALLOCATED: us(allocated), d.STORED: us(allocated)}
        content = encode(run_lengths(*[_EVEN] * (allocated // 8)), changes=bits)
        yield either(f"dicom runs of {allocated} bits", content)
