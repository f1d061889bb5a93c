"""Files that the imaging tests write themselves, and the levels that must come out of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from tbscreen_shared.imaging import ImageLimits, Radiograph, read_radiograph

WIDTH, HEIGHT = 120, 80


@pytest.fixture
def ramp() -> NDArray[np.uint8]:
    """8-bit levels, (80, 120), 10-240, no two corners alike: any flip or turn shows."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.rint(10 + 150 * columns / (WIDTH - 1) + 80 * rows / (HEIGHT - 1)).astype(np.uint8)


@pytest.fixture
def read() -> Callable[..., Radiograph]:
    def read_file(path: Path, *, target_px: int = 299, **limits: int) -> Radiograph:
        return read_radiograph(path, limits=ImageLimits(**limits), target_px=target_px)

    return read_file


@pytest.fixture
def dicom(tmp_path: Path) -> Callable[..., Path]:
    """Writes a DICOM file of `pixels`; keywords become its elements, None removes one."""

    def write(
        pixels: NDArray[Any],
        *,
        transfer_syntax: str = ExplicitVRLittleEndian,
        name: str = "image.dcm",
        **elements: Any,
    ) -> Path:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = transfer_syntax
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
        dataset.PatientName = "Doe^Jane"
        dataset.PatientID = "MRN-0042"
        colour = pixels.ndim == 3 and pixels.shape[-1] == 3
        dataset.SamplesPerPixel = 3 if colour else 1
        dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            dataset.PlanarConfiguration = 0
        dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
        dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        if pixels.ndim == 3 and not colour:
            dataset.NumberOfFrames = pixels.shape[0]
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
        for keyword, value in elements.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        dataset.HighBit = dataset.BitsStored - 1
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write
