"""The decoded radiograph."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.contracts import ImageFormat, Warning


@dataclass(frozen=True)
class Radiograph:
    """A radiograph as grey levels, bone bright, upright as its file says.

    Attributes:
        pixels: uint8, shape (h, w), 0-255. May be smaller than the file's image: a JPEG is decoded
            at the smallest scale that still covers the size asked for.
        width: pixels, of the file's image after EXIF rotation.
        height: pixels, of the file's image after EXIF rotation.
        format: what the file's content is.
        warnings: what a reader must know before trusting an answer.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: ImageFormat
    warnings: tuple[Warning, ...] = ()
