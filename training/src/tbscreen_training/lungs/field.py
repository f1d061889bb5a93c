"""Reduces a frame to its lung field: cropped to the lungs, standardised inside, faded outside.

What the network sees is then the organ: not the markers, not the collimator's border, not the
exposure. Linear probes on such images carried over to another hospital at AUC 0.868, on whole
images at 0.778 (docs/adr/0013).
"""

from typing import Any, Final

import numpy as np
from keras import layers, ops

from tbscreen_training.lungs.finder import FRAME_PX, LUNGS_PX

FIELD_PX: Final = 256
"""Side of the square lung field, pixels."""

MARGIN: Final = 0.05
"""Added to the lungs' box on each side, as a share of it."""

_TAIL: Final = 0.01
"""Share of the lungs' area that may lie beyond each side of the box: stray cells do not move it."""

_LEAST_AREA: Final = 0.03
_CERTAIN_AREA: Final = 0.04
"""Shares of the frame. Lungs below the first are none, and the whole frame is kept; above the
second they are cut out; in between, one goes over into the other."""

_LEAST_SPREAD: Final = 6.0
_LEAST_RELATIVE_SPREAD: Final = 0.25
"""The lungs' spread counts as at least this many grey levels, and this share of the frame's:
featureless lungs stay featureless instead of having their grain blown up."""

_SPREADS_TO_FULL_SCALE: Final = 2.5


class LungsOrFrame(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """lungs (n, 64, 64, 1) as they are, or the whole frame where next to none were found."""

    def call(self, lungs: Any) -> Any:
        """Returns what is kept of each frame, (n, 64, 64, 1)."""
        area = ops.mean(_told(lungs), axis=(1, 2, 3), keepdims=True)
        found = ops.clip((area - _LEAST_AREA) / (_CERTAIN_AREA - _LEAST_AREA), 0.0, 1.0)
        return found * lungs + (1.0 - found)


class LungBox(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """lungs (n, 64, 64, 1) to boxes (n, 4): top, bottom, left, right as shares of the frame."""

    def call(self, lungs: Any) -> Any:
        """Returns the boxes."""
        mask = _told(lungs)[..., 0]
        top, bottom = self._extent(ops.sum(mask, axis=2))
        left, right = self._extent(ops.sum(mask, axis=1))
        return ops.stack([top, bottom, left, right], axis=-1)

    def _extent(self, profile: Any) -> tuple[Any, Any]:
        total = ops.maximum(ops.sum(profile, axis=1, keepdims=True), 1e-6)
        # A running sum as products: LiteRT's own is not delegated, and a matrix would be rounded.
        before = ops.sum(profile[:, :, None] * _ADD_UP, axis=1) / total
        cell = ops.maximum(profile / total, 1e-6)

        def reached(share: float) -> Any:
            return ops.sum(ops.clip((share - before) / cell, 0.0, 1.0), axis=1) / LUNGS_PX

        low, high = reached(_TAIL), reached(1 - _TAIL)
        margin = (high - low) * MARGIN
        return low - margin, high + margin


class LungField(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Frames, lungs and boxes to fields (n, 256, 256, 1) in -1…1; 0 is the lungs' mean."""

    def call(self, frame: Any, lungs: Any, box: Any) -> Any:
        """Returns the fields of frames (n, 384, 384, 1), 0-255."""
        mean, spread = _statistics(frame, lungs)
        field = crop(frame[..., 0], box, FIELD_PX)
        # Narrowed by a cell and softened: the rib cage's edge says who took the film, and what is
        # left of it around blanked lungs would tell their shape. It cost no accuracy, on the
        # contrary (docs/adr/0013).
        narrow = -ops.max_pool(-lungs, 3, 1, padding="same")
        narrow = ops.average_pool(narrow, 3, 1, padding="same")
        keep = crop(narrow[..., 0], box, FIELD_PX)
        levels = (field - mean[:, None, None]) / (_SPREADS_TO_FULL_SCALE * spread[:, None, None])
        return (ops.clip(levels, -1.0, 1.0) * keep)[..., None]


class PlaceInFrame(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Maps over the field (n, K, m, m) to maps over the whole frame (n, K, cells, cells).

    Each cell of the frame is the mean of what lies in it, 0 outside the field.
    """

    def __init__(self, cells: int, **options: Any) -> None:
        super().__init__(**options)
        self._cells = cells

    def call(self, maps: Any, box: Any) -> Any:
        """Returns the maps as they lie in the frame."""
        side = maps.shape[-1]
        rows = _place(box[:, 0], box[:, 1], side, self._cells)
        columns = _place(box[:, 2], box[:, 3], side, self._cells)
        return ops.matmul(
            ops.matmul(rows[:, None], maps), ops.transpose(columns[:, None], (0, 1, 3, 2))
        )


def crop(planes: Any, box: Any, size: int) -> Any:
    """Cuts boxes out of planes (n, s, s) and scales them to (n, size, size).

    A triangle filter that widens where it scales down, as Pillow's; 0 outside the plane. Two matrix
    products, since LiteRT has no operation that crops to a box it computes.
    """
    rows = _sample(box[:, 0], box[:, 1], planes.shape[-1], size)
    columns = _sample(box[:, 2], box[:, 3], planes.shape[-1], size)
    return ops.matmul(ops.matmul(rows, planes), ops.transpose(columns, (0, 2, 1)))


def _statistics(frame: Any, lungs: Any) -> tuple[Any, Any]:
    mean = _over_lungs(frame, lungs)
    variance = _over_lungs(ops.square(frame - mean), lungs)
    whole = _mean(ops.square(frame - _mean(frame)))
    least = ops.maximum(_LEAST_SPREAD, _LEAST_RELATIVE_SPREAD * ops.sqrt(whole))
    return mean[:, 0, 0, 0], ops.maximum(ops.sqrt(variance), least)[:, 0, 0, 0]


def _over_lungs(planes: Any, lungs: Any) -> Any:
    # Sums go through means of 8 x 8: a long one differs in its fifth digit between two machines.
    cells = ops.average_pool(planes, FRAME_PX // LUNGS_PX)
    total = ops.maximum(_mean(lungs), 1e-6)
    return _mean(cells * lungs) / total


def _mean(planes: Any) -> Any:
    return ops.mean(ops.average_pool(planes, 8), axis=(1, 2), keepdims=True)


def _sample(low: Any, high: Any, source: int, target: int) -> Any:
    step = (high - low)[:, None, None] * (source / target)
    centre = low[:, None, None] * source + (_centres(target)[None, :, None]) * step
    distance = ops.abs(_centres(source)[None, None, :] - centre)
    reach = ops.maximum(step, 1.0)
    weight = ops.relu(1.0 - distance / reach)
    # Divided by what a row would weigh in a plane without end, so that it fades to 0 beyond the
    # edge, and an even plane stays even: between pixels the weights do not add up to the reach.
    offset = centre - ops.floor(centre)
    around = ops.abs(_NEIGHBOURS[None, None, :] - offset)
    return weight / ops.sum(ops.relu(1.0 - around / reach), axis=2, keepdims=True)


def _place(low: Any, high: Any, source: int, target: int) -> Any:
    """Rows of weights: which share of each cell of the frame each cell of the field covers."""
    size = (high - low)[:, None, None] / source
    start = low[:, None, None] + (_centres(source) - 0.5)[None, None, :] * size
    cell = (_centres(target) - 0.5)[None, :, None] / target
    overlap = ops.minimum(start + size, cell + 1 / target) - ops.maximum(start, cell)
    return ops.relu(overlap) * target


def _told(lungs: Any) -> Any:
    # 0 below 0.375, 1 above 0.625, and no jump: a box that steps from cell to cell would move by
    # 6 pixels for a difference in the last digit, between two machines or two exports.
    return ops.clip(4.0 * lungs - 1.5, 0.0, 1.0)


def _centres(count: int) -> Any:
    return ops.convert_to_tensor(np.arange(count, dtype=np.float32) + 0.5)


_NEIGHBOURS: Final = np.arange(-5, 6, dtype=np.float32) + 0.5
"""Centres of pixels within a reach of up to 4.5: scaling down to as much as a fifth."""

_ADD_UP: Final = np.triu(np.ones((LUNGS_PX, LUNGS_PX), np.float32), 1)
