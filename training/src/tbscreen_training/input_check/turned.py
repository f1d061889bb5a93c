"""Radiographs as they are also uploaded: well within what is read, and as what must be refused."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tbscreen_shared.input_check import Kind

Turn = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


def vary(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns a frontal radiograph (h, w) as another one might have been taken and stored.

    Mirrored, tilted by up to 12 degrees, lighter or darker, cut closer or lying small in a black,
    grey or white frame.
    """
    image = Image.fromarray(pixels)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.5:
        image = image.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR, fillcolor=0)
    way = rng.random()
    if way < 0.35:
        image = _in_a_frame(image, rng)
    elif way < 0.75:
        image = _cut(image, *rng.uniform(0, 0.12, 4))
    exponent = 2.0 ** rng.uniform(-1.2, 1.2)
    levels = 255 * (np.asarray(image, np.float32) / 255) ** np.float32(exponent)
    low, high = rng.uniform(0, 50), rng.uniform(150, 300)
    levels = low + levels * (high - low) / 255
    varied: NDArray[np.uint8] = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    return varied


def invert(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Swaps black and white: bone dark, air bright."""
    return 255 - pixels


def invert_as_viewers_do(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Swaps black and white, now and then within a frame that stays black."""
    swapped = invert(pixels, rng)
    if rng.random() < 0.3:
        return np.asarray(_in_a_frame(Image.fromarray(swapped), rng, ground=0))
    return swapped


def lay_down(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turns by 90 degrees, to the left or to the right."""
    return np.ascontiguousarray(np.rot90(pixels, 1 if rng.random() < 0.5 else 3))


def turn_over(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turns by 180 degrees."""
    return np.ascontiguousarray(pixels[::-1, ::-1])


def cut_to_a_part(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Keeps one lung, or a window that holds no more than a quarter of the frame."""
    if rng.random() < 0.5:
        width, start = rng.uniform(0.35, 0.5), rng.uniform(0, 0.08)
        left = start if rng.random() < 0.5 else 1 - width - start
        box = (left, rng.uniform(0, 0.1), 1 - left - width, rng.uniform(0, 0.1))
    else:
        width, height = rng.uniform(0.25, 0.5, 2)
        left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        box = (left, top, 1 - left - width, 1 - top - height)
    return np.asarray(_cut(Image.fromarray(pixels), *box))


REFUSED: Final[dict[Kind, Turn]] = {
    Kind.INVERTED: invert_as_viewers_do,
    Kind.SIDEWAYS: lay_down,
    Kind.UPSIDE_DOWN: turn_over,
    Kind.PART: cut_to_a_part,
}


def shrink(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A thumbnail of 48 to 128 pixels, scaled back."""
    side = int(rng.integers(48, 129))
    small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(small.resize(pixels.shape[::-1], Image.Resampling.BILINEAR))


def underexpose(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Lightens as too small a dose does: gamma 0.35 to 0.6."""
    return _with_gamma(pixels, rng.uniform(0.35, 0.6))


def overexpose(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Darkens as too large a dose does: gamma 1.7 to 2.8."""
    return _with_gamma(pixels, rng.uniform(1.7, 2.8))


def _with_gamma(pixels: NDArray[np.uint8], exponent: float) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.rint(255 * (pixels / 255.0) ** exponent).astype(np.uint8)
    return levels


def frame_widely(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Puts it into the middle of a screen of 16 : 9, black to the left and right."""
    image = Image.fromarray(pixels)
    framed = Image.new("L", image.size)
    width = round(image.width * rng.uniform(0.5, 0.6))
    small = image.resize((width, image.height), Image.Resampling.BILINEAR)
    framed.paste(small, ((image.width - width) // 2, 0))
    return np.asarray(framed)


READ_ALL_THE_SAME: Final[dict[str, Turn]] = {
    "thumbnail": shrink,
    "underexposed": underexpose,
    "overexposed": overexpose,
    "on a wide screen": frame_widely,
}
"""Poor radiographs, but frontal ones: measured, never fitted to, and not to be refused."""


def _in_a_frame(
    image: Image.Image, rng: np.random.Generator, *, ground: int | None = None
) -> Image.Image:
    if ground is None:
        ground = 0 if rng.random() < 0.6 else int(rng.integers(256))
    framed = Image.new("L", image.size, ground)
    # Screens are wider than films, seldom higher.
    shares = (rng.uniform(0.45, 0.98), rng.uniform(0.55, 0.98))
    width, height = (round(side * share) for side, share in zip(image.size, shares, strict=True))
    left = int(rng.integers(image.width - width + 1))
    top = int(rng.integers(image.height - height + 1))
    framed.paste(image.resize((width, height), Image.Resampling.BILINEAR), (left, top))
    return framed


def _cut(image: Image.Image, left: float, top: float, right: float, low: float) -> Image.Image:
    width, height = image.size
    box = (left * width, top * height, (1 - right) * width, (1 - low) * height)
    return image.resize(image.size, Image.Resampling.BILINEAR, box=box)
