from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tbscreen_shared.contracts import ImageFormat, Warning
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging import Radiograph

Read = Callable[..., Radiograph]
WriteDicom = Callable[..., Path]
Levels = NDArray[np.uint8]


def windowed(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    return np.rint(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255)


def assert_levels(pixels: Levels, expected: NDArray[Any]) -> None:
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, expected, atol=1)


@pytest.fixture
def deep(ramp: Levels) -> NDArray[np.uint16]:
    """12-bit levels, 160-3840."""
    return ramp.astype(np.uint16) * 16


def test_plain_eight_bit_levels_stay_as_they_are(
    ramp: Levels, dicom: WriteDicom, read: Read
) -> None:
    radiograph = read(dicom(ramp))

    assert radiograph.format is ImageFormat.DICOM
    assert (radiograph.width, radiograph.height) == (120, 80)
    np.testing.assert_array_equal(radiograph.pixels, ramp)


def test_monochrome1_is_inverted(ramp: Levels, dicom: WriteDicom, read: Read) -> None:
    path = dicom(ramp, PhotometricInterpretation="MONOCHROME1")

    np.testing.assert_array_equal(read(path).pixels, 255 - ramp)


def test_signed_pixels_are_read_as_signed(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    signed = deep.astype(np.int16) - 2000

    path = dicom(signed, WindowCenter=0, WindowWidth=2000)

    assert_levels(read(path).pixels, windowed(signed, -1000, 999))


def test_bits_beyond_those_stored_are_no_part_of_the_value(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    overlaid = deep.copy()
    overlaid[::2] |= 0x8000  # an overlay plane in the unused bits, as old devices write it

    path = dicom(overlaid, BitsStored=12, WindowCenter=2048, WindowWidth=4096)

    assert_levels(read(path).pixels, windowed(deep, 0, 4095))


def test_thirty_two_bit_pixels_are_read(ramp: Levels, dicom: WriteDicom, read: Read) -> None:
    wide = ramp.astype(np.uint32) * 1_000_000

    assert_levels(read(dicom(wide)).pixels, windowed(wide, *np.percentile(wide, (0.1, 99.9))))


def test_an_image_of_padding_only_is_still_read(dicom: WriteDicom, read: Read) -> None:
    path = dicom(np.full((300, 300), 7, dtype=np.uint16), PixelPaddingValue=7)

    assert read(path).warnings == (Warning.LOW_CONTRAST,)


def test_a_colour_secondary_capture_becomes_its_luma(dicom: WriteDicom, read: Read) -> None:
    colours = np.zeros((40, 90, 3), dtype=np.uint8)
    colours[:, :30, 0] = colours[:, 30:60, 1] = colours[:, 60:, 2] = 255

    pixels = read(dicom(colours)).pixels

    assert pixels[0, [0, 30, 60]].tolist() == [76, 150, 29]


def test_a_ybr_capture_becomes_its_luma(ramp: Levels, dicom: WriteDicom, read: Read) -> None:
    neutral = np.full_like(ramp, 128)
    ybr = np.stack([ramp, neutral, neutral], axis=-1)

    path = dicom(ybr, PhotometricInterpretation="YBR_FULL")

    assert_levels(read(path).pixels, ramp)


def test_of_several_frames_the_first_is_read_and_the_reader_warned(
    ramp: Levels, dicom: WriteDicom, read: Read
) -> None:
    large = np.kron(ramp, np.ones((4, 4), dtype=np.uint8))

    radiograph = read(dicom(np.stack([large, 255 - large])))

    np.testing.assert_array_equal(radiograph.pixels, large)
    assert radiograph.warnings == (Warning.MULTIPLE_FRAMES,)


@pytest.mark.parametrize(
    "elements",
    [
        {"PixelData": None},
        {"Rows": None},
        {"PixelData": bytes(100)},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"SamplesPerPixel": None},
        {"BitsAllocated": 12},
    ],
    ids=lambda elements: "-".join(f"{key}={value!s:.14}" for key, value in elements.items()),
)
def test_an_object_that_is_no_readable_image_is_unreadable(
    elements: dict[str, Any], ramp: Levels, dicom: WriteDicom, read: Read
) -> None:
    with pytest.raises(ImageError) as caught:
        read(dicom(ramp, **elements))

    assert caught.value.code is ErrorCode.UNREADABLE_IMAGE


def test_the_pixels_of_all_frames_count_against_the_limit(dicom: WriteDicom, read: Read) -> None:
    path = dicom(np.zeros((10, 100, 100), dtype=np.uint8))

    assert read(path, max_pixels=100_000).height == 100
    with pytest.raises(ImageError) as caught:
        read(path, max_pixels=99_999)
    assert caught.value.code is ErrorCode.IMAGE_TOO_LARGE


@pytest.mark.parametrize("frames", ["-1", "-100000"])
def test_less_than_no_frames_do_not_lift_the_pixel_limit(
    frames: str, ramp: Levels, dicom: WriteDicom, read: Read
) -> None:
    path = dicom(ramp, NumberOfFrames=frames)

    with pytest.raises(ImageError) as caught:
        read(path, max_pixels=100)
    assert caught.value.code is ErrorCode.UNREADABLE_IMAGE


def test_what_stands_behind_the_pixels_is_not_read(
    ramp: Levels, dicom: WriteDicom, read: Read
) -> None:
    path = dicom(ramp)
    path.write_bytes(path.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\xff\xff\xff\x7fjunk")

    np.testing.assert_array_equal(read(path).pixels, ramp)
