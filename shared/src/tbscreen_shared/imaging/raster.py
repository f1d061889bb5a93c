"""PNG, JPEG and TIFF, with Pillow."""

import io
import os
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as ExifTag
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

from tbscreen_shared.contracts import ImageFormat, Warning
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging.bounded_stream import BoundedStream
from tbscreen_shared.imaging.levels import robust_window, row_blocks, sample, to_levels, window
from tbscreen_shared.imaging.limits import ImageLimits
from tbscreen_shared.imaging.radiograph import Radiograph
from tbscreen_shared.imaging.structure import check_jpeg, check_png, check_tiff

_DEEP_MODES: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})
_UPRIGHT_BY: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
_JPEG_HEADER_BYTES: Final = 16 * 2**20
"""Pillow joins EXIF segments one by one, copying all before: 60 MiB of them take ten seconds."""
_MIN_IS_WHITE: Final = 0
_TILE_WIDTH: Final = 322
_TILE_LENGTH: Final = 323


def read_raster(
    path: str | os.PathLike[str], image_format: ImageFormat, *, limits: ImageLimits, target_px: int
) -> Radiograph:
    """Decodes the first frame of a PNG, JPEG or TIFF file.

    8-bit levels stay as they are; deeper ones are windowed (`levels.robust_window`). Colour becomes
    its luma (ITU-R BT.601). Transparent pixels become black, as the film outside the collimated
    field is: what a file keeps under full transparency is arbitrary.

    Raises:
        ImageError: the image is too large, or too small to be read.
        Exception: whatever Pillow raises on a damaged file.
    """
    # A stream, not the path: from a path Pillow maps uncompressed TIFFs into memory, and garbles
    # those whose orientation turns them (Pillow 13.0).
    with io.FileIO(path) as file:
        stream = BoundedStream(
            file, header_bytes=_JPEG_HEADER_BYTES if image_format is ImageFormat.JPEG else None
        )
        with _open_image(stream, image_format, limits) as image:
            return _decode(image, image_format, target_px)


def _open_image(
    stream: BoundedStream, image_format: ImageFormat, limits: ImageLimits
) -> Image.Image:
    if image_format is ImageFormat.PNG:
        check_png(stream)
    elif image_format is ImageFormat.TIFF:
        check_tiff(stream)
    stream.seek(0)
    try:
        image = Image.open(stream, formats=[image_format.upper()])
    except Image.DecompressionBombError as error:
        raise ImageError(ErrorCode.IMAGE_TOO_LARGE, "the image has too many pixels") from error
    limits.check(*image.size)
    if isinstance(image, TiffImageFile):
        _check_tiles(image, limits)
    if image_format is ImageFormat.JPEG:
        stream.end_header()
        position = stream.tell()
        stream.seek(0)
        check_jpeg(stream.read())
        stream.seek(position)
    return image


def _decode(image: Image.Image, image_format: ImageFormat, target_px: int) -> Radiograph:
    width, height = image.size
    several_frames = bool(getattr(image, "is_animated", False))
    # Of a TIFF, Pillow gives the upright size already, and turns it itself.
    orientation = (
        None if isinstance(image, TiffImageFile) else image.getexif().get(ExifTag.Orientation)
    )
    if orientation in _SIDEWAYS:
        width, height = height, width
    # Only JPEG heeds it: decoded at 1/2, 1/4 or 1/8 and straight to luma, 3000 x 3000 pixels
    # take 10 ms instead of 60.
    image.draft("L", (target_px, target_px))
    # Pillow's own exif_transpose also writes the EXIF block anew, and fails over odd ones.
    if orientation in _UPRIGHT_BY:
        image = image.transpose(_UPRIGHT_BY[orientation])
    return Radiograph(
        pixels=_to_grey(image),
        width=width,
        height=height,
        format=image_format,
        warnings=(Warning.MULTIPLE_FRAMES,) if several_frames else (),
    )


def _check_tiles(image: TiffImageFile, limits: ImageLimits) -> None:
    """A tile is decoded whole, however little of it the image shows."""
    tile = image.tag_v2.get(_TILE_WIDTH, 0) * image.tag_v2.get(_TILE_LENGTH, 0)
    if tile > limits.max_pixels:
        raise ImageError(
            ErrorCode.IMAGE_TOO_LARGE, f"a tile has more than {limits.max_pixels} pixels"
        )


def _to_grey(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _DEEP_MODES:
        return _deep_to_grey(image)
    if image.has_transparency_data:
        return np.asarray(_on_black(image))
    if image.mode in ("CMYK", "YCbCr", "P"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _on_black(image: Image.Image) -> Image.Image:
    """In strips: RGBA copies of an image of 8000 x 8000 are a quarter of a gigabyte each."""
    grey = Image.new("L", image.size)
    for rows in row_blocks(image.height, image.width):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        black = Image.new("RGBA", strip.size, (0, 0, 0, 255))
        composite = Image.alpha_composite(black, strip.convert("RGBA"))
        grey.paste(composite.convert("L"), (0, rows.start))
    return grey


def _deep_to_grey(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image)
    low, high = robust_window(sample(values))
    levels = to_levels(values, window(low, high))
    # Pillow inverts 1- and 8-bit MinIsWhite itself, deeper ones it leaves.
    if isinstance(image, TiffImageFile) and (
        image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _MIN_IS_WHITE
    ):
        return 255 - levels
    return levels
