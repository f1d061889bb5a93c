"""Draws what else is uploaded by mistake: documents, charts, screens, patterns, noise, blanks."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tbscreen_training.config import INPUT_PX

_SIDE: Final = INPUT_PX
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def document(rng: np.random.Generator) -> Image.Image:
    """A page of text, dark on light or light on dark, sometimes photographed at an angle."""
    page, ink = _page_and_ink(rng)
    image = Image.new("L", (_SIDE, _SIDE), page)
    draw = ImageDraw.Draw(image)
    size = int(rng.integers(8, 26))
    font = ImageFont.load_default(size)
    margin = int(rng.integers(6, 70))
    y = margin
    while y < _SIDE - margin - size:
        if rng.random() < 0.12:
            y += size
        end = _SIDE - margin if rng.random() < 0.8 else int(rng.integers(margin + 40, _SIDE))
        text = ""
        while margin + draw.textlength(text, font) < end - 3 * size:
            text += _word(rng) + " "
        draw.text((margin, y), text, fill=ink, font=font)
        y += round(size * rng.uniform(1.15, 1.5))
    if rng.random() < 0.3:
        x, y = (int(place) for place in rng.integers(20, _SIDE - 140, 2))
        draw.rectangle((x, y, x + 110, y + 70), fill=int(rng.integers(60, 200)))
    if rng.random() < 0.4:
        image = image.rotate(rng.uniform(-15, 15), fillcolor=int(rng.integers(256)))
    return image


def table(rng: np.random.Generator) -> Image.Image:
    """A form or spreadsheet: lines, numbers, some cells filled."""
    page, ink = _page_and_ink(rng)
    image = Image.new("L", (_SIDE, _SIDE), page)
    draw = ImageDraw.Draw(image)
    rows, columns = int(rng.integers(4, 22)), int(rng.integers(2, 9))
    high, wide = _SIDE / rows, _SIDE / columns
    font = ImageFont.load_default(max(7, round(high * 0.5)))
    shaded = int((page * 3 + ink) / 4)
    for row in range(rows):
        for column in range(columns):
            box = (column * wide, row * high, (column + 1) * wide, (row + 1) * high)
            fill = shaded if row == 0 or rng.random() < 0.1 else None
            draw.rectangle(box, outline=ink, fill=fill)
            text = _word(rng) if rng.random() < 0.4 else f"{rng.uniform(0, 999):.1f}"
            draw.text((box[0] + 3, box[1] + 2), text[: max(1, int(wide / 9))], fill=ink, font=font)
    return image


def chart(rng: np.random.Generator) -> Image.Image:
    """Bars, lines, a pie or points, with axes and a title."""
    page, ink = _page_and_ink(rng)
    image = Image.new("L", (_SIDE, _SIDE), page)
    draw = ImageDraw.Draw(image)
    draw.text((_SIDE // 3, 8), _word(rng), fill=ink, font=ImageFont.load_default(18))
    draw.line((40, 30, 40, _SIDE - 40, _SIDE - 20, _SIDE - 40), fill=ink, width=2)
    kind, count = int(rng.integers(4)), int(rng.integers(2, 14))
    step = (_SIDE - 70) / count
    heights = rng.uniform(10, _SIDE - 90, count)
    shades = [int(shade) for shade in rng.integers(30, 226, count)]
    points = [(45 + step * (i + 0.5), _SIDE - 40 - heights[i]) for i in range(count)]
    if kind == 0:
        for (x, y), shade in zip(points, shades, strict=True):
            draw.rectangle((x - step * 0.4, y, x + step * 0.4, _SIDE - 41), fill=shade)
    elif kind == 1:
        for shade in shades[:3]:
            heights = np.cumsum(rng.normal(0, 25, count)) + _SIDE / 2
            line = [(x, float(y)) for (x, _), y in zip(points, heights, strict=True)]
            draw.line(line, fill=shade, width=int(rng.integers(1, 6)))
    elif kind == 2:
        ends = np.concatenate([[0], np.cumsum(heights / heights.sum() * 360)])
        for i, shade in enumerate(shades):
            draw.pieslice((60, 60, _SIDE - 60, _SIDE - 60), ends[i], ends[i + 1], fill=shade)
    else:
        for x, y in rng.normal(_SIDE / 2, _SIDE / 7, (count * 25, 2)):
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=shades[0])
    return image


def screen(rng: np.random.Generator) -> Image.Image:
    """A screenshot: windows with bars, buttons and text over a ground."""
    image = _smooth_ground(rng)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 5))):
        page, ink = _page_and_ink(rng)
        x, y = (int(place) for place in rng.integers(-40, 220, 2))
        right, low = x + int(rng.integers(90, 340)), y + int(rng.integers(90, 340))
        draw.rectangle((x, y, right, low), fill=page, outline=ink)
        draw.rectangle((x, y, right, y + 16), fill=int((page + ink) / 2))
        for top in range(y + 24, low - 12, int(rng.integers(14, 30))):
            if rng.random() < 0.3:
                draw.rounded_rectangle((x + 8, top, x + 70, top + 11), 3, outline=ink)
            draw.text((x + 10, top), _word(rng) + " " + _word(rng), fill=ink)
    return image


def sketch(rng: np.random.Generator) -> Image.Image:
    """A line drawing: strokes, circles and boxes on an even ground."""
    page, ink = _page_and_ink(rng)
    image = Image.new("L", (_SIDE, _SIDE), page)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 28))):
        width = int(rng.integers(1, 7))
        box = np.sort(rng.uniform(0, _SIDE, (2, 2)), axis=0).ravel().tolist()
        shape = int(rng.integers(4))
        if shape == 0:
            draw.ellipse(box, outline=ink, width=width)
        elif shape == 1:
            draw.arc(box, rng.uniform(0, 180), rng.uniform(180, 360), fill=ink, width=width)
        elif shape == 2:
            draw.rectangle(box, outline=ink, width=width)
        else:
            walk = np.cumsum(rng.normal(0, 30, (8, 2)), axis=0) + rng.uniform(0, _SIDE, 2)
            draw.line([tuple(point) for point in walk.tolist()], fill=ink, width=width)
    return image


def dead_leaves(rng: np.random.Generator) -> Image.Image:
    """Discs that hide each other: edges are spread as in photographs (Lee et al. 2001)."""
    image = Image.new("L", (_SIDE, _SIDE), int(rng.integers(256)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(15, 260))):
        radius = 8 / math.sqrt(rng.uniform(0.002, 1))
        x, y = rng.uniform(-30, _SIDE + 30, 2)
        shade = int(np.clip(rng.normal(120, 65), 0, 255))
        box = (x - radius, y - radius, x + radius, y + radius * rng.uniform(0.5, 1.6))
        if rng.random() < 0.7:
            draw.ellipse(box, fill=shade)
        else:
            draw.rectangle((box[0], box[1], box[2], max(box[1], box[3])), fill=shade)
    blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 4)))
    return _with_grain(np.asarray(blurred, np.float32), rng)


def clouds(rng: np.random.Generator) -> Image.Image:
    """Noise whose power falls with frequency, from clouds to nearly white."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_SIDE), np.fft.rfftfreq(_SIDE), indexing="ij"))
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.normal(size=(_SIDE, _SIDE))) / frequency ** rng.uniform(0, 2.2)
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, (_SIDE, _SIDE))
    return _to_image(rng.uniform(70, 190) + rng.uniform(15, 70) * field / field.std())


def noise(rng: np.random.Generator) -> Image.Image:
    """White noise, coarse or fine."""
    cells = int(rng.integers(6, _SIDE))
    levels = rng.normal(rng.uniform(60, 200), rng.uniform(10, 90), (cells, cells))
    return _to_image(levels).resize((_SIDE, _SIDE), Image.Resampling(int(rng.integers(0, 4))))


def pattern(rng: np.random.Generator) -> Image.Image:
    """Stripes, a chessboard, rings or dots."""
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32)
    angle, pitch = rng.uniform(0, math.pi), rng.uniform(4, 120)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    waves = (
        np.sin(2 * math.pi * along / pitch),
        np.sin(2 * math.pi * along / pitch) * np.sin(2 * math.pi * across / pitch),
        np.sin(2 * math.pi * np.hypot(x - rng.uniform(0, _SIDE), y - _SIDE / 2) / pitch),
    )
    wave = waves[int(rng.integers(3))]
    if rng.random() < 0.5:
        wave = np.sign(wave)
    return _with_grain(rng.uniform(90, 170) + rng.uniform(20, 90) * wave, rng)


def blank(rng: np.random.Generator) -> Image.Image:
    """One grey, or nearly: a cover that was not taken off, an empty film."""
    return _with_grain(np.full((_SIDE, _SIDE), rng.uniform(0, 255), np.float32), rng)


def gradient(rng: np.random.Generator) -> Image.Image:
    """A smooth course of greys."""
    return _with_grain(np.asarray(_smooth_ground(rng), np.float32), rng)


def _page_and_ink(rng: np.random.Generator) -> tuple[int, int]:
    light, dark = int(rng.integers(170, 256)), int(rng.integers(0, 90))
    return (light, dark) if rng.random() < 0.75 else (dark, light)


def _word(rng: np.random.Generator) -> str:
    return "".join(_LETTERS[place] for place in rng.integers(0, 26, int(rng.integers(2, 11))))


def _smooth_ground(rng: np.random.Generator) -> Image.Image:
    corners = rng.uniform(0, 255, (int(rng.integers(1, 4)), int(rng.integers(2, 4))))
    return _to_image(corners).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


def _with_grain(levels: NDArray[np.floating], rng: np.random.Generator) -> Image.Image:
    return _to_image(levels + rng.uniform(0, 8) * rng.normal(size=levels.shape))


def _to_image(levels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(levels, 0, 255)).astype(np.uint8))
