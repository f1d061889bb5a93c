from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as ExifTag

from tbscreen_shared.contracts import ImageFormat, Warning
from tbscreen_shared.imaging import Radiograph

Read = Callable[..., Radiograph]
Levels = NDArray[np.uint8]


def largest_difference(one: NDArray[Any], other: NDArray[Any]) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize(
    ("suffix", "expected"), [("png", ImageFormat.PNG), ("tif", ImageFormat.TIFF)]
)
def test_eight_bit_grey_keeps_its_levels(
    suffix: str, expected: ImageFormat, ramp: Levels, read: Read, tmp_path: Path
) -> None:
    path = tmp_path / f"grey.{suffix}"
    Image.fromarray(ramp).save(path)

    radiograph = read(path)

    assert radiograph.format is expected
    assert (radiograph.width, radiograph.height) == (120, 80)
    assert radiograph.pixels.dtype == np.uint8
    np.testing.assert_array_equal(radiograph.pixels, ramp)


def test_one_bit_becomes_black_and_white(ramp: Levels, read: Read, tmp_path: Path) -> None:
    bits = ramp > 120
    Image.fromarray(bits).save(tmp_path / "bits.png")

    np.testing.assert_array_equal(read(tmp_path / "bits.png").pixels, bits * np.uint8(255))


def test_colour_becomes_its_luma(read: Read, tmp_path: Path) -> None:
    colours = np.zeros((40, 90, 3), dtype=np.uint8)
    colours[:, :30, 0] = colours[:, 30:60, 1] = colours[:, 60:, 2] = 255
    Image.fromarray(colours).save(tmp_path / "colours.png")

    pixels = read(tmp_path / "colours.png").pixels

    assert pixels[0, [0, 30, 60]].tolist() == [76, 150, 29]  # 0.299, 0.587, 0.114 of 255


def test_grey_saved_as_colour_keeps_its_levels(ramp: Levels, read: Read, tmp_path: Path) -> None:
    Image.fromarray(ramp).convert("RGB").save(tmp_path / "rgb.png")

    np.testing.assert_array_equal(read(tmp_path / "rgb.png").pixels, ramp)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_become_black(
    mode: str, ramp: Levels, read: Read, tmp_path: Path
) -> None:
    image = Image.fromarray(ramp).convert(mode)
    alpha = np.full(ramp.shape, 255, dtype=np.uint8)
    alpha[:, :40] = 0
    alpha[:, 40:80] = 128
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "alpha.png")

    pixels = read(tmp_path / "alpha.png").pixels

    assert not pixels[:, :40].any()
    assert largest_difference(pixels[:, 40:80], ramp[:, 40:80] * (128 / 255)) <= 1
    np.testing.assert_array_equal(pixels[:, 80:], ramp[:, 80:])


def test_a_palette_gives_the_levels_it_stands_for(ramp: Levels, read: Read, tmp_path: Path) -> None:
    indices = Image.fromarray(255 - ramp).convert("P")
    indices.putpalette([255 - level for level in range(256) for _ in "rgb"])
    indices.save(tmp_path / "palette.png")

    np.testing.assert_array_equal(read(tmp_path / "palette.png").pixels, ramp)


def test_a_transparent_palette_entry_becomes_black(
    ramp: Levels, read: Read, tmp_path: Path
) -> None:
    indices = Image.fromarray(ramp).convert("P")
    indices.putpalette([level for level in range(256) for _ in "rgb"])
    transparent = int(ramp[0, -1])
    indices.save(tmp_path / "palette.png", transparency=transparent)

    expected = np.where(ramp == transparent, 0, ramp)

    np.testing.assert_array_equal(read(tmp_path / "palette.png").pixels, expected)


def test_a_transparent_grey_level_becomes_black(ramp: Levels, read: Read, tmp_path: Path) -> None:
    transparent = int(ramp[0, -1])
    Image.fromarray(ramp).save(tmp_path / "grey.png", transparency=transparent)

    expected = np.where(ramp == transparent, 0, ramp)

    np.testing.assert_array_equal(read(tmp_path / "grey.png").pixels, expected)


def test_sixteen_bit_grey_is_windowed_to_its_percentiles(
    ramp: Levels, read: Read, tmp_path: Path
) -> None:
    deep = ramp.astype(np.uint16) * 13 + 500
    deep[0, 0], deep[-1, -1] = 0, 65535  # a dead pixel and a burnt-in marker
    Image.fromarray(deep).save(tmp_path / "deep.png")

    pixels = read(tmp_path / "deep.png").pixels

    low, high = np.percentile(deep, (0.1, 99.9))
    expected = np.clip((deep - low) / (high - low), 0, 1) * 255
    assert largest_difference(pixels, np.rint(expected)) <= 1
    assert pixels[0, 0] == 0
    assert pixels[-1, -1] == 255
    assert pixels[1, 1] < 5
    assert pixels[-2, -2] > 250


@pytest.mark.parametrize(
    ("stored_type", "offset"),
    [("<u2", 1000), (">u2", 1000), ("<i2", -1700), ("<i4", -90000), ("<f4", -0.5), (">f4", 1e6)],
)
def test_deep_tiffs_are_windowed_whatever_their_number_type(
    stored_type: str, offset: float, ramp: Levels, read: Read, tmp_path: Path
) -> None:
    values = (ramp.astype(np.float64) * 9 + offset).astype(stored_type)
    path = tmp_path / "deep.tif"
    write_tiff(path, values)

    low, high = np.percentile(values.astype(np.float64), (0.1, 99.9))
    expected = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255

    assert largest_difference(read(path).pixels, np.rint(expected)) <= 1


def write_tiff(path: Path, values: NDArray[Any], *, photometric: int = 1) -> None:
    """A baseline TIFF in one strip, byte for byte: Pillow writes not all of these types."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    sample_format = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, width = values.shape
    data = values.tobytes()
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, values.dtype.itemsize * 8),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(data)),
        (339, 3, sample_format),
    ]
    directory = np.array([len(entries)], f"{order}u2").tobytes()
    for tag, kind, value in entries:
        directory += np.array([tag, kind], f"{order}u2").tobytes()
        directory += np.array([1], f"{order}u4").tobytes()
        field = np.array([value], f"{order}u4" if kind == 4 else f"{order}u2").tobytes()
        directory += field.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    offset = np.array([8 + len(data)], f"{order}u4").tobytes()
    path.write_bytes(magic + offset + data + directory + bytes(4))


@pytest.mark.parametrize("stored_type", ["u1", "<u2", "<f4"])
def test_tiffs_that_store_white_as_least_are_inverted(
    stored_type: str, ramp: Levels, read: Read, tmp_path: Path
) -> None:
    plain, inverted = tmp_path / "plain.tif", tmp_path / "inverted.tif"
    write_tiff(plain, ramp.astype(stored_type))
    write_tiff(inverted, ramp.astype(stored_type), photometric=0)

    np.testing.assert_array_equal(read(inverted).pixels, 255 - read(plain).pixels)


@pytest.mark.parametrize("level", [0, 7, 65535])
def test_a_constant_deep_image_is_black_and_said_to_lack_contrast(
    level: int, read: Read, tmp_path: Path
) -> None:
    Image.fromarray(np.full((300, 300), level, dtype=np.uint16)).save(tmp_path / "flat.png")

    radiograph = read(tmp_path / "flat.png")

    assert not radiograph.pixels.any()
    assert radiograph.warnings == (Warning.LOW_CONTRAST,)


def test_a_few_marks_on_an_even_deep_ground_stay_visible(read: Read, tmp_path: Path) -> None:
    deep = np.full((300, 300), 1000, dtype=np.uint16)
    deep[0, :5] = 3000
    Image.fromarray(deep).save(tmp_path / "marks.png")

    pixels = read(tmp_path / "marks.png").pixels

    assert (pixels[0, :5] == 255).all()
    assert not pixels[1:].any()


def test_values_that_are_no_numbers_are_left_out_of_the_window(
    ramp: Levels, read: Read, tmp_path: Path
) -> None:
    values = ramp.astype("<f4")
    values[0, :3] = [np.nan, np.inf, -np.inf]
    write_tiff(tmp_path / "holes.tif", values)

    pixels = read(tmp_path / "holes.tif").pixels

    assert pixels[0, :3].tolist() == [0, 255, 0]
    assert pixels[1, 0] < 5
    assert pixels[-1, -1] == 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_every_exif_orientation_is_undone(
    suffix: str, orientation: int, ramp: Levels, read: Read, tmp_path: Path
) -> None:
    # What a camera stores so that a viewer, obeying the orientation, shows `ramp`.
    stored = {
        1: ramp,
        2: ramp[:, ::-1],
        3: ramp[::-1, ::-1],
        4: ramp[::-1],
        5: ramp.T,
        6: np.rot90(ramp),
        7: ramp[::-1, ::-1].T,
        8: np.rot90(ramp, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ExifTag.Orientation] = orientation
    path = tmp_path / f"turned.{suffix}"
    options = {"quality": 95} if suffix == "jpg" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)

    radiograph = read(path)

    assert (radiograph.width, radiograph.height) == (120, 80)
    assert largest_difference(radiograph.pixels, ramp) <= (4 if suffix == "jpg" else 0)


def test_a_large_jpeg_is_decoded_smaller_but_never_below_the_target(
    read: Read, tmp_path: Path
) -> None:
    rows, columns = np.mgrid[0:1300, 0:2500]
    levels = (columns / 2500 * 200 + rows / 1300 * 50).astype(np.uint8)
    path = tmp_path / "large.jpg"
    Image.fromarray(levels).save(path, quality=95)

    for target_px, expected in [(299, (325, 625)), (326, (650, 1250)), (1301, (1300, 2500))]:
        radiograph = read(path, target_px=target_px)
        assert (radiograph.width, radiograph.height) == (2500, 1300)
        assert radiograph.pixels.shape == expected
        scale = 1300 // expected[0]
        wanted = levels.reshape(expected[0], scale, expected[1], scale).mean(axis=(1, 3))
        assert largest_difference(radiograph.pixels, wanted) <= 3


def test_a_colour_jpeg_gives_the_luma_it_stores(ramp: Levels, read: Read, tmp_path: Path) -> None:
    Image.fromarray(ramp).convert("RGB").save(tmp_path / "ycc.jpg", quality=95)

    assert largest_difference(read(tmp_path / "ycc.jpg").pixels, ramp) <= 4


def test_a_cmyk_jpeg_is_as_bright_as_it_prints(ramp: Levels, read: Read, tmp_path: Path) -> None:
    Image.fromarray(ramp).convert("RGB").convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)

    assert largest_difference(read(tmp_path / "cmyk.jpg").pixels, ramp) <= 5


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_compressed_tiffs_are_read(
    compression: str, ramp: Levels, read: Read, tmp_path: Path
) -> None:
    Image.fromarray(ramp).save(tmp_path / "packed.tif", compression=compression)

    difference = largest_difference(read(tmp_path / "packed.tif").pixels, ramp)
    assert difference <= (12 if compression == "jpeg" else 0)


def test_of_several_pages_the_first_is_read_and_the_reader_warned(
    ramp: Levels, read: Read, tmp_path: Path
) -> None:
    large = np.kron(ramp, np.ones((4, 4), dtype=np.uint8))
    pages = [Image.fromarray(large), Image.fromarray(255 - large)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])

    radiograph = read(tmp_path / "pages.tif")

    np.testing.assert_array_equal(radiograph.pixels, large)
    assert radiograph.warnings == (Warning.MULTIPLE_FRAMES,)


def test_a_tall_transparent_image_has_no_seams(read: Read, tmp_path: Path) -> None:
    levels, opacity = np.random.default_rng(3).integers(0, 256, (2, 700, 90), dtype=np.uint8)
    Image.fromarray(np.dstack([levels, opacity])).save(tmp_path / "tall.png")

    expected = levels * (opacity / 255.0)

    np.testing.assert_allclose(read(tmp_path / "tall.png").pixels, expected, atol=1)
