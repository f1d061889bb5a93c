"""The stored values of a DICOM image's first frame.

Compressed frames are decoded by imagecodecs, which calls libjpeg-turbo, OpenJPEG and CharLS and
raises on what they refuse. GDCM ends the process that hands it a contradiction
(docs/adr/0020-hostile-pictures.md).
"""

import io
from typing import Any, Final

import numpy as np
from imagecodecs import jpeg2k_decode, jpeg8_decode, jpegls_decode
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging.bounded_stream import BoundedStream
from tbscreen_shared.imaging.codestream import Declared, bare_codestream, declared_image
from tbscreen_shared.imaging.run_lengths import decode_run_lengths
from tbscreen_shared.imaging.structure import check_jpeg

_AS_STORED: Final[dict[str, Any]] = {"as_rgb": False}
"""pydicom would turn colours to RGB in float32, all at once."""

_WITH_DEPTH: Final = (*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes)
"""Whose own depth counts, and not the header's."""

_BY_ITS_WAVELETS: Final = ("YBR_ICT", "YBR_RCT")
"""Colours that a JPEG 2000 decoder turns to RGB itself."""


def first_frame(dataset: Dataset) -> tuple[NDArray[Any], str]:
    """Decodes the first frame of an image.

    Args:
        dataset: with `file_meta` and pixel data; its declared size has been checked.

    Returns:
        The stored values, shape (h, w) or (h, w, 3), and how colours are to be understood: the
        photometric interpretation, where YBR_FULL is what has still to be turned to RGB.

    Raises:
        ImageError: `unreadable_image`.
        Exception: whatever pydicom or a decoder raises on a damaged file.
    """
    syntax: UID = dataset.file_meta.TransferSyntaxUID
    photometric = str(dataset.PhotometricInterpretation)
    if syntax.is_encapsulated:
        return _decompressed_frame(dataset, syntax, photometric)
    pixels, properties = get_decoder(syntax).as_array(dataset, index=0, **_AS_STORED)
    return pixels, str(properties["photometric_interpretation"])


def _decompressed_frame(
    dataset: Dataset, syntax: UID, photometric: str
) -> tuple[NDArray[Any], str]:
    fragments = BoundedStream(io.BytesIO(dataset.PixelData))
    frames = int(dataset.get("NumberOfFrames") or 1)
    frame = get_frame(fragments, 0, number_of_frames=frames)
    fragments.check_reads_left()
    if syntax == RLELossless:
        pixels = decode_run_lengths(
            frame,
            height=dataset.Rows,
            width=dataset.Columns,
            samples=dataset.SamplesPerPixel,
            sample_bytes=dataset.BitsAllocated // 8,
        )
        return _as_declared(pixels, dataset, photometric, bits_stored=dataset.BitsStored)
    codestream = bare_codestream(frame)
    if syntax not in JPEG2000TransferSyntaxes:
        check_jpeg(codestream, whole=True)
    declared = declared_image(codestream, syntax)
    if (declared.width, declared.height, declared.samples) != (
        dataset.Columns,
        dataset.Rows,
        dataset.SamplesPerPixel,
    ):
        raise ImageError(
            ErrorCode.UNREADABLE_IMAGE,
            "the DICOM header and its image differ in size or in samples per pixel",
        )
    return _as_declared(
        _decode(codestream, syntax, declared),
        dataset,
        _colours_of(syntax, declared, photometric),
        bits_stored=declared.bits if syntax in _WITH_DEPTH else dataset.BitsStored,
    )


def _decode(codestream: bytes, syntax: UID, declared: Declared) -> NDArray[Any]:
    if syntax in JPEG2000TransferSyntaxes:
        pixels = jpeg2k_decode(codestream, numthreads=1)
    elif syntax in JPEGLSTransferSyntaxes:
        pixels = jpegls_decode(codestream)
    elif declared.samples == 1:
        pixels = jpeg8_decode(codestream)
    else:
        # The same space in and out: as they are stored.
        pixels = jpeg8_decode(codestream, colorspace="YCBCR", outcolorspace="YCBCR")
    shape = (declared.height, declared.width, declared.samples)[: 3 if declared.samples > 1 else 2]
    if pixels.shape != shape:
        raise ValueError("the decoded image is not the declared one")
    return np.ascontiguousarray(pixels)


def _colours_of(syntax: UID, declared: Declared, photometric: str) -> str:
    if syntax in JPEG2000TransferSyntaxes:
        return "RGB" if photometric in _BY_ITS_WAVELETS else photometric
    if declared.samples == 1 or declared.is_ybr is None:
        return photometric
    if not declared.is_ybr:
        return "RGB"
    return photometric if "YBR" in photometric else "YBR_FULL"


def _as_declared(
    pixels: NDArray[Any], dataset: Dataset, photometric: str, *, bits_stored: int
) -> tuple[NDArray[Any], str]:
    """Has pydicom see to unused bits and signs, as it does of uncompressed pixels."""
    if photometric == "YBR_FULL_422":
        # Subsampling ends with decoding.
        photometric = "YBR_FULL"
    bits = 8 * pixels.itemsize
    allocated = dataset.BitsAllocated
    if allocated % 8 or bits > allocated or not 1 <= dataset.BitsStored <= allocated:
        raise ValueError("the image has other bits than its header allows")
    declared: dict[str, Any] = {
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "number_of_frames": 1,
        "samples_per_pixel": dataset.SamplesPerPixel,
        "planar_configuration": 0,
        "photometric_interpretation": photometric,
        "bits_allocated": bits,
        "bits_stored": min(bits_stored, bits),
        "pixel_representation": dataset.PixelRepresentation,
        "pixel_keyword": "PixelData",
    }
    corrected, _ = get_decoder(ExplicitVRLittleEndian).as_array(
        pixels.data.cast("B"), index=0, **declared, **_AS_STORED
    )
    return corrected, photometric
