"""Hostile DICOM files: sizes, bits, uncompressed pixels and what their levels mean."""

import struct
from collections.abc import Iterator
from typing import Final

from support.hostile import dicom_file as d
from support.hostile.case import READ, TOO_LARGE, UNREADABLE, Case, case, either
from support.hostile.dicom_file import dicom, element, item, text, ul, us

_DEEP: Final[d.Changes] = {
    **d.DEEP,
    d.PIXELS: (b"OW", struct.pack("<64H", *range(0, 65_536, 1024)) * 64),
}
_ODD: Final = ("nan", "inf", "-inf", "1e308", "-1e308", "1e-308", "0", "-1", "", "x", "1\\2")


def cases() -> Iterator[Case]:
    yield from _sizes()
    yield from _frames()
    yield from _kinds()
    yield from _bits()
    yield from _colours()
    yield from _pixels()
    yield from _windows()
    yield from _tables()


def _sizes() -> Iterator[Case]:
    for width, height, outcome in (
        (64, 0, UNREADABLE),
        (0, 64, UNREADABLE),
        (65_535, 65_535, TOO_LARGE),
        (64, 31, UNREADABLE),
        (1000, 1000, UNREADABLE),
    ):
        changes = {**d.sized(width, height), d.PIXELS: (b"OW", bytes(64))}
        yield case(f"dicom {width} x {height}", dicom(changes), outcome)


def _frames() -> Iterator[Case]:
    for frames in ("0", "-1", "-2147483648", "0.5", "1e9", "2", "65536", "nan", "", "x", "1\\1"):
        for vr in ("IS", "DS"):
            number = {d.FRAMES: text(vr, frames)}
            name = f"{frames or 'no number of'} frames as {vr}"
            yield either(f"dicom {name}", dicom(number))
            huge = dicom({**d.sized(65_535, 65_535), **number})
            yield case(f"dicom 65,535 x 65,535, {name}", huge, TOO_LARGE, UNREADABLE)


def _kinds() -> Iterator[Case]:
    for name, value in (
        ("text", text("LO", "64")),
        ("a fraction", text("DS", "64.5")),
        ("negative", (b"SS", struct.pack("<h", -64))),
        ("four bytes", ul(64)),
        ("2^32 - 1", ul(2**32 - 1)),
        ("a list", us(64, 64)),
        ("empty", us()),
        ("three bytes", (b"US", b"\1\2\3")),
        ("a sequence", (b"SQ", item(b""))),
    ):
        for tag in (d.ROWS, d.SAMPLES, d.ALLOCATED, d.SIGNED, d.PHOTOMETRIC):
            yield either(f"dicom {tag:#x} is {name}", dicom({tag: value}))


def _bits() -> Iterator[Case]:
    for allocated in (0, 1, 4, 7, 8, 12, 16, 24, 32, 64, 65_535):
        for stored in (0, 1, 8, 12, 16, 65_535):
            for high in (0, 7, 65_535):
                bits = {d.ALLOCATED: us(allocated), d.STORED: us(stored), d.HIGH_BIT: us(high)}
                yield either(f"dicom {stored} of {allocated} bits up to {high}", dicom(bits))
    for signed in (1, 2, 65_535):
        yield either(f"dicom signed {signed}", dicom({d.SIGNED: us(signed)}))


def _colours() -> Iterator[Case]:
    for samples in (0, 2, 3, 4, 65_535):
        for planar in (0, 1, 65_535):
            changes = {**d.COLOUR, d.SAMPLES: us(samples), d.PLANAR: us(planar)}
            yield either(f"dicom {samples} samples, planar {planar}", dicom(changes))
    for photometric in (
        *("", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_RCT"),
        *("XYB", "MONOCHROME3", "HSV"),
    ):
        for samples in (1, 3):
            changes = {
                d.SAMPLES: us(samples),
                d.PLANAR: us(0),
                d.PHOTOMETRIC: text("CS", photometric),
                d.PIXELS: (b"OB", bytes(4096 * samples)),
            }
            name = f"dicom {photometric or 'no photometric'} of {samples} samples"
            yield either(name, dicom(changes))


def _pixels() -> Iterator[Case]:
    for length in (0, 2, 4095, 4096, 4098, 100_000):
        content = dicom({d.PIXELS: (b"OW", bytes(length))})
        outcome = READ if length >= 4095 else UNREADABLE
        yield case(f"dicom {length} bytes of 4,096", content, outcome, UNREADABLE)
    yield case("dicom no pixels", dicom({d.PIXELS: None}), UNREADABLE)
    for value in ("nan", "inf", "-inf", "1e38"):
        for tag, vr, code, bits in (
            (d.FLOAT_PIXELS, b"OF", "f", 32),
            (d.DOUBLE_PIXELS, b"OD", "d", 64),
        ):
            data = struct.pack(f"<{code}", float(value)) * 4096
            floats = {tag: (vr, data), d.ALLOCATED: us(bits)}
            yield either(f"dicom floats {value} of {bits} bits", dicom({**floats, d.PIXELS: None}))
            yield either(f"dicom floats {value} of {bits} bits and integers", dicom(floats))


def _windows() -> Iterator[Case]:
    for number in _ODD:
        name = number or "empty"
        for tag in (d.SLOPE, d.INTERCEPT, d.CENTER, d.WIDTH):
            numbers = {d.SLOPE: "1", d.INTERCEPT: "0", d.CENTER: "100", d.WIDTH: "50", tag: number}
            values = {key: text("DS", value) for key, value in numbers.items()}
            for function in ("LINEAR", "SIGMOID", "LINEAR_EXACT", ""):
                changes = {**_DEEP, **values, d.FUNCTION: text("CS", function)}
                yield either(f"dicom {tag:#x} = {name}, {function or 'none'}", dicom(changes))
        padding = text("DS", number)
        yield either(f"dicom padding {name}", dicom({**_DEEP, d.PADDING: padding}))
        limited = {**_DEEP, d.PADDING: us(3), d.PADDING_LIMIT: padding}
        yield either(f"dicom padding limit {name}", dicom(limited))
    for vr, code in ((b"FD", "<d"), (b"FL", "<f")):
        for odd in (float("nan"), float("inf"), 1e38):
            value = (vr, struct.pack(code, odd))
            changes = {**_DEEP, d.SLOPE: value, d.INTERCEPT: value}
            yield either(f"dicom slope {odd} as {vr.decode()}", dicom(changes))
    many = text("DS", "\\".join(["1"] * 20_000))
    yield case("dicom 20,000 windows", dicom({**_DEEP, d.CENTER: many, d.WIDTH: many}), READ)


def _tables() -> Iterator[Case]:
    for descriptor in ((0, 0, 16), (4, 0, 16), (65_535, 65_535, 16), (4, 0, 65_535), (4,), ()):
        for data in (b"", b"\0\1", b"\0\1\2", bytes(8), bytes(60_000)):
            described = element(d.LUT_DESCRIPTOR, *us(*descriptor))
            lut = item(described + element(d.LUT_DATA, b"OW", data))
            for tag in (d.MODALITY_LUT, d.VOI_LUT):
                name = f"dicom {tag:#x} described {descriptor}, {len(data)} bytes"
                yield either(name, dicom({tag: (b"SQ", lut)}))
    for tag in (d.MODALITY_LUT, d.VOI_LUT):
        yield case(f"dicom {tag:#x} without items", dicom({tag: (b"SQ", b"")}), READ)
        empty = dicom({tag: (b"SQ", item(b""))})
        yield case(f"dicom {tag:#x} of an empty item", empty, UNREADABLE)
