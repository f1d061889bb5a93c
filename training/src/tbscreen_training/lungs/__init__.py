"""The lungs: where they are, and the radiograph reduced to them."""

from tbscreen_training.lungs.field import FIELD_PX, PlaceInFrame
from tbscreen_training.lungs.finder import FRAME_PX, LUNGS_PX
from tbscreen_training.lungs.masks import LungFinder
from tbscreen_training.lungs.reader import build_lung_reader

__all__ = [
    "FIELD_PX",
    "FRAME_PX",
    "LUNGS_PX",
    "LungFinder",
    "PlaceInFrame",
    "build_lung_reader",
]
