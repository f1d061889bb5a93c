"""PNG, JPEG and TIFF, with Pillow."""

from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ExifTags import Base as ExifTag
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

from tbscreen_shared.contracts import ImageFormat, Warning
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging.levels import robust_window, sample, to_levels, window
from tbscreen_shared.imaging.limits import ImageLimits
from tbscreen_shared.imaging.radiograph import Radiograph

_DEEP_MODES: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
_MIN_IS_WHITE: Final = 0
_TILE_WIDTH: Final = 322
_TILE_LENGTH: Final = 323
_STRIP_ROWS: Final = 256


def read_raster(
    path: Path, image_format: ImageFormat, *, limits: ImageLimits, target_px: int
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
    with path.open("rb") as stream, _open_image(stream, image_format) as image:
        width, height = image.size
        limits.check(width, height)
        if isinstance(image, TiffImageFile):
            _check_tiles(image, limits)
        # Of a TIFF, Pillow gives the upright size already.
        elif image.getexif().get(ExifTag.Orientation) in _SIDEWAYS:
            width, height = height, width
        several_frames = bool(getattr(image, "is_animated", False))
        # Only JPEG heeds it: decoded at 1/2, 1/4 or 1/8 and straight to luma, 3000 x 3000 pixels
        # take 10 ms instead of 60.
        image.draft("L", (target_px, target_px))
        ImageOps.exif_transpose(image, in_place=True)
        return Radiograph(
            pixels=_to_grey(image),
            width=width,
            height=height,
            format=image_format,
            warnings=(Warning.MULTIPLE_FRAMES,) if several_frames else (),
        )


def _open_image(stream: BinaryIO, image_format: ImageFormat) -> Image.Image:
    try:
        return Image.open(stream, formats=[image_format.upper()])
    except Image.DecompressionBombError as error:
        raise ImageError(ErrorCode.IMAGE_TOO_LARGE, "the image has too many pixels") from error


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
    for top in range(0, image.height, _STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height)))
        black = Image.new("RGBA", strip.size, (0, 0, 0, 255))
        grey.paste(Image.alpha_composite(black, strip.convert("RGBA")).convert("L"), (0, top))
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
