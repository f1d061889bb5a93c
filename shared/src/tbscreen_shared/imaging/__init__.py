"""Pixels: from an uploaded file to the model's input tensor. ONE path for training and serving.

read_radiograph(path) ─▶ Radiograph (uint8 grey, any size) ─▶ to_model_input ─▶ uint8 (H, W, 1)
"""

from tbscreen_shared.imaging.limits import ImageLimits
from tbscreen_shared.imaging.preprocess import PREPROCESSING_VERSION, to_model_input
from tbscreen_shared.imaging.radiograph import Radiograph
from tbscreen_shared.imaging.read import read_radiograph

__all__ = [
    "PREPROCESSING_VERSION",
    "ImageLimits",
    "Radiograph",
    "read_radiograph",
    "to_model_input",
]
