"""Varies a training image: one affine map, a brightness factor and how it was acquired."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tbscreen_training.acquisition import vary_acquisition
from tbscreen_training.config import Augmentation

Movement = tuple[float, float, float, float, float, float]
"""Pillow's affine coefficients: from each pixel of the result to one of the source."""


def augment(
    tensor: NDArray[np.uint8], strengths: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Returns a random variant of a radiograph.

    Every quantity is drawn whether it is used or not, so that switching one off leaves the others
    as they were.

    Args:
        tensor: uint8, shape (h, w, 1), 0-255.
        strengths: which variations, and how far.
        rng: what it draws from.

    Returns:
        uint8, shape (h, w, 1); what lies outside the image is black.
    """
    height, width, _ = tensor.shape
    moved = move(tensor[:, :, 0], draw_movement(strengths, (width, height), rng))
    levels = moved.astype(np.float32) * (1 + rng.uniform(-1.0, 1.0) * strengths.brightness)
    bright = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    return vary_acquisition(bright, strengths, rng)[:, :, np.newaxis]


def draw_movement(
    strengths: Augmentation, size: tuple[int, int], rng: np.random.Generator
) -> Movement:
    """Draws where the radiograph comes to lie in its frame of `size` (width, height), pixels."""
    rotation, shear, zoom, shift_x, shift_y = rng.uniform(-1.0, 1.0, size=5)
    flip_x, flip_y = rng.random(2) < 0.5
    width, height = size
    return _inverse_affine(
        angle=math.radians(rotation * strengths.rotation_deg),
        shear=math.tan(math.radians(shear * strengths.shear_deg)),
        scale_x=(1 + zoom * strengths.zoom) * (-1 if flip_x and strengths.horizontal_flip else 1),
        scale_y=(1 + zoom * strengths.zoom) * (-1 if flip_y and strengths.vertical_flip else 1),
        shift=(shift_x * strengths.shift * width, shift_y * strengths.shift * height),
        centre=(width / 2, height / 2),
    )


def move(pixels: NDArray[np.uint8], movement: Movement) -> NDArray[np.uint8]:
    """Moves a plane of uint8 (h, w); what was outside it is 0."""
    image = Image.fromarray(pixels)
    moved = image.transform(
        image.size, Image.Transform.AFFINE, movement, resample=Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


def view_generator(seed: int, sha256: str, view: int) -> np.random.Generator:
    """Returns the generator of one image's `view`-th variant, the same in every run with `seed`."""
    return np.random.default_rng([seed, view, int(sha256[:16], 16)])


def _inverse_affine(
    *,
    angle: float,
    shear: float,
    scale_x: float,
    scale_y: float,
    shift: tuple[float, float],
    centre: tuple[float, float],
) -> Movement:
    # Pillow maps each output pixel to an input pixel, hence the inverse.
    rotate = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = rotate @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([scale_x, scale_y])
    inverse = np.linalg.inv(linear)
    origin = np.array(centre)
    offset = origin - inverse @ (origin + np.array(shift))
    (a, b), (d, e) = inverse.tolist()
    c, f = offset.tolist()
    return (a, b, c, d, e, f)
