import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike

from tbscreen_shared.imaging.levels import to_levels, window


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
