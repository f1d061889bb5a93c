"""What a DICOM file says of its image, parsed within bounds.

pydicom's `dcmread` inflates a deflated dataset whole, and finds where it begins by itself: a file
can show a check another place. Here the file is parsed once, and what is checked is what is
decoded.
"""

import io
import zlib
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging.bounded_stream import BoundedStream
from tbscreen_shared.imaging.limits import ImageLimits

_LARGEST_SAMPLE_BYTES: Final = 4
_HEADER_ALLOWANCE_BYTES: Final = 16 * 2**20
_META_BEGINS_AT: Final = 132
_PIXEL_DATA: Final = int(Tag("PixelData"))

# Nothing else of a dataset is kept, so that a patient's data never becomes a Python object.
_IMAGE_ELEMENTS: Final[list[BaseTag | int]] = [
    Tag(keyword)
    for keyword in (
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
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
    )
]


def read_image_dataset(stream: BoundedStream, limits: ImageLimits) -> Dataset:
    """Returns the elements of the image, its pixels among them, and `file_meta`.

    Args:
        stream: of a DICOM file with its preamble.
        limits: of what a deflated dataset may expand to.

    Raises:
        ImageError: `image_too_large`, or `unreadable_image` when the file has too many elements.
        Exception: whatever pydicom raises on a damaged file.
    """
    stream.seek(_META_BEGINS_AT)
    meta = FileMetaDataset(_read_group(stream, 0x0002, is_implicit_vr=False))
    # Some writers leave a message's command elements in a file.
    _read_group(stream, 0x0000, is_implicit_vr=True)
    syntax = meta.TransferSyntaxUID
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = BoundedStream(io.BytesIO(_inflate(stream.read(), limits)))
    dataset = read_dataset(
        stream,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=_is_behind_the_pixels,
        specific_tags=_IMAGE_ELEMENTS,
    )
    stream.check_reads_left()
    dataset.file_meta = meta
    return dataset


def _read_group(stream: BoundedStream, group: int, *, is_implicit_vr: bool) -> Dataset:
    return read_dataset(
        stream,
        is_implicit_vr,
        True,
        stop_when=lambda tag, vr, length: tag.group != group,
    )


def _is_behind_the_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) > _PIXEL_DATA


def _inflate(deflated: bytes, limits: ImageLimits) -> bytes:
    allowed = limits.max_pixels * _LARGEST_SAMPLE_BYTES + _HEADER_ALLOWANCE_BYTES
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, allowed)
    if inflater.unconsumed_tail:
        raise ImageError(ErrorCode.IMAGE_TOO_LARGE, "the DICOM object inflates too far")
    if not inflater.eof:
        raise ValueError("the deflated dataset ends early")
    return inflated
