"""The largest images that are read, of each kind: what the bound on memory must let pass.

Not hostile, and too dear to make in each run of the tests: `python -m support.hostile.measure`
reads them.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from support.hostile import dicom_file as d
from support.hostile import png
from support.hostile.case import READ, Case, case
from support.hostile.codestreams import codestream, run_lengths
from support.hostile.deflate import zeros
from support.hostile.dicom_file import encapsulated, us
from support.hostile.seeds import blank_bytes

_SIDE: Final = 8000
_RUN: Final = b"\x81\0" * (_SIDE * _SIDE // 128)
_LARGE: Final = d.sized(_SIDE, _SIDE)


def cases() -> Iterator[Case]:
    yield from _pngs()
    yield from _jpegs()
    yield from _tiffs()
    yield from _dicoms()


def _pngs() -> Iterator[Case]:
    for bits, colour in ((1, png.GREY), (16, png.GREY), (8, png.PALETTE), (16, png.RGBA)):
        make = partial(
            png.png, png.chunk(b"PLTE", bytes(768)), size=(_SIDE, _SIDE), bits=bits, colour=colour
        )
        yield case(f"png of {bits} bits, colour type {colour}", make, READ)
    yield case("png 2,000,000 x 32", partial(png.png, size=(2_000_000, 32), bits=16), READ)
    yield case("png 32 x 2,000,000", partial(png.png, size=(32, 2_000_000), bits=16), READ)


def _jpegs() -> Iterator[Case]:
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            make = partial(blank_bytes, "JPEG", mode, _SIDE, progressive=progressive)
            yield case(f"jpeg {mode}{' in scans' * progressive}", make, READ)


def _tiffs() -> Iterator[Case]:
    for mode in ("1", "L", "I;16", "I", "F", "P", "RGBA", "CMYK"):
        make = partial(blank_bytes, "TIFF", mode, _SIDE, compression="tiff_adobe_deflate")
        yield case(f"tiff {mode}", make, READ)
    for name in ("tiff_lzw", "packbits", "jpeg", "zstd"):
        yield case(f"tiff {name}", partial(blank_bytes, "TIFF", "L", _SIDE, compression=name), READ)


def _dicoms() -> Iterator[Case]:
    for name, syntax, changes, colour, bits in (
        ("JPEG", d.JPEG_BASELINE, {}, False, 8),
        ("JPEG", d.JPEG_BASELINE, d.YBR, True, 8),
        ("JPEG 2000", d.JPEG_2000, {}, False, 8),
        ("JPEG 2000", d.JPEG_2000, d.COLOUR, True, 8),
        ("JPEG-LS", d.JPEG_LS, d.DEEP, False, 16),
        ("JPEG-LS", d.JPEG_LS, d.COLOUR, True, 8),
        ("lossless JPEG", d.JPEG_LOSSLESS, d.DEEP, False, 16),
        ("lossless JPEG", d.JPEG_LOSSLESS, d.COLOUR, True, 8),
    ):
        yield case(
            f"dicom {name} of {bits} bits{' in colour' * colour}",
            partial(_compressed, syntax, dict(changes), colour=colour, bits=bits),
            READ,
        )
    for name, segments, changes in (
        ("16 bits", 2, d.DEEP),
        ("colour", 3, d.COLOUR),
        ("YBR", 3, d.YBR),
    ):
        frame = run_lengths(*[_RUN] * segments)
        make = partial(encapsulated, d.RUN_LENGTHS, frame, changes={**_LARGE, **changes})
        yield case(f"dicom runs of {name}", make, READ)
    for bits in (8, 16, 32):
        yield case(f"dicom deflated, {bits} bits", partial(_deflated, bits), READ)


def _compressed(
    syntax: str, changes: dict[int, d.Value | None], *, colour: bool, bits: int
) -> bytes:
    frame = codestream(syntax, _SIDE, bits=bits, colour=colour)
    return encapsulated(syntax, frame, changes={**_LARGE, **changes})


def _deflated(bits: int) -> bytes:
    import zlib

    depth = {d.ALLOCATED: us(bits), d.STORED: us(bits), d.HIGH_BIT: us(bits - 1)}
    length = _SIDE * _SIDE * bits // 8
    head = d.dataset({**_LARGE, **depth, d.PIXELS: None}) + d.element(
        d.PIXELS, b"OW", b"", length=length
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    begin = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    return d.meta(d.DEFLATED) + begin + zeros(-(-length // 2**20))
