"""Reads a radiograph from a file of any supported format."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import numpy as np

from tbscreen_shared.contracts import ImageFormat, Warning
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.formats import SNIFF_BYTES, sniff
from tbscreen_shared.imaging.dicom import read_dicom
from tbscreen_shared.imaging.levels import sample
from tbscreen_shared.imaging.limits import ImageLimits
from tbscreen_shared.imaging.memory import bounded_memory
from tbscreen_shared.imaging.radiograph import Radiograph
from tbscreen_shared.imaging.raster import read_raster

_LOW_RESOLUTION_PX: Final = 256
"""Below this short side a 299-pixel network sees less than its own resolution."""

_LOW_CONTRAST_LEVELS: Final = 20
"""Between the 2nd and the 98th percentile; real radiographs have 130 and more."""

_UNUSUAL_ASPECT: Final = 2.0
"""Long side to short side; detectors and films lie between 1.0 and 1.3."""


def read_radiograph(
    path: str | os.PathLike[str], *, limits: ImageLimits, target_px: int = 299
) -> Radiograph:
    """Decodes a radiograph; its format is told by content.

    Args:
        path: of a PNG, JPEG, TIFF or DICOM file.
        limits: checked on the header, before a pixel is decoded.
        target_px: the short side that the caller needs at least; a JPEG may be decoded smaller than
            it is, never smaller than this.

    Raises:
        ImageError: `empty_upload`, `unsupported_media_type`, `image_too_large` or
            `unreadable_image`. Its detail names no file and quotes nothing from one.
        OSError: the file can not be read from the disk.
    """
    with open(path, "rb") as stream:  # noqa: PTH123 - interns no name (ADR 27)
        head = stream.read(SNIFF_BYTES)
    if not head:
        raise ImageError(ErrorCode.EMPTY_UPLOAD, "the file is empty")
    image_format = sniff(head)
    if image_format is None:
        raise ImageError(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE, "the file is not a PNG, JPEG, TIFF or DICOM image"
        )
    with _damage_as_image_error(image_format), bounded_memory(limits.max_memory_bytes):
        if image_format is ImageFormat.DICOM:
            radiograph = read_dicom(path, limits=limits)
        else:
            radiograph = read_raster(path, image_format, limits=limits, target_px=target_px)
    return replace(radiograph, warnings=(*radiograph.warnings, *_quality_warnings(radiograph)))


@contextmanager
def _damage_as_image_error(image_format: ImageFormat) -> Iterator[None]:
    """Maps whatever a decoder raises on a damaged file to `unreadable_image`.

    Decoders document no closed set of exceptions: Pillow raises SyntaxError, struct.error and
    zlib.error among others, pydicom nearly anything. Neither cause, warning nor log line of theirs
    may be passed on: pydicom quotes the values of elements, Pillow those of tags (at DEBUG), and
    these may be a patient's.
    """
    for library in ("pydicom", "PIL"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        # Decoders raise OSError without a number; one with a number is the disk's.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ImageError(
            ErrorCode.UNREADABLE_IMAGE,
            f"the file is damaged, or a kind of {image_format.upper()} that can not be read",
        ) from None


def _quality_warnings(radiograph: Radiograph) -> Iterator[Warning]:
    short, long = sorted((radiograph.width, radiograph.height))
    if short < _LOW_RESOLUTION_PX:
        yield Warning.LOW_RESOLUTION
    dark, bright = np.percentile(sample(radiograph.pixels), (2, 98))
    if bright - dark < _LOW_CONTRAST_LEVELS:
        yield Warning.LOW_CONTRAST
    if long > _UNUSUAL_ASPECT * short:
        yield Warning.UNUSUAL_ASPECT
