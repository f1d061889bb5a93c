"""What is fuzzed: for each target, how an input becomes a file, and what to begin with."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.uid import UID

from fuzz.archives import OUTCOMES, archive_seeds, outcome_of_archive, repair_zip
from fuzz.repair import repair_png
from support.hostile import dicom_file as d
from support.hostile.case import READ, Case
from support.hostile.codestreams import codestream, run_lengths
from support.hostile.corpus import corpus
from support.hostile.dicom_file import us
from support.hostile.outcome import outcome_of
from support.hostile.seeds import phantom_bytes
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.imaging import ImageLimits
from tbscreen_shared.imaging.codestream import declared_image

_LONGEST_SEED: Final = 64 * 1024

# No bound on memory: what takes much of it is a finding (libFuzzer's -rss_limit_mb).
_LIMITS: Final = ImageLimits(max_pixels=1_000_000)
_IMAGE_OUTCOMES: Final[frozenset[str]] = frozenset(
    {
        READ,
        ErrorCode.EMPTY_UPLOAD,
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        ErrorCode.IMAGE_TOO_LARGE,
        ErrorCode.UNREADABLE_IMAGE,
    }
)


def _outcome_of_image(path: Path) -> str:
    return outcome_of(path, _LIMITS)


@dataclass(frozen=True)
class Target:
    """One format, or one kind of compressed frame in a DICOM file, or archives.

    Attributes:
        to_file: makes the file that is read of an input. What a check refuses at once (a checksum,
            a header of another size than its frame) is put right here, so that inputs get past it.
        seeds: inputs to begin with.
        outcome: reads the file and says how that ended.
        outcomes: the right ones.
    """

    to_file: Callable[[bytes], bytes]
    seeds: Callable[[], Iterator[bytes]]
    outcome: Callable[[Path], str] = _outcome_of_image
    outcomes: frozenset[str] = _IMAGE_OUTCOMES


def _as_it_is(data: bytes) -> bytes:
    return data


def _short(cases: Iterator[Case]) -> Iterator[bytes]:
    for case in cases:
        content = case.make()
        if len(content) <= _LONGEST_SEED:
            yield content


def _raster_seeds(image_format: str, *options: dict[str, object]) -> Callable[[], Iterator[bytes]]:
    def seeds() -> Iterator[bytes]:
        for option in options:
            yield phantom_bytes(image_format.upper(), 64, **option)
        yield from _short(corpus(image_format))

    return seeds


def _dicom_file(data: bytes) -> bytes:
    """By the first byte: a dataset to deflate, or a file as it is."""
    kind, rest = data[:1], data[1:]
    if kind == b"d":
        packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        return d.meta(d.DEFLATED) + packer.compress(rest) + packer.flush()
    return rest


def _dicom_seeds() -> Iterator[bytes]:
    yield b"d" + d.dataset()
    for content in _short(corpus("dicom")):
        yield b"f" + content


def _run_length_file(data: bytes) -> bytes:
    """The first byte picks the header: of 8 bits, 16 bits or colours."""
    kind = data[0] % len(_RUN_LENGTH_HEADERS) if data else 0
    return d.encapsulated(d.RUN_LENGTHS, data[1:], changes=_RUN_LENGTH_HEADERS[kind])


def _run_length_seeds() -> Iterator[bytes]:
    even, mixed = b"\x81\x07" * 32, (b"\xfd\x01" + b"\x03abcd") * 512
    for segment in (even, mixed):
        for kind, segments in enumerate((1, 2, 3)):
            yield bytes([kind]) + run_lengths(*[segment] * segments)


def _wrapped(*syntaxes: str) -> Callable[[bytes], bytes]:
    """Puts a codestream under a header that agrees with it; the first byte picks the syntax."""

    def wrap(data: bytes) -> bytes:
        syntax = syntaxes[data[0] % len(syntaxes)] if data else syntaxes[0]
        frame = data[1:]
        try:
            declared = declared_image(frame, UID(syntax))
        except Exception:
            return d.encapsulated(syntax, frame)
        bits = 8 * max(1, -(-declared.bits // 8))
        return d.encapsulated(
            syntax,
            frame,
            changes={
                **(d.COLOUR if declared.samples == 3 else {}),
                **d.sized(declared.width % 65_536, declared.height % 65_536),
                d.ALLOCATED: us(bits),
                d.STORED: us(min(declared.bits, bits)),
            },
        )

    return wrap


def _frame_seeds(*syntaxes: str) -> Callable[[], Iterator[bytes]]:
    def seeds() -> Iterator[bytes]:
        for index, syntax in enumerate(syntaxes):
            for colour in (False, True):
                for bits in (8, 16):
                    for side in (32, 64):
                        frame = codestream(syntax, side, bits=bits, colour=colour)
                        yield bytes([index]) + frame
        if d.JPEG_BASELINE in syntaxes:
            yield b"\0" + phantom_bytes("JPEG", 64, progressive=True)
            yield b"\0" + phantom_bytes("JPEG", 64, restart_marker_blocks=2)
        if d.JPEG_2000 in syntaxes:
            tiled = {"tile_size": (32, 32), "num_resolutions": 3, "no_jp2": True}
            yield b"\0" + phantom_bytes("JPEG2000", 64, **tiled)
            yield b"\0" + phantom_bytes("JPEG2000", 64, irreversible=True, no_jp2=True)
            yield b"\0" + phantom_bytes("JPEG2000", 64)

    return seeds


_RUN_LENGTH_HEADERS: Final = ({}, d.DEEP, d.COLOUR)
_JPEGS: Final = (d.JPEG_BASELINE, d.JPEG_EXTENDED, d.JPEG_LOSSLESS)

TARGETS: Final[dict[str, Target]] = {
    "png": Target(repair_png, _raster_seeds("png", {}, {"optimize": True})),
    "jpeg": Target(_as_it_is, _raster_seeds("jpeg", {}, {"progressive": True})),
    "tiff": Target(
        _as_it_is,
        _raster_seeds(
            "tiff",
            *(
                {"compression": name}
                for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
            ),
        ),
    ),
    "dicom": Target(_dicom_file, _dicom_seeds),
    "dicom-rle": Target(_run_length_file, _run_length_seeds),
    "dicom-jpeg": Target(_wrapped(*_JPEGS), _frame_seeds(*_JPEGS)),
    "dicom-jpeg-2000": Target(_wrapped(d.JPEG_2000), _frame_seeds(d.JPEG_2000)),
    "dicom-jpeg-ls": Target(_wrapped(d.JPEG_LS), _frame_seeds(d.JPEG_LS)),
    "zip": Target(repair_zip, archive_seeds, outcome_of_archive, OUTCOMES),
}
