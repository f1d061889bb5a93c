from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

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


def test_without_a_window_the_percentiles_of_the_pixels_are_shown(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    deep[0, 0], deep[-1, -1] = 0, 65535

    pixels = read(dicom(deep)).pixels

    assert_levels(pixels, windowed(deep, *np.percentile(deep, (0.1, 99.9))))


def test_a_linear_window_follows_the_standards_formula(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    pixels = read(dicom(deep, WindowCenter=2000, WindowWidth=1000)).pixels

    # PS3.3 C.11.2.1.2.1: black up to c - 0.5 - (w-1)/2, white above c - 0.5 + (w-1)/2.
    assert_levels(pixels, windowed(deep, 1500, 2499))


def test_a_linear_exact_window_follows_the_standards_formula(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    # So narrow that the two linear functions differ by more than the test's tolerance.
    path = dicom(deep, WindowCenter=2000, WindowWidth=40, VOILUTFunction="LINEAR_EXACT")

    assert_levels(read(path).pixels, windowed(deep, 1980, 2020))


def test_a_sigmoid_window_follows_the_standards_formula(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    path = dicom(deep, WindowCenter=2000, WindowWidth=800, VOILUTFunction="SIGMOID")

    expected = 255 / (1 + np.exp(-4 * (deep.astype(float) - 2000) / 800))
    assert_levels(read(path).pixels, expected)


def test_a_linear_window_of_width_one_is_a_threshold(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    pixels = read(dicom(deep, WindowCenter=2000, WindowWidth=1)).pixels

    np.testing.assert_array_equal(pixels, np.where(deep > 1999.5, 255, 0))


def test_of_several_windows_the_first_is_taken(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    path = dicom(deep, WindowCenter=[2000, 100], WindowWidth=[1000, 50])

    assert_levels(read(path).pixels, windowed(deep, 1500, 2499))


@pytest.mark.parametrize(
    ("function", "width"),
    [("LINEAR", 0), ("LINEAR", -5), ("LINEAR_EXACT", 0), ("SIGMOID", 0), ("LINEAR", "nan")],
)
def test_an_impossible_window_gives_way_to_the_percentiles(
    function: str, width: object, deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    path = dicom(deep, WindowCenter=2000, WindowWidth=0, VOILUTFunction=function)
    rewrite_decimal(path, "WindowWidth", str(width))

    assert_levels(read(path).pixels, windowed(deep, *np.percentile(deep, (0.1, 99.9))))


def rewrite_decimal(path: Path, keyword: str, value: str) -> None:
    """Puts a value into the file that pydicom would refuse to write."""
    tag = {"WindowWidth": b"\x28\x00\x51\x10", "RescaleSlope": b"\x28\x00\x53\x10"}[keyword]
    data = path.read_bytes()
    start = data.index(tag + b"DS")
    length = int.from_bytes(data[start + 6 : start + 8], "little")
    text = value.encode().ljust(2 * ((len(value) + 1) // 2))
    size = len(text).to_bytes(2, "little")
    path.write_bytes(data[: start + 6] + size + text + data[start + 8 + length :])


@pytest.mark.parametrize("slope", ["nan", "inf", "0"])
def test_an_impossible_rescale_is_left_out(
    slope: str, deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    path = dicom(deep, RescaleSlope=1, RescaleIntercept=0, WindowCenter=2000, WindowWidth=1000)
    rewrite_decimal(path, "RescaleSlope", slope)

    assert_levels(read(path).pixels, windowed(deep, 1500, 2499))


def test_the_window_applies_to_rescaled_values(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    path = dicom(deep, RescaleSlope=0.5, RescaleIntercept=-100, WindowCenter=900, WindowWidth=500)

    assert_levels(read(path).pixels, windowed(deep * 0.5 - 100.0, 650, 1149))


def test_a_negative_slope_inverts(deep: NDArray[np.uint16], dicom: WriteDicom, read: Read) -> None:
    path = dicom(deep, RescaleSlope=-1, RescaleIntercept=4095)

    values = 4095.0 - deep
    assert_levels(read(path).pixels, windowed(values, *np.percentile(values, (0.1, 99.9))))


def lookup_table(first: int, bits: int, entries: list[int]) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = entries
    item["LUTData"].VR = "US"
    return item


def test_a_voi_table_goes_before_a_window(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    entries = [int(1023 * (step / 2999) ** 2) for step in range(3000)]
    path = dicom(
        deep,
        VOILUTSequence=[lookup_table(500, 10, entries)],
        WindowCenter=2000,
        WindowWidth=10,
    )

    position = np.clip(deep.astype(int) - 500, 0, 2999)
    assert_levels(read(path).pixels, np.array(entries)[position] / 1023 * 255)


def test_a_voi_table_of_eight_bits_may_have_more_entries_than_levels(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    path = dicom(deep, VOILUTSequence=[lookup_table(0, 8, [n // 16 for n in range(4096)])])

    assert_levels(read(path).pixels, deep / 16)


def test_a_modality_table_is_applied_before_the_window(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    item = lookup_table(0, 16, [4095 - n for n in range(4096)])
    item.ModalityLUTType = "US"

    path = dicom(deep, ModalityLUTSequence=[item], WindowCenter=2000, WindowWidth=1000)

    assert_levels(read(path).pixels, windowed(4095.0 - deep, 1500, 2499))


def test_padding_does_not_move_the_percentiles(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    padded = deep.copy()
    padded[:, :30] = 60000
    padded[:, 30:35] = 60001

    path = dicom(padded, PixelPaddingValue=60000, PixelPaddingRangeLimit=60001)

    shown = padded[:, 35:]
    expected = windowed(padded, *np.percentile(shown, (0.1, 99.9)))
    assert_levels(read(path).pixels, expected)
