"""Draws radiographs and slices of other parts of the body: stand-ins, where real ones lack.

They have what makes such an image look like a radiograph (bright bone in grey flesh on a dark
ground, soft edges, grain), and not the lungs and ribs of a frontal chest.
"""

import math
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tbscreen_training.config import INPUT_PX

_SIDE: Final = INPUT_PX
_Point = tuple[float, float]


def hand(rng: np.random.Generator) -> Image.Image:
    """A hand: five fingers of three bones each, a palm, a wrist."""
    flesh, bone = Image.new("L", (_SIDE, _SIDE)), Image.new("L", (_SIDE, _SIDE))
    scale = rng.uniform(0.75, 1.15) * _SIDE / 384
    x, y = _SIDE / 2 + rng.uniform(-40, 40), _SIDE * 0.62
    spread, width = rng.uniform(0.1, 0.24), rng.uniform(9, 13) * scale
    for finger, reach in enumerate((125, 175, 190, 175, 140)):
        turn = (finger - 2) * spread + rng.normal(0, 0.04) - (0.45 if finger == 0 else 0)
        along = (math.sin(turn), -math.cos(turn))
        start = (x + (finger - 2) * 26 * scale, y + 8 * abs(finger - 2) * scale)
        tip = (start[0] + along[0] * reach * scale, start[1] + along[1] * reach * scale)
        _limb(flesh, start, tip, width * 1.9, 255)
        for low, high in ((-0.35, 0.28), (0.32, 0.6), (0.64, 0.82), (0.85, 1.0)):
            _bone(bone, _between(start, tip, low), _between(start, tip, high), width * 0.7)
    draw = ImageDraw.Draw(flesh)
    draw.ellipse(_around((x, y + 30 * scale), 75 * scale, 80 * scale), fill=255)
    _limb(flesh, (x, y + 70 * scale), (x, _SIDE + 60), 42 * scale, 255)
    for place in rng.normal((x, y + 75 * scale), (22 * scale, 12 * scale), (8, 2)):
        ImageDraw.Draw(bone).ellipse(_around(tuple(place), 13 * scale, 11 * scale), fill=255)
    for offset in (-18 * scale, 16 * scale):
        _bone(bone, (x + offset, y + 100 * scale), (x + offset, _SIDE + 40), width * 1.2)
    return _develop(flesh, bone, rng)


def limb(rng: np.random.Generator) -> Image.Image:
    """A leg or an arm: one or two long bones, a joint, in a cylinder of flesh."""
    flesh, bone = Image.new("L", (_SIDE, _SIDE)), Image.new("L", (_SIDE, _SIDE))
    turn = rng.normal(0, 0.25)
    middle = (_SIDE / 2 + rng.uniform(-50, 50), _SIDE * rng.uniform(0.3, 0.7))
    width = rng.uniform(14, 34)
    for bend in (turn, turn + math.pi + rng.normal(0, 0.2)):
        far = (middle[0] + math.sin(bend) * _SIDE, middle[1] - math.cos(bend) * _SIDE)
        _limb(flesh, middle, far, width * rng.uniform(2, 3.4), 255)
        start = _between(middle, far, 0.03)
        _bone(bone, start, far, width)
        if rng.random() < 0.5:
            aside = (far[0] + 2.2 * width, far[1])
            _bone(bone, (start[0] + 1.8 * width, start[1]), aside, width * 0.5)
    return _develop(flesh, bone, rng)


def skull(rng: np.random.Generator) -> Image.Image:
    """A skull from the front or the side: a bright rim, orbits or a jaw, teeth."""
    flesh, bone = Image.new("L", (_SIDE, _SIDE)), Image.new("L", (_SIDE, _SIDE))
    x, y = _SIDE / 2 + rng.uniform(-25, 25), _SIDE * 0.42
    wide, high = rng.uniform(105, 150), rng.uniform(120, 150)
    ImageDraw.Draw(flesh).ellipse(_around((x, y), wide * 1.1, high * 1.1), fill=255)
    draw = ImageDraw.Draw(bone)
    draw.ellipse(_around((x, y), wide, high), fill=110, outline=255, width=int(rng.integers(6, 16)))
    draw.ellipse(_around((x, y + high), wide * 0.55, high * 0.5), fill=170)
    for side in (-1, 1):
        draw.ellipse(_around((x + side * wide * 0.42, y + high * 0.35), 27, 24), fill=60)
    draw.polygon([(x, y + high * 0.4), (x - 14, y + high * 0.8), (x + 14, y + high * 0.8)], fill=40)
    for tooth in range(-5, 6):
        draw.rectangle(_around((x + tooth * 9, y + high * 1.12), 3, 13), fill=240)
    _limb(flesh, (x, y + high), (x, _SIDE + 50), wide * 0.55, 255)
    _spine(bone, (x, y + high * 1.3), (x, _SIDE + 20), 20)
    return _develop(flesh, bone, rng)


def abdomen(rng: np.random.Generator) -> Image.Image:
    """A belly: spine, pelvis, flanks, and gas in the bowel."""
    flesh = Image.new("L", (_SIDE, _SIDE), 255)
    bone = Image.new("L", (_SIDE, _SIDE))
    x = _SIDE / 2 + rng.uniform(-20, 20)
    _spine(bone, (x, -20), (x, _SIDE * 0.72), rng.uniform(22, 32))
    draw = ImageDraw.Draw(bone)
    for side in (-1, 1):
        draw.ellipse(_around((x + side * 88, _SIDE * 0.75), 74, 62), outline=255, width=15)
        draw.ellipse(_around((x + side * 45, _SIDE * 0.98), 34, 30), outline=220, width=12)
        for rib in range(int(rng.integers(0, 4))):
            low = 12 + 26 * rib
            box = (*sorted((x + side * 30, x + side * 170)), low - 30, low + 50)
            draw.arc((box[0], box[2], box[1], box[3]), 0, 180, fill=150, width=6)
    gas = ImageDraw.Draw(flesh)
    for place in rng.normal((x, _SIDE * 0.45), (75, 80), (int(rng.integers(3, 18)), 2)):
        radii = rng.uniform(8, 30, 2)
        gas.ellipse(_around(tuple(place), *radii), fill=int(rng.integers(120, 210)))
    return _develop(flesh, bone, rng)


def slice_of_body(rng: np.random.Generator) -> Image.Image:
    """A slice of CT or MR: an ellipse on black, organs inside, sometimes two lungs and a spine."""
    image = Image.new("L", (_SIDE, _SIDE), int(rng.integers(0, 12)))
    draw = ImageDraw.Draw(image)
    wide, high = rng.uniform(100, 180, 2)
    middle = (_SIDE / 2 + rng.uniform(-15, 15), _SIDE / 2 + rng.uniform(-15, 15))
    outer, inner = int(rng.integers(90, 256)), int(rng.integers(40, 190))
    draw.ellipse(
        _around(middle, wide, high), fill=inner, outline=outer, width=int(rng.integers(14))
    )
    if rng.random() < 0.4:
        for side in (-1, 1):
            lung = (middle[0] + side * wide * 0.45, middle[1])
            draw.ellipse(_around(lung, wide * 0.34, high * 0.6), fill=int(rng.integers(0, 30)))
        draw.ellipse(_around((middle[0], middle[1] + high * 0.7), 24, 22), fill=235)
    for place in rng.normal(middle, (wide / 3, high / 3), (int(rng.integers(2, 14)), 2)):
        radii = rng.uniform(6, 45, 2)
        draw.ellipse(_around(tuple(place), *radii), fill=int(rng.integers(20, 240)))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))
    return _with_grain(image, rng)


def lateral_chest(rng: np.random.Generator) -> Image.Image:
    """A chest from the side: one field of both lungs, spine behind, breastbone in front, heart."""
    flesh = Image.new("L", (_SIDE, _SIDE), 0)
    bone = Image.new("L", (_SIDE, _SIDE))
    draw = ImageDraw.Draw(flesh)
    left, right = 40 + rng.uniform(-15, 25), 344 + rng.uniform(-25, 15)
    draw.rounded_rectangle((left, -40, right, _SIDE + 40), 60, fill=215)
    x, top, low = (
        _SIDE / 2 + rng.uniform(-18, 18),
        45 + rng.uniform(-20, 25),
        305 + rng.uniform(-30, 30),
    )
    field = [(x + 35, top), (x + 105, top + 70), (x + 118, low - 30), (x + 95, low + 45)]
    field += [(x, low), (x - 92, low - 30), (x - 112, low - 130), (x - 75, top + 60), (x - 20, top)]
    draw.polygon(field, fill=int(rng.integers(70, 120)))
    draw.ellipse(_around((x - 50, low - 55), 62, 58), fill=int(rng.integers(170, 215)))
    draw.ellipse(_around((x, top + 105), 26, 20), fill=190)
    _spine(bone, (x + 95, top - 60), (x + 120, _SIDE + 20), rng.uniform(18, 26), bend=25)
    bones = ImageDraw.Draw(bone)
    bones.line((x - 80, top + 40, x - 122, low - 60), fill=190, width=11)
    for rib in range(9):
        y = top + 18 + rib * 27
        bones.line((x + 100, y, x - 90, y + rng.uniform(45, 80)), fill=75, width=7)
    image = _develop(flesh, bone, rng)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def _develop(flesh: Image.Image, bone: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Adds bone to flesh, blurs, sets the exposure and adds grain."""
    soft = flesh.filter(ImageFilter.GaussianBlur(rng.uniform(4, 10)))
    hard = bone.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 2.5)))
    grey, bright = rng.uniform(0.25, 0.6), rng.uniform(0.3, 0.6)
    image = ImageChops.add(_scaled(soft, grey), _scaled(hard, bright))
    return _with_grain(
        ImageChops.add(image, Image.new("L", image.size, int(rng.integers(30)))), rng
    )


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.point([round(level * factor) for level in range(256)])


def _with_grain(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    levels = np.asarray(image, np.float32)
    grained = levels + rng.uniform(1, 9) * rng.normal(size=levels.shape)
    return Image.fromarray(np.rint(np.clip(grained, 0, 255)).astype(np.uint8))


def _spine(
    image: Image.Image, start: _Point, end: _Point, width: float, *, bend: float = 0.0
) -> None:
    draw = ImageDraw.Draw(image)
    count = max(3, round(math.dist(start, end) / (width * 1.15)))
    for place in range(count):
        share = place / (count - 1)
        x, y = _between(start, end, share)
        x += bend * math.sin(math.pi * share)
        draw.rounded_rectangle(_around((x, y), width, width * 0.46), 5, fill=200)
        draw.ellipse(_around((x, y), width * 0.35, width * 0.3), fill=245)


def _bone(image: Image.Image, start: _Point, end: _Point, width: float) -> None:
    _limb(image, start, end, width, 150)
    _limb(image, start, end, width * 0.45, 100)
    draw = ImageDraw.Draw(image)
    for joint in (start, end):
        draw.ellipse(_around(joint, width * 0.75, width * 0.65), fill=190)


def _limb(image: Image.Image, start: _Point, end: _Point, width: float, fill: int) -> None:
    draw = ImageDraw.Draw(image)
    draw.line((*start, *end), fill=fill, width=max(1, round(width)))
    draw.ellipse(_around(end, width / 2, width / 2), fill=fill)


def _between(start: _Point, end: _Point, share: float) -> _Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _around(middle: _Point, wide: float, high: float) -> tuple[float, float, float, float]:
    return middle[0] - wide, middle[1] - high, middle[0] + wide, middle[1] + high
