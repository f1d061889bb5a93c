"""DICOM images, with pydicom, and imagecodecs for the compressed transfer syntaxes."""

import io
import os
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space

from tbscreen_shared.contracts import ImageFormat, Warning
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging.bounded_stream import BoundedStream
from tbscreen_shared.imaging.dicom_file import read_image_dataset
from tbscreen_shared.imaging.dicom_frame import first_frame
from tbscreen_shared.imaging.grayscale import Grayscale
from tbscreen_shared.imaging.levels import row_blocks, to_levels
from tbscreen_shared.imaging.limits import ImageLimits
from tbscreen_shared.imaging.radiograph import Radiograph

_MONOCHROME: Final = ("MONOCHROME1", "MONOCHROME2")


def read_dicom(path: str | os.PathLike[str], *, limits: ImageLimits) -> Radiograph:
    """Decodes the first frame of a DICOM file as a viewer would show it.

    Raises:
        ImageError: the image is too large, or too small to be read, or has no pixels.
        Exception: whatever pydicom or a decoder raises on a damaged file.
    """
    with io.FileIO(path) as file:
        dataset = read_image_dataset(BoundedStream(file), limits)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise ImageError(ErrorCode.UNREADABLE_IMAGE, "the DICOM object holds no image")
    width, height = int(dataset.Columns), int(dataset.Rows)
    frames = int(dataset.get("NumberOfFrames") or 1)
    limits.check(width, height, frames=frames)
    frame, photometric = first_frame(dataset)
    return Radiograph(
        pixels=_colours_to_grey(frame, photometric)
        if frame.ndim == 3
        else _to_grey(frame, dataset),
        width=width,
        height=height,
        format=ImageFormat.DICOM,
        warnings=(Warning.MULTIPLE_FRAMES,) if frames > 1 else (),
    )


def _colours_to_grey(frame: NDArray[Any], photometric: str) -> NDArray[np.uint8]:
    """In strips: pydicom's conversion works in float32, on copies of all it is given."""
    if frame.dtype != np.uint8:
        raise ImageError(ErrorCode.UNREADABLE_IMAGE, "DICOM colour images are read at 8 bits")
    height, width, _ = frame.shape
    grey = np.empty((height, width), dtype=np.uint8)
    for rows in row_blocks(height, width):
        colours = frame[rows]
        if photometric == "YBR_FULL":
            colours = convert_color_space(colours, "YBR_FULL", "RGB")
        grey[rows] = np.asarray(Image.fromarray(colours).convert("L"))
    return grey


def _to_grey(frame: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    if dataset.PhotometricInterpretation not in _MONOCHROME:
        raise ImageError(
            ErrorCode.UNREADABLE_IMAGE, "DICOM images are read as MONOCHROME1, MONOCHROME2 or RGB"
        )
    levels = to_levels(frame, Grayscale(dataset).transfer_of(frame))
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels
