"""Draws a class-activation map as a picture to lay over its radiograph."""

import io
from collections.abc import Sequence
from typing import Final

import png

LONGEST_SIDE_PX: Final = 512

# Anchors of matplotlib's "inferno" (Smith and van der Walt; CC0), which is ordered in lightness, so
# it reads the same in grey and to the colour-blind. Its black start is left out: it is transparent.
_ANCHORS: Final[tuple[tuple[int, int, int], ...]] = (
    (87, 16, 110),
    (137, 34, 106),
    (188, 55, 84),
    (227, 89, 51),
    (249, 140, 10),
    (249, 201, 50),
    (252, 255, 164),
)

# Below the first the radiograph shows unchanged; at 1 it still shines through.
_TRANSPARENT_UP_TO: Final = 0.08
_GREATEST_ALPHA: Final = 215


def render_heatmap(activation_map: Sequence[Sequence[float]], width: int, height: int) -> bytes:
    """Returns a PNG with transparency in the radiograph's aspect.

    Bilinear between the map's cells, whose centres lie where they lie on the radiograph (the
    model's input is the whole radiograph, squashed to a square).

    Args:
        activation_map: rows from the top, values 0-1, at least one.
        width: of the radiograph, pixels.
        height: of the radiograph, pixels.
    """
    scale = LONGEST_SIDE_PX / max(width, height)
    out_width, out_height = max(1, round(width * scale)), max(1, round(height * scale))
    columns = _sample_points(len(activation_map[0]), out_width)
    rows = [
        _interpolate_row(activation_map[above], activation_map[below], share, columns)
        for above, below, share in _sample_points(len(activation_map), out_height)
    ]
    buffer = io.BytesIO()
    png.Writer(out_width, out_height, palette=_PALETTE, bitdepth=8, compression=6).write(
        buffer, rows
    )
    return buffer.getvalue()


def _sample_points(cells: int, pixels: int) -> list[tuple[int, int, float]]:
    """Returns for each pixel the cells on either side and the second one's share."""
    points = []
    for pixel in range(pixels):
        position = min(max((pixel + 0.5) * cells / pixels - 0.5, 0.0), cells - 1.0)
        first = int(position)
        points.append((first, min(first + 1, cells - 1), position - first))
    return points


def _interpolate_row(
    above: Sequence[float],
    below: Sequence[float],
    share: float,
    columns: Sequence[tuple[int, int, float]],
) -> bytes:
    row = [255 * (a + (b - a) * share) for a, b in zip(above, below, strict=True)]
    return bytes(
        [int(row[left] + (row[right] - row[left]) * part) for left, right, part in columns]
    )


def _make_palette() -> list[tuple[int, int, int, int]]:
    palette = []
    for index in range(256):
        level = index / 255
        position = level * (len(_ANCHORS) - 1)
        first = min(int(position), len(_ANCHORS) - 2)
        part = position - first
        red, green, blue = (
            round(low + (high - low) * part)
            for low, high in zip(_ANCHORS[first], _ANCHORS[first + 1], strict=True)
        )
        shown = max(0.0, (level - _TRANSPARENT_UP_TO) / (1 - _TRANSPARENT_UP_TO))
        # The root lifts the middle: half an activation is worth seeing.
        palette.append((red, green, blue, round(_GREATEST_ALPHA * shown**0.7)))
    return palette


_PALETTE: Final = _make_palette()
