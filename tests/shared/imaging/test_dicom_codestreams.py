"""Compressed frames that contradict their header."""

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging import Radiograph
from tbscreen_shared.imaging.run_lengths import decode_run_lengths

Read = Callable[..., Radiograph]
WriteDicom = Callable[..., Path]

_READ = """
import sys
from pathlib import Path
from tbscreen_shared.errors import ImageError
from tbscreen_shared.imaging import ImageLimits, read_radiograph
try:
    read_radiograph(Path(sys.argv[1]), limits=ImageLimits())
except ImageError as error:
    print(error.code)
"""


def pillow_frame(pixels: NDArray[np.uint8], image_format: str, **options: bool) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("jp2", [False, True])
@pytest.mark.parametrize("declared_colour", [False, True])
def test_jpeg_2000_with_other_components_than_declared_is_unreadable_and_ends_no_process(
    declared_colour: bool, jp2: bool, ramp: NDArray[np.uint8], dicom: WriteDicom
) -> None:
    colour = np.stack([ramp] * 3, axis=-1)
    header, stored = (colour, ramp) if declared_colour else (ramp, colour)
    frame = pillow_frame(stored, "JPEG2000", no_jp2=not jp2)
    path = dicom(header, transfer_syntax=JPEG2000Lossless, PixelData=encapsulate([frame]))

    # A decoder may abort the process that hands it such a frame: GDCM does.
    done = subprocess.run(
        [sys.executable, "-c", _READ, path], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout.strip()) == (0, ErrorCode.UNREADABLE_IMAGE), done.stderr


def with_box(jp2: bytes, kind: bytes, content: bytes, *, long: bool) -> bytes:
    """Puts a box right behind the signature box."""
    box = (
        struct.pack(">I4sQ", 1, kind, 16 + len(content))
        if long
        else struct.pack(">I4s", 8 + len(content), kind)
    )
    return jp2[:12] + box + content + jp2[12:]


@pytest.mark.parametrize("long", [False, True])
def test_what_looks_like_a_codestream_in_another_jp2_box_is_not_taken_for_it(
    long: bool, ramp: NDArray[np.uint8], dicom: WriteDicom, read: Read
) -> None:
    right = pillow_frame(ramp, "JPEG2000", no_jp2=True)
    larger = np.zeros((1200, 1200), dtype=np.uint8)
    bomb = with_box(pillow_frame(larger, "JPEG2000"), b"uuid", bytes(16) + right, long=long)
    honest = with_box(
        pillow_frame(ramp, "JPEG2000"),
        b"uuid",
        bytes(16) + pillow_frame(larger, "JPEG2000", no_jp2=True),
        long=long,
    )

    def write(frame: bytes) -> Path:
        return dicom(ramp, transfer_syntax=JPEG2000Lossless, PixelData=encapsulate([frame]))

    with pytest.raises(ImageError, match="differ in size"):
        read(write(bomb))
    np.testing.assert_array_equal(read(write(honest)).pixels, ramp)


def run_length_frame(*segments: bytes) -> bytes:
    offsets = [64 + sum(map(len, segments[:index])) for index in range(len(segments))]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(
        segments
    )


def decoded(frame: bytes, *, sample_bytes: int = 1) -> NDArray[np.unsignedinteger]:
    return decode_run_lengths(frame, height=64, width=64, samples=1, sample_bytes=sample_bytes)


@pytest.mark.parametrize(
    ("frame", "sample_bytes"),
    [
        (run_length_frame(b"\x81\x00" * 1024), 1),
        (run_length_frame(b"\x81\x00" * 32, b"\x81\x00" * 1024), 2),
        (run_length_frame(b"\x81\x00" * 31), 1),
        (run_length_frame(b"\x80" * 80_000), 1),
        (run_length_frame(b"\x81\x00" * 32), 2),
        (run_length_frame(b"\x81\x00" * 32, b"\x81\x00" * 32), 1),
        (struct.pack("<16I", 16, *[0] * 15), 1),
        (b"\1\0\0\0", 1),
    ],
)
def test_run_lengths_of_another_image_are_refused(frame: bytes, sample_bytes: int) -> None:
    with pytest.raises((ValueError, RuntimeError, struct.error)):
        decoded(frame, sample_bytes=sample_bytes)


@pytest.mark.parametrize(
    "segment",
    [
        b"\x81\x07" * 32,
        b"\x00\x07" * 4096,
        (b"\x7f" + b"\x07" * 128) * 32 + b"\x00",
        b"\x80" + b"\x81\x07" * 32,
        b"\x81\x07" * 32 + b"\x00\x09" * 20,
    ],
)
def test_run_lengths_of_the_images_size_are_read_however_they_are_coded(segment: bytes) -> None:
    assert (decoded(run_length_frame(segment)) == 7).all()
    assert (decoded(run_length_frame(segment, segment), sample_bytes=2) == 0x0707).all()


def test_a_file_of_endless_run_lengths_is_unreadable(
    ramp: NDArray[np.uint8], dicom: WriteDicom, read: Read
) -> None:
    frame = run_length_frame(b"\x81\x00" * 1024)
    path = dicom(ramp, transfer_syntax=RLELossless, PixelData=encapsulate([frame]))

    with pytest.raises(ImageError) as caught:
        read(path)
    assert caught.value.code is ErrorCode.UNREADABLE_IMAGE
