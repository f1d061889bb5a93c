"""DICOM images, with pydicom, and GDCM for the compressed transfer syntaxes."""

import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from tbscreen_shared.contracts import ImageFormat, Warning
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging.codestream import bare_codestream, declared_shape
from tbscreen_shared.imaging.grayscale import Grayscale
from tbscreen_shared.imaging.levels import to_levels
from tbscreen_shared.imaging.limits import ImageLimits
from tbscreen_shared.imaging.radiograph import Radiograph
from tbscreen_shared.imaging.run_lengths import check_run_lengths

_MONOCHROME: Final = ("MONOCHROME1", "MONOCHROME2")
_LARGEST_SAMPLE_BYTES: Final = 4
_HEADER_ALLOWANCE_BYTES: Final = 16 * 2**20
_PREAMBLE_BYTES: Final = 132
_GROUP_LENGTH_ELEMENT_BYTES: Final = 12
_CHUNK_BYTES: Final = 64 * 1024

# Nothing else of a dataset is parsed, so that a patient's data never becomes a Python object.
_IMAGE_ELEMENTS: Final = [
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
]
_PIXEL_ELEMENTS: Final = ["PixelData", "FloatPixelData", "DoubleFloatPixelData"]


def read_dicom(path: Path, *, limits: ImageLimits) -> Radiograph:
    """Decodes the first frame of a DICOM file as a viewer would show it.

    Raises:
        ImageError: the image is too large, or too small to be read, or has no pixels.
        Exception: whatever pydicom or GDCM raises on a damaged file.
    """
    meta = read_file_meta_info(path)
    if meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        _check_inflated_size(path, meta, limits)
    header = dcmread(path, stop_before_pixels=True, specific_tags=list(_IMAGE_ELEMENTS))
    if "Rows" not in header or "Columns" not in header:
        raise ImageError(ErrorCode.UNREADABLE_IMAGE, "the DICOM object holds no image")
    width, height = int(header.Columns), int(header.Rows)
    frames = int(header.get("NumberOfFrames") or 1)
    limits.check(width, height, frames=frames)
    return Radiograph(
        pixels=_to_grey(_first_frame(path), header),
        width=width,
        height=height,
        format=ImageFormat.DICOM,
        warnings=(Warning.MULTIPLE_FRAMES,) if frames > 1 else (),
    )


def _check_inflated_size(path: Path, meta: FileMetaDataset, limits: ImageLimits) -> None:
    """A deflated dataset is inflated whole by pydicom before it looks at it."""
    allowed = limits.max_pixels * _LARGEST_SAMPLE_BYTES + _HEADER_ALLOWANCE_BYTES
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = 0
    with path.open("rb") as stream:
        group_length = int(meta.FileMetaInformationGroupLength)
        stream.seek(_PREAMBLE_BYTES + _GROUP_LENGTH_ELEMENT_BYTES + group_length)
        while chunk := stream.read(_CHUNK_BYTES):
            inflated += len(inflater.decompress(chunk))
            if inflated > allowed:
                raise ImageError(ErrorCode.IMAGE_TOO_LARGE, "the DICOM object inflates too far")


def _first_frame(path: Path) -> NDArray[Any]:
    """Returns the stored values, shape (h, w) or (h, w, 3)."""
    dataset = dcmread(path, specific_tags=[*_IMAGE_ELEMENTS, *_PIXEL_ELEMENTS])
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frames = int(dataset.get("NumberOfFrames") or 1)
        codestream = bare_codestream(get_frame(dataset.PixelData, 0, number_of_frames=frames))
        _check_codestream(codestream, dataset)
        # So that what is decoded is what was checked.
        dataset.PixelData = encapsulate([codestream])
        dataset.NumberOfFrames = 1
    return pixel_array(dataset, index=0)


def _check_codestream(codestream: bytes, header: Dataset) -> None:
    syntax = header.file_meta.TransferSyntaxUID
    if syntax == RLELossless:
        check_run_lengths(codestream, pixels=header.Columns * header.Rows)
    shape = declared_shape(codestream, syntax)
    if shape is not None and shape != (header.Columns, header.Rows, header.SamplesPerPixel):
        raise ImageError(
            ErrorCode.UNREADABLE_IMAGE,
            "the DICOM header and its image differ in size or in samples per pixel",
        )


def _to_grey(frame: NDArray[Any], header: Dataset) -> NDArray[np.uint8]:
    if frame.ndim == 3:
        if frame.dtype != np.uint8:
            raise ImageError(ErrorCode.UNREADABLE_IMAGE, "DICOM colour images are read at 8 bits")
        # pixel_array gives RGB for every YBR coding.
        return np.asarray(Image.fromarray(frame).convert("L"))
    if header.PhotometricInterpretation not in _MONOCHROME:
        raise ImageError(
            ErrorCode.UNREADABLE_IMAGE, "DICOM images are read as MONOCHROME1, MONOCHROME2 or RGB"
        )
    levels = to_levels(frame, Grayscale(header).transfer_of(frame))
    return 255 - levels if header.PhotometricInterpretation == "MONOCHROME1" else levels
