"""Varies how a radiograph was taken and stored: tone, sharpness, grain, compression, borders.

Each hospital, scanner and archive leaves such traces on all its images. Where a source has one
label only, a network reads the traces instead of the lungs, unless they say nothing.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tbscreen_training.config import Augmentation


def vary_acquisition(
    pixels: NDArray[np.uint8], strengths: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Returns the radiograph as another machine might have stored it.

    Each kind is applied to every second image, by an amount drawn evenly up to its strength.

    Args:
        pixels: uint8, shape (h, w), 0-255.
        strengths: which kinds, and how far.
        rng: what it draws from.

    Returns:
        uint8, shape (h, w).
    """
    applied = rng.random(7) < 0.5
    amount = rng.random(7)
    sign = np.where(rng.random(7) < 0.5, -1.0, 1.0)
    levels = pixels.astype(np.float32)
    if applied[0] and strengths.gamma:
        exponent = np.float32(2.0 ** (sign[0] * amount[0] * strengths.gamma))
        levels = np.float32(255) * (levels / np.float32(255)) ** exponent
    if applied[1] and strengths.contrast:
        factor = np.float32(1 + sign[1] * amount[1] * strengths.contrast)
        levels = levels.mean() + (levels - levels.mean()) * factor
    image = Image.fromarray(_to_uint8(levels))
    if applied[2] and strengths.resolution:
        image = _through_fewer_pixels(image, 1 - amount[2] * strengths.resolution)
    if applied[3] and strengths.blur_px:
        radius = float(amount[3] * strengths.blur_px)
        image = image.filter(
            ImageFilter.GaussianBlur(radius)
            if sign[3] > 0
            else ImageFilter.UnsharpMask(2, int(60 * radius), 0)
        )
    if applied[4] and strengths.noise:
        grain = rng.standard_normal(pixels.shape, dtype=np.float32)
        image = Image.fromarray(
            _to_uint8(np.asarray(image) + grain * np.float32(amount[4] * strengths.noise))
        )
    if applied[5] and strengths.jpeg:
        image = _through_jpeg(image, quality=round(95 - amount[5] * strengths.jpeg))
    varied = np.array(image)
    if applied[6] and strengths.border:
        _fill_borders(varied, strengths.border, rng)
    return varied


def _to_uint8(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    return rounded


def _through_fewer_pixels(image: Image.Image, scale: float) -> Image.Image:
    small = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    return image.resize(small, Image.Resampling.BILINEAR).resize(
        image.size, Image.Resampling.BICUBIC
    )


def _through_jpeg(image: Image.Image, *, quality: int) -> Image.Image:
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=quality)
    return Image.open(stored).convert("L")


def _fill_borders(pixels: NDArray[np.uint8], most: float, rng: np.random.Generator) -> None:
    height, width = pixels.shape
    level = rng.choice([0, 255, int(rng.integers(256))])
    top, bottom, left, right = (rng.random(4) * most * (rng.random(4) < 0.5)).tolist()
    pixels[: round(top * height)] = level
    pixels[height - round(bottom * height) :] = level
    pixels[:, : round(left * width)] = level
    pixels[:, width - round(right * width) :] = level
