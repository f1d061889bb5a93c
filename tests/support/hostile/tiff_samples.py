"""Hostile TIFF files: what a pixel is."""

import struct
import zlib
from collections.abc import Iterator

from support.hostile import tiff_file as t
from support.hostile.case import READ, UNREADABLE, Case, case, either
from support.hostile.tiff_file import packed, tiff


def cases() -> Iterator[Case]:
    yield from _bits()
    yield from _channels()
    yield from _ybr()
    yield from _floats()
    for colours in (0, 3, 767, 768, 30_000):
        field: t.Field = (t.SHORT, [0xABCD] * colours)
        content = tiff({t.PHOTOMETRIC: (t.SHORT, 3), t.COLOURS: field})
        yield either(f"tiff palette of {colours} values", content)
    for predictor in (0, 2, 3, 65_535):
        field = (t.SHORT, predictor)
        content = packed(t.DEFLATE, zlib.compress(bytes(4096)), {t.PREDICTOR: field})
        yield either(f"tiff predictor {predictor}", content)
    for orientation in (0, 5, 8, 9, 65_535):
        content = tiff({t.ORIENTATION: (t.SHORT, orientation)})
        yield case(f"tiff orientation {orientation}", content, READ)
    for compression in (0, 2, 6, 7, 9, 50_001, 65_535):
        yield either(f"tiff compression {compression}", packed(compression, bytes(4096)))


def _bits() -> Iterator[Case]:
    plenty = zlib.compress(bytes(t.SIDE * t.SIDE * 8))
    for bits in (0, 1, 2, 3, 4, 6, 12, 16, 17, 24, 32, 64, 65_535):
        field: dict[int, t.Field | None] = {t.BITS: (t.SHORT, bits)}
        yield either(f"tiff of {bits} bits", tiff(field))
        yield either(f"tiff of {bits} bits, deflated", packed(t.DEFLATE, plenty, field))


def _channels() -> Iterator[Case]:
    for samples in (0, 2, 5, 65_535):
        for planar in (1, 2):
            content = tiff({t.SAMPLES: (t.SHORT, samples), t.PLANAR: (t.SHORT, planar)})
            yield either(f"tiff of {samples} samples, planar {planar}", content)
    for photometric in (2, 3, 4, 5, 6, 8, 32_803, 65_535):
        for extra in ([], [0], [2] * 3, [1] * 30_000):
            changes: dict[int, t.Field | None] = {
                t.PHOTOMETRIC: (t.SHORT, photometric),
                t.BITS: (t.SHORT, [8] * 3),
                t.SAMPLES: (t.SHORT, 3),
                t.EXTRA_SAMPLES: (t.SHORT, extra) if extra else None,
            }
            content = tiff(changes, bytes(t.SIDE * t.SIDE * 6))
            yield either(f"tiff photometric {photometric}, {len(extra)} extra samples", content)


def _ybr() -> Iterator[Case]:
    pixels = zlib.compress(bytes(t.SIDE * t.SIDE * 3))
    for sampling in ([0, 0], [1, 1], [2], [255, 255], [3, 7]):
        changes: dict[int, t.Field | None] = {
            t.PHOTOMETRIC: (t.SHORT, 6),
            t.BITS: (t.SHORT, [8] * 3),
            t.SAMPLES: (t.SHORT, 3),
            t.YBR_SAMPLING: (t.SHORT, sampling),
        }
        for compression in (t.RAW, t.DEFLATE, t.JPEG):
            name = f"tiff YCbCr sampled {sampling}, compression {compression}"
            yield either(name, packed(compression, pixels, changes))


def _floats() -> Iterator[Case]:
    floats: dict[int, t.Field | None] = {t.BITS: (t.SHORT, 32), t.SAMPLE_FORMAT: (t.SHORT, 3)}
    for name, value, outcome in (
        ("nan", float("nan"), UNREADABLE),
        ("inf", float("inf"), UNREADABLE),
        ("3e38", 3e38, READ),
    ):
        data = struct.pack("<f", value) * (t.SIDE * t.SIDE)
        yield case(f"tiff of floats that are all {name}", tiff(floats, data), outcome)
    mixed = struct.pack("<4f", -3.4e38, 3.4e38, 0, float("nan")) * (t.SIDE * t.SIDE // 4)
    yield case("tiff of floats from end to end", tiff(floats, mixed), READ)
