"""Films without a chest: smooth patterns, each seed another, with the detail a film has."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def draw_film(seed: int, side: int = 384) -> NDArray[np.uint8]:
    """Draws uint8 (side, side); films of two seeds have nothing in common."""
    rng = np.random.default_rng(seed)
    levels = np.zeros((side, side), np.float32)
    for cells, height in ((4, 60), (12, 18), (40, 15)):
        noise = rng.standard_normal((cells, cells)).astype(np.float32)
        smooth = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
        levels += height * np.asarray(smooth)
    return np.clip(levels + 128, 0, 255).astype(np.uint8)
