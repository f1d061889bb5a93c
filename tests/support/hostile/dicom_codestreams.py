"""Hostile DICOM files: frames that contradict their header, and damaged ones."""

import struct
from collections.abc import Iterator
from functools import partial

from support.hostile import dicom_file as d
from support.hostile.case import READ, TOO_LARGE, UNREADABLE, Case, case, either, truncations
from support.hostile.codestreams import codestream, endless_codestream, run_lengths
from support.hostile.dicom_file import dataset, encapsulated, text, us
from support.hostile.jpeg_file import (
    many_scans,
    reframed,
    segment,
    with_second_frame,
    with_segments,
)
from support.hostile.seeds import blank_bytes

_JPEGS = (d.JPEG_BASELINE, d.JPEG_EXTENDED, d.JPEG_LOSSLESS)
_SYNTAXES = (*_JPEGS, d.JPEG_LS, d.JPEG_2000)


def cases() -> Iterator[Case]:
    for syntax in _SYNTAXES:
        yield from _contradictions(syntax)
    yield from _depths()
    yield from _jpeg()
    yield from _jpeg_2000()
    yield from _jpeg_ls()
    for syntax in (*_SYNTAXES, d.RUN_LENGTHS):
        yield from _truncations(syntax)


def _truncations(syntax: str) -> Iterator[Case]:
    is_runs = syntax == d.RUN_LENGTHS
    frame = run_lengths(b"\x81\x07" * 32) if is_runs else codestream(syntax)
    content = encapsulated(syntax, frame)
    begin = content.index(frame)
    inner = range(0, len(frame), max(1, len(frame) // 12))
    edges = [begin - 8, *(begin + offset for offset in inner), len(content) - 8]
    yield from truncations(f"dicom of {syntax}", content, edges)
    for cut in inner:
        name = f"dicom of {syntax}, frame cut at {cut}"
        # OpenJPEG reads what is there of an image that comes in ever finer layers.
        yield case(
            name,
            encapsulated(syntax, frame[:cut]),
            UNREADABLE,
            *([READ] if syntax == d.JPEG_2000 else []),
        )


def _contradictions(syntax: str) -> Iterator[Case]:
    encode = partial(encapsulated, syntax)
    grey, coloured = codestream(syntax), codestream(syntax, colour=True)
    name = f"dicom of {syntax}"
    yield case(name, encode(grey), READ)
    yield case(f"{name} in colour", encode(coloured, changes=d.COLOUR), READ)
    yield case(f"{name}: grey that is colour", encode(coloured), UNREADABLE)
    yield case(f"{name}: colour that is grey", encode(grey, changes=d.COLOUR), UNREADABLE)
    yield case(f"{name}: a smaller image", encode(codestream(syntax, 32)), UNREADABLE)
    yield case(f"{name}: a larger image", encode(codestream(syntax, 128)), UNREADABLE)
    for allocated in (1, 8, 12, 16, 32, 64):
        for stored in (0, 1, 7, 8, 12, 16, 32):
            bits = {d.ALLOCATED: us(allocated), d.STORED: us(stored)}
            yield either(f"{name}: said to be {stored} of {allocated}", encode(grey, changes=bits))
    for other in (*_SYNTAXES, d.RUN_LENGTHS):
        if other != syntax:
            yield either(f"{name} said to be {other}", encapsulated(other, grey))
    huge = dataset({d.PIXELS: None, **d.sized(65_535, 65_535)})
    yield case(f"{name}: another size behind the pixels", encode(grey) + huge, TOO_LARGE)


def _depths() -> Iterator[Case]:
    for syntax in (d.JPEG_LOSSLESS, d.JPEG_LS):
        deep = codestream(syntax, bits=16)
        for stored in (8, 10, 12, 16):
            bits = {d.ALLOCATED: us(8 if stored == 8 else 16), d.STORED: us(stored)}
            content = encapsulated(syntax, deep, changes=bits)
            yield either(f"dicom of {syntax}: 16 bits said to be {stored}", content)


def _jpeg() -> Iterator[Case]:
    scans = encapsulated(d.JPEG_BASELINE, many_scans(d.SIDE, 10_000))
    yield case("dicom JPEG of 10,000 scans", scans, UNREADABLE)
    for syntax in _JPEGS:
        plain = codestream(syntax)
        encode = partial(encapsulated, syntax)
        name = f"dicom of {syntax}"
        yield case(f"{name}: a second frame", encode(with_second_frame(plain)), UNREADABLE)
        for precision in (0, 2, 7, 9, 12, 13, 16, 17, 255):
            frame = reframed(plain, precision=precision)
            yield either(f"{name}: {precision} bits in the frame", encode(frame))
        for marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xF7):
            frame = reframed(plain, marker=marker)
            yield either(f"{name}: frame marked {marker:#x}", encode(frame))
        for sampling in (0, 0x14, 0x41, 0x44, 0xFF):
            frame = reframed(plain, sampling=sampling)
            yield either(f"{name}: sampled {sampling:#x}", encode(frame))
        for kind, content in (
            ("2 million comments", segment(0xFE) * 2_000_000),
            ("10 MiB of fill", b"\xff" * (10 * 2**20)),
            ("2 million restarts", b"\xff\xd0\0\2" * 2_000_000),
            ("10 MiB of nothing", bytes([0, 0, 0, 2]) * (2_500_000)),
        ):
            yield either(f"{name}: {kind}", partial(encode, with_segments(plain, content)))


def _jpeg_2000() -> Iterator[Case]:
    plain = codestream(d.JPEG_2000)
    size, style = plain.index(b"\xff\x51"), plain.index(b"\xff\x52")

    def patched(offset: int, form: str, *values: int) -> bytes:
        content = bytearray(plain)
        struct.pack_into(form, content, offset, *values)
        return bytes(content)

    huge = patched(size + 6, ">II", 65_535, 65_535)
    for frames in ("-1", "0.5", "-0"):
        for vr in ("IS", "DS"):
            changes = {**d.sized(65_535, 65_535), d.FRAMES: text(vr, frames)}
            content = encapsulated(d.JPEG_2000, huge, changes=changes)
            name = f"dicom JPEG 2000 of 65,535 x 65,535, {frames} frames as {vr}"
            yield case(name, content, TOO_LARGE, UNREADABLE)
    behind = dataset({d.PIXELS: None, **d.sized(65_535, 65_535)})
    content = encapsulated(d.JPEG_2000, huge) + behind
    yield case("dicom JPEG 2000, its size behind the pixels", content, TOO_LARGE)
    far = (2**31 + 64, 2**31 + 64, 2**31, 2**31, 64, 64, 2**31, 2**31)
    for name, offset, form, values in (
        ("tiles of 1 x 1", size + 22, ">II", (1, 1)),
        ("tiles of 0 x 0", size + 22, ">II", (0, 0)),
        ("tiles of 2^31", size + 22, ">II", (2**31, 2**31)),
        ("far from its origin", size + 6, ">8I", far),
        ("32 bits", size + 40, ">B", (31,)),
        ("38 bits, signed", size + 40, ">B", (0xA5,)),
        ("subsampled", size + 41, ">BB", (2, 2)),
        ("subsampled 0", size + 41, ">BB", (0, 0)),
        ("65,535 layers", style + 6, ">H", (65_535,)),
        ("no layers", style + 6, ">H", (0,)),
        ("32 resolutions", style + 9, ">B", (32,)),
        ("255 resolutions", style + 9, ">B", (255,)),
        ("blocks of 2^17", style + 10, ">BB", (15, 15)),
        ("precincts", style + 4, ">B", (1,)),
        ("a colour transform", style + 8, ">B", (1,)),
    ):
        frame = patched(offset, form, *values)
        yield either(f"dicom JPEG 2000, {name}", encapsulated(d.JPEG_2000, frame))
    tiled = blank_bytes("JPEG2000", "L", 1000, no_jp2=True, tile_size=(4, 4))
    changes = d.sized(1000, 1000)
    content = encapsulated(d.JPEG_2000, tiled, changes=changes)
    yield case("dicom JPEG 2000 of 62,500 tiles", content, UNREADABLE)


def _jpeg_ls() -> Iterator[Case]:
    plain = codestream(d.JPEG_LS)
    scan = plain.index(b"\xff\xda")
    for near in (1, 255):
        frame = plain[: scan + 7] + bytes([near]) + plain[scan + 8 :]
        yield either(f"dicom JPEG-LS, near {near}", encapsulated(d.JPEG_LS, frame))
    for kind in (1, 2, 3, 4, 255):
        preset = segment(0xF8, bytes([kind]) + b"\xff" * 10)
        frame = plain[:scan] + preset + plain[scan:]
        yield either(f"dicom JPEG-LS, preset {kind}", encapsulated(d.JPEG_LS, frame))
    for end in (b"", b"\xff", b"\xff\xd9"):
        frame = endless_codestream() + end
        content = encapsulated(d.JPEG_LS, frame, changes=d.sized(48, 48))
        yield case(f"dicom JPEG-LS, endless code and {end.hex() or 'no end'}", content, UNREADABLE)
