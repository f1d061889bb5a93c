"""Radiographs with something taken away, to find out what a score rests on.

A figure that survives the removal of the lungs is not about the lungs (DeGrave et al. 2021, "AI for
radiographic COVID-19 detection selects shortcuts over signal", Nature Machine Intelligence 3:610).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_training.predictions import PLAIN

LUNGS_BLANKED: Final = "lungs_blanked"
LUNGS_ONLY: Final = "lungs_only"
BORDER_ONLY: Final = "border_only"
VIEWS: Final = (PLAIN, LUNGS_BLANKED, LUNGS_ONLY, BORDER_ONLY)

VIEW_TEXTS: Final = {
    PLAIN: "as served",
    LUNGS_BLANKED: "lungs blanked",
    LUNGS_ONLY: "lungs only",
    BORDER_ONLY: "border only",
}

_BORDER: Final = 0.1
"""Width of the border on each side, as a share of the side: the inner 80 % x 80 % goes."""

_LEAST_AREA: Final = 0.03
_MOST_AREA: Final = 0.9
"""Shares of the frame. The lungs of 456 Shenzhen radiographs cover 0.08 to 0.43 of it; a mask
outside of these bounds has missed them, and what is blanked by it proves nothing."""

Tensor = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def control_views(tensor: Tensor, mask: Mask | None) -> dict[str, Tensor]:
    """Returns the controls that can be made of an image.

    Args:
        tensor: uint8 (S, S, 1), the whole radiograph.
        mask: (S, S), whether a pixel is lung; None where it is not known.

    Returns:
        the images by view; without lungs_blanked and lungs_only where the mask tells no lungs.
    """
    views = {BORDER_ONLY: keep_border(tensor)}
    if mask is not None and tells_lungs(mask):
        views |= {LUNGS_BLANKED: blank_lungs(tensor, mask), LUNGS_ONLY: keep_lungs(tensor, mask)}
    return views


def tells_lungs(mask: Mask) -> bool:
    """Whether a mask (S, S) can be that of the lungs: neither next to nothing nor the whole frame.

    With an empty mask the blanked image would be the plain one, and lungs alone a flat field.
    """
    return bool(_LEAST_AREA <= mask.mean() <= _MOST_AREA)


def blank_lungs(tensor: Tensor, mask: Mask) -> Tensor:
    """Returns the image with every lung pixel set to the lungs' mean.

    Raises:
        ValueError: the mask holds no pixel, or is not of the image's shape.
    """
    return _fill(tensor, where=_checked(tensor, mask), with_mean_of=mask)


def keep_lungs(tensor: Tensor, mask: Mask) -> Tensor:
    """Returns the image with every pixel outside the lungs set to the lungs' mean.

    Raises:
        ValueError: the mask holds no pixel, or is not of the image's shape.
    """
    return _fill(tensor, where=~_checked(tensor, mask), with_mean_of=mask)


def keep_border(tensor: Tensor) -> Tensor:
    """Returns the image with its inner 80 % x 80 % set to the border's mean."""
    height, width, _ = tensor.shape
    rows, columns = round(height * _BORDER), round(width * _BORDER)
    inner = np.zeros((height, width), np.bool_)
    inner[rows : height - rows, columns : width - columns] = True
    return _fill(tensor, where=inner, with_mean_of=~inner)


def _checked(tensor: Tensor, mask: Mask) -> Mask:
    if mask.shape != tensor.shape[:2]:
        raise ValueError(f"a mask of {mask.shape} for an image of {tensor.shape[:2]}")
    if not mask.any():
        raise ValueError("the mask holds no lung")
    return mask


def _fill(tensor: Tensor, *, where: Mask, with_mean_of: Mask) -> Tensor:
    filled = tensor.copy()
    filled[where] = np.rint(tensor[with_mean_of].mean()).astype(np.uint8)
    return filled
