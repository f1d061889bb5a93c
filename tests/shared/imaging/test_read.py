import logging
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from support.radiographs import radiograph_files
from tbscreen_shared.contracts import ImageFormat, Warning
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging import Radiograph, to_model_input

Read = Callable[..., Radiograph]
WriteDicom = Callable[..., Path]


@pytest.fixture
def write(ramp: NDArray[np.uint8], dicom: WriteDicom, tmp_path: Path) -> Callable[[str], Path]:
    """Writes a valid image of the named kind."""

    def write_image(kind: str) -> Path:
        noise = np.random.default_rng(1).integers(0, 256, (400, 400), dtype=np.uint8)
        if kind == "dicom":
            return dicom(noise)
        path = tmp_path / f"image.{kind}"
        image = Image.fromarray(noise)
        if kind == "tif":
            image.save(path, compression="tiff_lzw")
        else:
            image.save(path)
        return path

    return write_image


def code_of(read: Read, path: Path, **limits: int) -> ErrorCode:
    with pytest.raises(ImageError) as caught:
        read(path, **limits)
    return caught.value.code


def test_an_empty_file_is_an_empty_upload(read: Read, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()

    assert code_of(read, tmp_path / "empty.png") is ErrorCode.EMPTY_UPLOAD


@pytest.mark.parametrize(
    "content", [b"%PDF-1.7 ...", b"GIF89a" + bytes(200), b"x", b"<svg/>", bytes(300)]
)
def test_other_content_is_unsupported_whatever_its_name(
    content: bytes, read: Read, tmp_path: Path
) -> None:
    (tmp_path / "chest.png").write_bytes(content)

    assert code_of(read, tmp_path / "chest.png") is ErrorCode.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "dicom"])
def test_a_wrong_extension_does_not_matter(
    kind: str, write: Callable[[str], Path], read: Read
) -> None:
    path = write(kind)
    expected = read(path).format

    renamed = path.rename(path.with_suffix(".exe"))

    assert read(renamed).format is expected


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.98])
@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "dicom"])
def test_a_truncated_file_is_unreadable(
    kind: str, kept: float, write: Callable[[str], Path], read: Read
) -> None:
    path = write(kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])

    assert code_of(read, path) is ErrorCode.UNREADABLE_IMAGE


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "dicom"])
def test_damage_anywhere_ends_in_an_image_or_an_image_error(
    kind: str, write: Callable[[str], Path], read: Read
) -> None:
    path = write(kind)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(7)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        # Headers lie in front, so damage falls there half of the time.
        reach = int(rng.choice([600, len(data)]))
        for position in rng.integers(4, reach, 12):
            damaged[position] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        try:
            read(path, max_pixels=1_000_000)
        except ImageError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "dicom"])
def test_the_pixel_limit_holds_for_every_format(
    kind: str, write: Callable[[str], Path], read: Read
) -> None:
    assert read(write(kind), max_pixels=160_000).width == 400
    assert code_of(read, write(kind), max_pixels=159_999) is ErrorCode.IMAGE_TOO_LARGE


@pytest.mark.parametrize("side", [8_000, 9_500, 40_000])
def test_a_header_that_declares_too_many_pixels_is_refused_before_any_is_decoded(
    side: int, read: Read, tmp_path: Path
) -> None:
    # No pixel data follows, so that a decoder could only answer "unreadable". Pillow itself warns
    # from 89 million pixels on and raises from 179 million.
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))

    code = code_of(read, path, max_pixels=63_999_999)

    assert code is ErrorCode.IMAGE_TOO_LARGE


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"")


def test_a_tiff_tile_counts_as_large_as_it_is_decoded(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "tile.tif"
    entries = [(256, 64), (257, 64), (258, 8), (259, 1), (262, 1), (277, 1)]
    entries += [(322, 16_000), (323, 16_000), (324, 8), (325, 4096)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4))

    assert code_of(read, path) is ErrorCode.IMAGE_TOO_LARGE


def test_an_image_too_small_to_read_is_unreadable(read: Read, tmp_path: Path) -> None:
    Image.new("L", (400, 31)).save(tmp_path / "strip.png")

    assert code_of(read, tmp_path / "strip.png") is ErrorCode.UNREADABLE_IMAGE


def test_a_file_that_is_gone_is_not_the_images_fault(read: Read, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 256), ()),
        ((400, 255), (Warning.LOW_RESOLUTION,)),
        ((600, 300), ()),
        ((602, 300), (Warning.UNUSUAL_ASPECT,)),
        ((300, 602), (Warning.UNUSUAL_ASPECT,)),
        ((600, 100), (Warning.LOW_RESOLUTION, Warning.UNUSUAL_ASPECT)),
    ],
)
def test_the_reader_is_warned_of_size_and_shape(
    size: tuple[int, int], expected: tuple[Warning, ...], read: Read, tmp_path: Path
) -> None:
    noise = Image.effect_noise(size, 60)
    noise.save(tmp_path / "noise.png")

    assert read(tmp_path / "noise.png").warnings == expected


def test_the_reader_is_warned_of_an_image_without_contrast(read: Read, tmp_path: Path) -> None:
    levels = np.tile(np.arange(300) // 16, (300, 1)).astype(np.uint8)  # 0 to 18
    Image.fromarray(levels + 100).save(tmp_path / "flat.png")
    Image.fromarray(levels * 2 + 100).save(tmp_path / "less-flat.png")

    assert read(tmp_path / "flat.png").warnings == (Warning.LOW_CONTRAST,)
    assert read(tmp_path / "less-flat.png").warnings == ()


@pytest.mark.parametrize("elements", [{"BitsAllocated": 12}, {"PixelData": b"1"}])
def test_neither_errors_nor_logs_nor_warnings_tell_of_the_patient(
    elements: dict[str, object],
    ramp: NDArray[np.uint8],
    dicom: WriteDicom,
    read: Read,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = dicom(ramp, name="doe-jane.dcm", **elements)
    # An invalid number where pydicom would quote it.
    data = path.read_bytes().replace(b"MRN-0042", b"MRN\xff0042")
    path.write_bytes(data)

    with (
        caplog.at_level(logging.DEBUG),
        warnings.catch_warnings(record=True) as caught_warnings,
        pytest.raises(ImageError) as caught,
    ):
        warnings.simplefilter("always")
        read(path)

    assert caught.value.__suppress_context__
    told = [caught.value.detail, str(caught.value), caplog.text, *map(str, caught_warnings)]
    for secret in ("Doe", "doe", "MRN", "0042"):
        assert secret not in " ".join(told)


def test_a_readable_files_metadata_is_not_logged(
    ramp: NDArray[np.uint8], read: Read, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    path = tmp_path / "described.tif"
    Image.fromarray(ramp).save(path, description="Doe^Jane MRN-0042")

    with caplog.at_level(logging.DEBUG):
        read(path)

    assert "Doe" not in caplog.text


def test_radiographs_of_a_clinic_are_read_without_warning(read: Read, tmp_path: Path) -> None:
    for path in radiograph_files(tmp_path):
        radiograph = read(path)

        assert radiograph.format in set(ImageFormat)
        assert radiograph.warnings == ()
        assert min(radiograph.pixels.shape) >= 299
        tensor = to_model_input(radiograph, height=299, width=299)
        assert tensor.std() > 20
