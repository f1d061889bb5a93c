import io
import zlib
from collections.abc import Callable
from pathlib import Path

import gdcm
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from support.transcoding import transcode
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging import Radiograph

Read = Callable[..., Radiograph]
WriteDicom = Callable[..., Path]


@pytest.fixture
def deep(ramp: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return ramp.astype(np.uint16) * 16


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("syntax", "uid"),
    [
        (gdcm.TransferSyntax.JPEGLosslessProcess14, "1.2.840.10008.1.2.4.57"),
        (gdcm.TransferSyntax.JPEGLosslessProcess14_1, "1.2.840.10008.1.2.4.70"),
        (gdcm.TransferSyntax.JPEGLSLossless, "1.2.840.10008.1.2.4.80"),
        (gdcm.TransferSyntax.JPEG2000Lossless, "1.2.840.10008.1.2.4.90"),
        (gdcm.TransferSyntax.RLELossless, "1.2.840.10008.1.2.5"),
    ],
)
def test_lossless_syntaxes_give_exactly_the_uncompressed_image(
    syntax: int,
    uid: str,
    bits: int,
    ramp: NDArray[np.uint8],
    deep: NDArray[np.uint16],
    dicom: WriteDicom,
    read: Read,
) -> None:
    plain = dicom(ramp if bits == 8 else deep)

    packed = transcode(plain, syntax)

    assert dcmread(packed).file_meta.TransferSyntaxUID == uid
    np.testing.assert_array_equal(read(packed).pixels, read(plain).pixels)


@pytest.mark.parametrize("uid", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_eight_bit_jpeg_is_read_within_its_loss(
    uid: str, ramp: NDArray[np.uint8], dicom: WriteDicom, read: Read
) -> None:
    stream = io.BytesIO()
    Image.fromarray(ramp).save(stream, "JPEG", quality=95)

    path = dicom(ramp, transfer_syntax=uid, PixelData=encapsulate([stream.getvalue()]))

    np.testing.assert_allclose(read(path).pixels, ramp, atol=4)


def test_colour_jpeg_is_read_as_its_luma(
    ramp: NDArray[np.uint8], dicom: WriteDicom, read: Read
) -> None:
    colour = np.stack([ramp] * 3, axis=-1)
    stream = io.BytesIO()
    Image.fromarray(colour).save(stream, "JPEG", quality=95, subsampling=0)

    path = dicom(
        colour,
        transfer_syntax=JPEGBaseline8Bit,
        PhotometricInterpretation="YBR_FULL",
        PixelData=encapsulate([stream.getvalue()]),
    )

    np.testing.assert_allclose(read(path).pixels, ramp, atol=4)


def test_pydicoms_run_lengths_are_read(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    plain = dicom(deep)
    dataset = dcmread(plain)
    dataset.compress(RLELossless)
    packed = plain.with_suffix(".rle")
    dataset.save_as(packed)

    np.testing.assert_array_equal(read(packed).pixels, read(plain).pixels)


@pytest.mark.parametrize(
    "uid", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_uncompressed_syntaxes_give_the_same_image(
    uid: str, deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    stored = deep.astype(">u2") if uid == ExplicitVRBigEndian else deep

    path = dicom(stored, transfer_syntax=uid, name="other.dcm")

    assert dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == uid
    np.testing.assert_array_equal(
        read(path).pixels,
        read(dicom(deep, transfer_syntax=ExplicitVRLittleEndian)).pixels,
    )


def test_the_first_of_several_compressed_frames_is_read(
    ramp: NDArray[np.uint8], dicom: WriteDicom, read: Read
) -> None:
    path = transcode(dicom(np.stack([ramp, 255 - ramp])), gdcm.TransferSyntax.JPEG2000Lossless)

    np.testing.assert_array_equal(read(path).pixels, ramp)


@pytest.mark.parametrize(
    ("uid", "pillow_format", "options"),
    [
        (JPEGBaseline8Bit, "JPEG", {}),
        (JPEG2000Lossless, "JPEG2000", {"no_jp2": True}),
        (JPEG2000Lossless, "JPEG2000", {"no_jp2": False}),
    ],
)
def test_a_codestream_larger_than_its_header_says_is_refused_before_it_is_decoded(
    uid: str,
    pillow_format: str,
    options: dict[str, bool],
    ramp: NDArray[np.uint8],
    dicom: WriteDicom,
    read: Read,
) -> None:
    stream = io.BytesIO()
    Image.new("L", (1200, 1200)).save(stream, pillow_format, **options)

    path = dicom(ramp, transfer_syntax=uid, PixelData=encapsulate([stream.getvalue()]))

    with pytest.raises(ImageError, match="differ in size") as caught:
        read(path)
    assert caught.value.code is ErrorCode.UNREADABLE_IMAGE


@pytest.mark.parametrize(
    ("uid", "syntax"),
    [
        (JPEGLosslessSV1, gdcm.TransferSyntax.JPEGLosslessProcess14_1),
        (JPEGLSLossless, gdcm.TransferSyntax.JPEGLSLossless),
        (JPEGBaseline8Bit, None),
    ],
)
def test_a_colour_jpeg_whose_header_says_grey_is_unreadable(
    uid: str, syntax: int | None, ramp: NDArray[np.uint8], dicom: WriteDicom, read: Read
) -> None:
    colour = np.stack([ramp] * 3, axis=-1)
    if syntax is None:
        stream = io.BytesIO()
        Image.fromarray(colour).save(stream, "JPEG")
        frame = stream.getvalue()
    else:
        packed = dcmread(transcode(dicom(colour, name="colour.dcm"), syntax))
        frame = get_frame(packed.PixelData, 0, number_of_frames=1)

    path = dicom(ramp, transfer_syntax=uid, PixelData=encapsulate([frame]))

    with pytest.raises(ImageError, match="samples per pixel") as caught:
        read(path)
    assert caught.value.code is ErrorCode.UNREADABLE_IMAGE


def test_a_dataset_that_inflates_without_end_is_refused_before_it_is_inflated(
    ramp: NDArray[np.uint8], dicom: WriteDicom, read: Read
) -> None:
    path = dicom(ramp, transfer_syntax=DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    meta_length = 132 + 12 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(bytes(32 * 2**20)) + packer.flush()
    path.write_bytes(data[:meta_length] + bomb)

    with pytest.raises(ImageError) as caught:
        read(path, max_pixels=100_000)

    assert caught.value.code is ErrorCode.IMAGE_TOO_LARGE


@pytest.mark.parametrize("uid", [JPEGBaseline8Bit, JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("frame", [bytes(2), b"\xff\xd8\xff\xd8junk", bytes(64)])
def test_a_damaged_codestream_is_unreadable(
    frame: bytes, uid: str, ramp: NDArray[np.uint8], dicom: WriteDicom, read: Read
) -> None:
    path = dicom(ramp, transfer_syntax=uid, PixelData=encapsulate([frame]))

    with pytest.raises(ImageError) as caught:
        read(path)
    assert caught.value.code is ErrorCode.UNREADABLE_IMAGE


@pytest.mark.parametrize("uid", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_codestream_without_its_end_is_unreadable(
    kept: float, uid: str, ramp: NDArray[np.uint8], dicom: WriteDicom, read: Read
) -> None:
    # libjpeg-turbo paints grey what is missing, and says nothing.
    frame = bytes(
        imagecodecs.jpegls_encode(ramp)
        if uid == JPEGLSLossless
        else imagecodecs.jpeg8_encode(ramp, lossless=uid == JPEGLosslessSV1)
    )
    cut = frame[: int(len(frame) * kept)]
    whole = dicom(ramp, transfer_syntax=uid, PixelData=encapsulate([frame]), name="whole.dcm")
    path = dicom(ramp, transfer_syntax=uid, PixelData=encapsulate([cut]))

    assert read(whole).width == 120
    with pytest.raises(ImageError) as caught:
        read(path)
    assert caught.value.code is ErrorCode.UNREADABLE_IMAGE


def test_twelve_bit_jpeg_is_read_within_its_loss(
    deep: NDArray[np.uint16], dicom: WriteDicom, read: Read
) -> None:
    frame = bytes(imagecodecs.jpeg8_encode(deep, level=98, bitspersample=12))

    path = dicom(
        deep,
        transfer_syntax=JPEGExtended12Bit,
        BitsStored=12,
        PixelData=encapsulate([frame]),
    )

    np.testing.assert_allclose(
        read(path).pixels, read(dicom(deep, BitsStored=12, name="plain.dcm")).pixels, atol=2
    )


@pytest.mark.parametrize("interpretation", ["YBR_FULL", "RGB"])
def test_a_tall_colour_image_has_the_luma_of_each_of_its_pixels(
    interpretation: str, dicom: WriteDicom, read: Read
) -> None:
    stored = np.random.default_rng(5).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    colours = (
        convert_color_space(stored, "YBR_FULL", "RGB") if interpretation == "YBR_FULL" else stored
    )

    pixels = read(dicom(stored, PhotometricInterpretation=interpretation)).pixels

    np.testing.assert_array_equal(pixels, np.asarray(Image.fromarray(colours).convert("L")))
