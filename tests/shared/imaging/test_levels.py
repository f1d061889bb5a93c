import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike

from tbscreen_shared.imaging.levels import row_blocks, sample, to_levels, window


@pytest.mark.parametrize("dtype", ["float32", "int32", ">u4", "uint16", ">u2"])
def test_a_tall_image_has_the_levels_of_its_values_and_costs_little_beside_them(
    dtype: DTypeLike,
) -> None:
    values: np.ndarray[Any, Any] = np.arange(2500 * 1000).reshape(2500, 1000) % 60_000
    stored = values.astype(dtype)

    tracemalloc.start()
    levels = to_levels(stored, window(0.0, 59_999.0))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    np.testing.assert_array_equal(levels, np.rint(values / 59_999.0 * 255.0).astype(np.uint8))
    assert peak_bytes < 8 * stored.size


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((80, 120), (80, 120)),
        ((1200, 1000), (1200, 1000)),
        ((3000, 2500), (750, 625)),
        ((8000, 2000), (2667, 667)),
        ((2_000_000, 32), (2050, 32)),
        ((32, 2_000_000), (32, 2050)),
    ],
)
def test_a_sample_is_dense_and_small_whatever_the_shape(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert sample(np.broadcast_to(np.uint8(0), shape)).shape == expected


@pytest.mark.parametrize("shape", [(1, 1), (3000, 2500), (7, 2_000_000), (2_000_000, 7)])
def test_blocks_of_rows_cover_an_image_and_are_small(shape: tuple[int, int]) -> None:
    height, width = shape

    blocks = list(row_blocks(height, width))

    assert [rows.start for rows in blocks] == [0, *(rows.stop for rows in blocks[:-1])]
    assert blocks[-1].stop == height
    assert all((rows.stop - rows.start) * width <= max(width, 2**18) for rows in blocks)
