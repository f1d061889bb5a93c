"""Grey levels: from stored values of any depth to 8 bits."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.errors import ErrorCode, ImageError

Transfer = Callable[[NDArray[Any]], NDArray[np.float64]]
"""Maps stored values to brightness; what it gives is clipped to 0-1, and NaN is black."""

_Quantiser = Callable[[NDArray[Any]], NDArray[np.uint8]]

_WINDOW_PERCENTILES: Final = (0.1, 99.9)
"""Leaves out dead pixels and burnt-in markers, keeps the lungs' and the bones' ends."""

_SAMPLE_SIDE_PX: Final = 512
"""Percentiles of a regular sample this dense differ from the whole image's by under one level."""

_SAMPLE_LONGEST_PX: Final = 4 * _SAMPLE_SIDE_PX
"""Percentiles of all 64 million pixels of an image 32 wide would take over a gigabyte."""

_BLOCK_PIXELS: Final = 2**18
"""A look-up makes an int64 copy, a transfer several of float64: half a gigabyte each of an image of
8000 x 8000."""


def sample(values: NDArray[Any]) -> NDArray[Any]:
    """Returns a regular sample of an image (h, w): every n-th pixel of every n-th row."""
    step = max(1, min(values.shape) // _SAMPLE_SIDE_PX)
    down, across = (max(step, side // _SAMPLE_LONGEST_PX) for side in values.shape)
    return values[::down, ::across]


def robust_window(values: NDArray[Any]) -> tuple[float, float]:
    """Returns the (low, high) values to show as black and white: the 0.1 and 99.9 percentiles.

    Args:
        values: any shape; NaN and infinities are left out.

    Raises:
        ImageError: `unreadable_image` when no finite value is left.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size == 0:
        raise ImageError(ErrorCode.UNREADABLE_IMAGE, "the image holds no grey levels")
    low, high = np.percentile(finite, _WINDOW_PERCENTILES)
    if high <= low:
        # A few marks on an even ground: the ground alone fills both percentiles.
        low, high = finite.min(), finite.max()
    return float(low), float(high)


def window(low: float, high: float) -> Transfer:
    """Returns the straight line from black at `low` to white at `high`; all black if they meet."""

    def transfer(values: NDArray[Any]) -> NDArray[np.float64]:
        if high <= low:
            return np.zeros(values.shape)
        return (values.astype(np.float64) - low) / (high - low)

    return transfer


def row_blocks(height: int, width: int) -> Iterator[slice]:
    """Yields slices of rows that cover an image, each of few enough pixels to be copied freely."""
    rows = max(1, _BLOCK_PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def to_levels(stored: NDArray[Any], transfer: Transfer) -> NDArray[np.uint8]:
    """Returns the 8-bit levels (0-255) of stored values, of the same shape.

    Integers of up to 16 bits go through a table of all their values: 20 ms instead of 160 ms for
    3000 x 3000 pixels.
    """
    native = stored.dtype.newbyteorder("=")
    is_narrow = native.kind in "ui" and native.itemsize <= 2
    show = _by_table(native, transfer) if is_narrow else _by_value(transfer)
    levels = np.empty(stored.shape, dtype=np.uint8)
    height, width = stored.shape
    for rows in row_blocks(height, width):
        levels[rows] = show(stored[rows].astype(native, copy=False))
    return levels


def _by_table(dtype: np.dtype[Any], transfer: Transfer) -> _Quantiser:
    unsigned = np.dtype(f"u{dtype.itemsize}")
    every_value = np.arange(256**dtype.itemsize).astype(unsigned).view(dtype)
    table = _quantise(transfer(every_value))
    return lambda values: table.take(values.view(unsigned))


def _by_value(transfer: Transfer) -> _Quantiser:
    return lambda values: _quantise(transfer(values))


def _quantise(brightness: NDArray[np.float64]) -> NDArray[np.uint8]:
    bounded = np.clip(np.nan_to_num(brightness, nan=0.0), 0.0, 1.0)
    return np.rint(bounded * 255.0).astype(np.uint8)
