"""Lung masks: one file for both lungs, or Montgomery's two, one for each."""

from pathlib import Path
from typing import Final

from PIL import Image, ImageChops

LEFT: Final = "leftMask"
RIGHT: Final = "rightMask"


def open_mask(path: Path) -> Image.Image:
    """Reads a sample's lung mask, mode "L", its own size, above 0 is lung.

    A mask in a folder `leftMask` is joined with the one of its name in the `rightMask` beside it,
    which is how Montgomery's are published: such a sample names the left one.

    Raises:
        OSError: it can not be read.
        ValueError: the two lungs' masks differ in size.
    """
    with Image.open(path) as image:
        mask = image.convert("L")
    if path.parent.name == LEFT:
        with Image.open(path.parent.parent / RIGHT / path.name) as image:
            other = image.convert("L")
        if other.size != mask.size:
            raise ValueError(f"{path.name}: the lungs' masks are {mask.size} and {other.size}")
        mask = ImageChops.lighter(mask, other)
    return mask
