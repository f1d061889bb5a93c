"""Lung masks: one file for both lungs, or Montgomery's two, one for each."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from tbscreen_training.errors import TrainingError
from tbscreen_training.sample import Sample

LEFT: Final = "leftMask"
RIGHT: Final = "rightMask"


def read_mask(sample: Sample, size_px: int) -> NDArray[np.bool_]:
    """Returns the lungs of a sample that has a mask, bool (size_px, size_px).

    Raises:
        TrainingError: the mask can not be read.
    """
    try:
        mask = open_mask(Path(str(sample.mask)))
    except (OSError, ValueError) as error:
        raise TrainingError(f"the mask of {sample.name} can not be read: {error}") from error
    full = mask.point(lambda level: 255 if level else 0)
    scaled = full.resize((size_px, size_px), Image.Resampling.BILINEAR)
    lungs: NDArray[np.bool_] = np.asarray(scaled) > 127
    return lungs


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
