"""How the reading of a file ends, and whether that is one of the ways it may end."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from support.hostile.case import READ
from tbscreen_shared.errors import ImageError
from tbscreen_shared.imaging import ImageLimits, Radiograph, read_radiograph


def outcome_of(path: Path, limits: ImageLimits) -> str:
    """Returns `read`, the error's code, or in words what must never happen."""
    try:
        radiograph = read_radiograph(path, limits=limits)
    except ImageError as error:
        return str(error.code)
    except BaseException as error:
        return f"{type(error).__module__}.{type(error).__name__}: {error}"
    return next(broken_invariants(radiograph, limits), READ)


def broken_invariants(radiograph: Radiograph, limits: ImageLimits) -> Iterator[str]:
    """Yields what is wrong with a radiograph, whatever its file was."""
    pixels, size = radiograph.pixels, (radiograph.height, radiograph.width)
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        yield f"pixels are {pixels.dtype} of shape {pixels.shape}"
    elif min(pixels.shape) < 1 or any(
        shown > side for shown, side in zip(pixels.shape, size, strict=True)
    ):
        yield f"{pixels.shape} pixels of {size}"
    if min(size) < limits.min_side_px or size[0] * size[1] > limits.max_pixels:
        yield f"an image of {size} beyond the limits"
