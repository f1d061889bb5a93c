import io
from itertools import pairwise

import png
import pytest

from tbscreen_gateway.heatmap import LONGEST_SIDE_PX, render_heatmap

Pixel = tuple[int, ...]


def draw(activation_map: list[list[float]], width: int, height: int) -> list[list[Pixel]]:
    drawn_width, drawn_height, values, _ = png.Reader(
        bytes=render_heatmap(activation_map, width, height)
    ).asRGBA()
    rows = [
        [tuple(row[start : start + 4]) for start in range(0, 4 * drawn_width, 4)] for row in values
    ]
    assert len(rows) == drawn_height
    return rows


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((2517, 2713), (475, 512)),
        ((100, 50), (512, 256)),
        ((1, 10_000), (1, 512)),
        ((512, 512), (512, 512)),
    ],
)
def test_the_picture_has_the_radiographs_aspect(
    size: tuple[int, int], drawn: tuple[int, int]
) -> None:
    rows = draw([[0.0, 1.0], [1.0, 0.0]], *size)
    assert (len(rows[0]), len(rows)) == drawn
    assert max(drawn) == LONGEST_SIDE_PX


def test_no_activation_is_transparent_and_more_of_it_less_so() -> None:
    row = draw([[level / 7 for level in range(8)]] * 8, 512, 512)[256]
    alphas = [pixel[3] for pixel in row]
    assert alphas[0] == 0
    assert alphas == sorted(alphas)
    assert 150 < alphas[-1] < 255


def test_the_colours_grow_lighter_with_activation() -> None:
    row = draw([[level / 7 for level in range(8)]] * 8, 512, 512)[256]
    lightness = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue, _ in row]
    assert all(after >= before - 1 for before, after in pairwise(lightness))
    assert lightness[-1] > lightness[0] + 150


def test_a_cell_lies_where_it_lies_on_the_radiograph() -> None:
    hot = [[0.0] * 8 for _ in range(8)]
    hot[1][6] = 1.0
    rows = draw(hot, 800, 400)
    brightest = max(
        ((x, y) for y in range(len(rows)) for x in range(len(rows[0]))),
        key=lambda at: rows[at[1]][at[0]][3],
    )
    assert brightest[0] / len(rows[0]) == pytest.approx(6.5 / 8, abs=0.01)
    assert brightest[1] / len(rows) == pytest.approx(1.5 / 8, abs=0.01)


def test_between_two_cells_the_value_is_between() -> None:
    row = draw([[0.0, 1.0]], 512, 512)[0]
    palette_of_half = draw([[0.5]], 512, 512)[0][0]
    middle = row[256]
    assert all(abs(a - b) <= 3 for a, b in zip(middle, palette_of_half, strict=True))


@pytest.mark.parametrize("activation_map", [[[0.0]], [[1.0]], [[0.0] * 8] * 8, [[0.3, 1.0]]])
def test_maps_of_any_shape_are_drawn(activation_map: list[list[float]]) -> None:
    rows = draw(activation_map, 64, 64)
    assert len(rows) == len(rows[0]) == 512


def test_it_is_a_png_with_a_palette() -> None:
    reader = png.Reader(file=io.BytesIO(render_heatmap([[0.0, 1.0]], 10, 10)))
    assert "palette" in reader.read()[3]
