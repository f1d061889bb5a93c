"""Whether an image is a frontal chest radiograph, and whether it is like those a model was made on.

The first is asked of the image, before the network: its layout (where edges of which direction lie,
where it is bright) goes through one linear layer, 0.4 ms beside the network's 24. The second is
asked of what the network found in it. Training fits both; workers apply them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SEEN_PX: Final = 64
_CELLS: Final = 8
_CELL_PX: Final = _SEEN_PX // _CELLS
_LEAST_SPREAD: Final = 4.0
"""Grey levels: below it an image is grain, which must not be blown up to look like structure."""

_COS_45: Final = np.float32(math.sqrt(0.5))
_SHARPNESS: Final = np.float32(0.7)
"""Share of an edge's strength that a direction must see of it to count it: an edge then counts for
the one or two directions nearest to its own. Without this, twice as much of what is no radiograph
was taken for one (2.1 against 1.0 % where 0.5 % of the radiographs are refused)."""

_TO_FULL_STRENGTH: Final = np.float32(1 / (1 - 0.7))

_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_DARK, _BRIGHT = 8, 247
_MOST_DEVIATION: Final = 4.0
_FORMAT: Final = 1
_NO_CHECK: Final = "the file is no input check"

LAYOUT_FEATURES: Final = 8 * _CELLS**2 + _CELLS**2 + 5 + len(_QUANTILES)


class Kind(StrEnum):
    """What an image shows."""

    FRONTAL = "frontal"
    INVERTED = "inverted"
    SIDEWAYS = "sideways"
    UPSIDE_DOWN = "upside_down"
    PART = "part"
    LATERAL = "lateral"
    OTHER = "other"


@dataclass(frozen=True)
class LayoutModel:
    """A softmax over kinds, linear in the standardised layout.

    Attributes:
        kinds: of each column.
        mean: (LAYOUT_FEATURES,), of the layouts it was fitted to.
        spread: (LAYOUT_FEATURES,), their standard deviation.
        weights: (LAYOUT_FEATURES, kinds).
        bias: (kinds,).
    """

    kinds: tuple[Kind, ...]
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def shares(self, layouts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the probability of each kind, (n, kinds), of layouts (n, LAYOUT_FEATURES)."""
        logits = standardise(layouts, self.mean, self.spread) @ self.weights + self.bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return shares


@dataclass(frozen=True)
class Familiarity:
    """Mahalanobis distance from the radiographs that the model was made on (Lee et al. 2018).

    Attributes:
        parts: names of the features that are joined, in order.
        mean: (d,), of the joined features.
        spread: (d,), their standard deviation.
        axes: (d, k), principal axes of the standardised features.
        lengths: (k,), standard deviation along each axis.
        limit: distance above which a radiograph is out of distribution.
    """

    parts: tuple[str, ...]
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    axes: NDArray[np.float32]
    lengths: NDArray[np.float32]
    limit: float

    def distances(self, joined: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the distance of each row (n, d), in standard deviations along a mean axis."""
        along = standardise(joined, self.mean, self.spread) @ self.axes / self.lengths
        distances: NDArray[np.float32] = np.sqrt(np.square(along).mean(axis=1))
        return distances

    def is_foreign(self, features: Mapping[str, NDArray[np.float32]]) -> bool:
        """Whether a radiograph's features lie outside what the model was made on."""
        joined = np.concatenate([features[part].ravel() for part in self.parts])
        # Written so that NaN is foreign.
        return not float(self.distances(joined[np.newaxis])[0]) <= self.limit


@dataclass(frozen=True)
class Verdict:
    """What the check says of an image.

    Attributes:
        kind: the likeliest kind.
        is_refused: whether it is too unlikely to be a frontal chest radiograph.
    """

    kind: Kind
    is_refused: bool


@dataclass(frozen=True)
class InputCheck:
    """What a bundle carries in its input-check file.

    Attributes:
        layout: tells kinds of image apart.
        threshold: probability of a frontal chest radiograph below which an image is refused.
        familiarity: None for a model that gives no features.
    """

    layout: LayoutModel
    threshold: float
    familiarity: Familiarity | None

    def judge(self, image: NDArray[np.uint8]) -> Verdict:
        """Judges an image of shape (h, w, 1), 0-255."""
        shares = self.layout.shares(layout_of(image)[np.newaxis])[0]
        frontal = float(shares[self.layout.kinds.index(Kind.FRONTAL)])
        return Verdict(
            kind=self.layout.kinds[int(shares.argmax())],
            is_refused=not frontal >= self.threshold,
        )

    def write(self, path: Path) -> None:
        """Writes the file."""
        arrays: dict[str, Any] = {
            "format": _FORMAT,
            "threshold": self.threshold,
            **{f"layout_{name}": value for name, value in vars(self.layout).items()},
        }
        if self.familiarity is not None:
            arrays |= {f"familiarity_{name}": v for name, v in vars(self.familiarity).items()}
        with path.open("wb") as stream:
            np.savez(stream, **arrays)

    @classmethod
    def read(cls, source: Path | BinaryIO) -> "InputCheck":
        """Reads the file, by its path or from a stream.

        Raises:
            ValueError: it is no such file, of another format, or knows no frontal view.
            OSError: it can not be read.
        """
        try:
            arrays = _arrays_of(source)
            if arrays["format"] != _FORMAT:
                raise ValueError(f"input check of format {arrays['format']}, not {_FORMAT}")
            check = cls(
                layout=_layout_of_file(arrays),
                threshold=float(arrays["threshold"]),
                familiarity=_familiarity_of_file(arrays),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(_NO_CHECK) from error
        if Kind.FRONTAL not in check.layout.kinds:
            # Every image is judged by how likely it is one.
            raise ValueError("the input check knows no frontal view")
        if check.layout.weights.shape != (LAYOUT_FEATURES, len(check.layout.kinds)):
            raise ValueError("the input check was made for another layout")
        return check


def layout_of(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns an image's layout, float32 (LAYOUT_FEATURES,).

    Averaged to 64 x 64 and standardised: the strength of edges of 8 directions in 8 x 8 cells
    (histograms of oriented gradients, Dalal and Triggs 2005, dark-to-bright told from
    bright-to-dark), the brightness of the cells, and the spread of grey levels.

    Args:
        image: uint8, shape (h, w, 1), 0-255, of any size.
    """
    seen = Image.fromarray(image[:, :, 0]).resize((_SEEN_PX, _SEEN_PX), Image.Resampling.BOX)
    grey = np.asarray(seen, dtype=np.float32)
    mean, spread = float(grey.mean()), max(float(grey.std()), _LEAST_SPREAD)
    levels = (grey - np.float32(mean)) * np.float32(1 / spread)
    edges = _cell_means(_directed_edges(levels))
    ordered = np.sort(levels[::2, ::2], axis=None)
    tones = (
        math.log(spread),
        mean / 255,
        math.log(float(edges.mean()) + 1e-3),
        float((grey < _DARK).mean()),
        float((grey > _BRIGHT).mean()),
        *(ordered[int(share * ordered.size)] for share in _QUANTILES),
    )
    parts = (np.sqrt(edges).ravel(), _cell_means(levels[np.newaxis]).ravel(), np.array(tones))
    return np.concatenate(parts).astype(np.float32)


def standardise(
    rows: NDArray[np.float32], mean: NDArray[np.float32], spread: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Returns rows (n, d) in standard deviations from the mean, at most 4: none decides alone."""
    deviations: NDArray[np.float32] = (rows - mean) / spread
    return deviations.clip(-_MOST_DEVIATION, _MOST_DEVIATION)


def _directed_edges(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Strength of edges in 8 directions, 45 degrees apart: (h, w) to (8, h, w), 0 at the rim."""
    across = levels[1:-1, 2:] - levels[1:-1, :-2]
    down = levels[2:, 1:-1] - levels[:-2, 1:-1]
    seen = np.stack([across, (across + down) * _COS_45, down, (down - across) * _COS_45])
    strength = np.sqrt(across * across + down * down)
    kept = np.maximum(np.abs(seen) - _SHARPNESS * strength, 0) * _TO_FULL_STRENGTH
    edges: NDArray[np.float32] = np.zeros((8, *levels.shape), np.float32)
    rising = seen > 0
    edges[:4, 1:-1, 1:-1] = kept * rising
    edges[4:, 1:-1, 1:-1] = kept * ~rising
    return edges


def _cell_means(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    # Twice as fast as a mean over two axes of a reshaped array.
    starts = np.arange(0, _SEEN_PX, _CELL_PX)
    sums = np.add.reduceat(np.add.reduceat(planes, starts, axis=1), starts, axis=2)
    return sums * np.float32(1 / _CELL_PX**2)


def _arrays_of(source: Path | BinaryIO) -> dict[str, Any]:
    try:
        with np.load(source, allow_pickle=False) as stored:
            return dict(stored)
    except (ValueError, TypeError, BadZipFile, EOFError) as error:
        # NumPy says of a foreign file that it would have to be unpickled.
        raise ValueError(_NO_CHECK) from error


def _layout_of_file(arrays: dict[str, Any]) -> LayoutModel:
    return LayoutModel(
        kinds=tuple(Kind(str(kind)) for kind in arrays["layout_kinds"]),
        mean=arrays["layout_mean"],
        spread=arrays["layout_spread"],
        weights=arrays["layout_weights"],
        bias=arrays["layout_bias"],
    )


def _familiarity_of_file(arrays: dict[str, Any]) -> Familiarity | None:
    if "familiarity_limit" not in arrays:
        return None
    return Familiarity(
        parts=tuple(str(part) for part in arrays["familiarity_parts"]),
        mean=arrays["familiarity_mean"],
        spread=arrays["familiarity_spread"],
        axes=arrays["familiarity_axes"],
        lengths=arrays["familiarity_lengths"],
        limit=float(arrays["familiarity_limit"]),
    )
