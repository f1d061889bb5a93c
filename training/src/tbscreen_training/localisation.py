"""Does the activation map lie on the lungs, and does it depend on what the network has learnt?

The second is the randomisation test of Adebayo et al. 2018, "Sanity Checks for Saliency Maps"
(NeurIPS 31): a map that stays the same when the layers above are drawn anew explains nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]

from tbscreen_shared.bundle import Interval
from tbscreen_shared.contracts import Frozen
from tbscreen_training.delong import Difference
from tbscreen_training.files import read_csv, write_csv
from tbscreen_training.network import Network
from tbscreen_training.resampling import bounds_by_group, interval_by_group, weighted_mean

_RANDOMISED_BLOCKS: Final = 2
_BATCH: Final = 16

Maps = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class MapOnLung:
    """Where the positive class's map of one image lies.

    Attributes:
        file: of the image.
        group: of the image.
        label: true class.
        on_lung: share of the map that lies on lung; NaN for a map that is 0 everywhere.
        without_aim: share on lung of a map that is 1 over the whole field.
    """

    file: str
    group: str
    label: str
    on_lung: float
    without_aim: float


@dataclass(frozen=True)
class MapCorrelation:
    """Rank correlation of an image's map before and after part of the network is drawn anew."""

    file: str
    group: str
    randomised: str
    correlation: float


class Localisation(Frozen):
    """What the maps are worth.

    Attributes:
        images: those called positive, whose lungs are known.
        on_lung: mean share of the map on lung.
        without_aim: mean share on lung of a map that is 1 over the whole field the network sees.
        randomised_images: how many maps the correlations are of.
        correlations: mean rank correlation by what was drawn anew; near 0 is good.
    """

    images: int
    on_lung: Interval | None
    without_aim: float | None
    randomised_images: int
    correlations: dict[str, Difference]


def share_on_lung(activation_map: Maps, lungs: Maps) -> float:
    """Returns the share of a map (m, m) ≥ 0 that lies on lung, NaN for a map of nothing.

    Args:
        activation_map: over the whole frame.
        lungs: (c, c), c a multiple of m: share of lung in each cell of the frame.
    """
    side, cells = len(activation_map), len(lungs) // len(activation_map)
    coarse = lungs.reshape(side, cells, side, cells).mean(axis=(1, 3))
    total = float(activation_map.sum())
    return float((activation_map * coarse).sum()) / total if total > 0 else math.nan


def correlations_when_randomised(
    network: Network, tensors: NDArray[np.uint8], output: int, *, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Draws the network anew from the top down, and compares its maps with those of before.

    The network's weights are lost.

    Args:
        network: trained.
        tensors: uint8 (n, S, S, 1).
        output: place of the logit whose map it is.
        seed: of the new weights.

    Returns:
        rank correlations (n,) by what was drawn anew; NaN where a map is flat.
    """
    before = _maps(network, tensors, output)
    result = {}
    for number, (name, boundary) in enumerate(_randomisations(network).items()):
        _draw_anew(network, boundary, seed=seed + 1000 * number)
        after = _maps(network, tensors, output)
        result[name] = np.array(
            [_rank_correlation(*pair) for pair in zip(before, after, strict=True)]
        )
    return result


def save_table(path: Path, rows: Sequence[MapOnLung] | Sequence[MapCorrelation]) -> None:
    """Writes rows of one kind as csv; none leaves no file."""
    if rows:
        write_csv(path, [field.name for field in fields(rows[0])], map(asdict, rows))


def load_on_lung(path: Path) -> list[MapOnLung]:
    """Reads what `save_table` wrote; nothing where there is no file."""
    rows = read_csv(path) if path.is_file() else []
    return [
        MapOnLung(r["file"], r["group"], r["label"], float(r["on_lung"]), float(r["without_aim"]))
        for r in rows
    ]


def load_correlations(path: Path) -> list[MapCorrelation]:
    """Reads what `save_table` wrote; nothing where there is no file."""
    rows = read_csv(path) if path.is_file() else []
    return [
        MapCorrelation(r["file"], r["group"], r["randomised"], float(r["correlation"]))
        for r in rows
    ]


def measure_localisation(
    on_lung: Sequence[MapOnLung],
    correlations: Sequence[MapCorrelation],
    called: frozenset[str],
    *,
    seed: int,
) -> Localisation | None:
    """Measures the maps of the images named in `called`; None where nothing was measured."""
    rows = [row for row in on_lung if row.file in called and not math.isnan(row.on_lung)]
    known = [row for row in correlations if not math.isnan(row.correlation)]
    if not rows and not known:
        return None
    share = None
    if rows:
        values = np.array([row.on_lung for row in rows])
        groups = np.array([row.group for row in rows])
        share = interval_by_group(float(values.mean()), groups, weighted_mean(values), seed=seed)
    return Localisation(
        images=len(rows),
        on_lung=share,
        without_aim=float(np.mean([row.without_aim for row in rows])) if rows else None,
        randomised_images=len({row.file for row in known}),
        correlations={
            name: _mean_correlation([row for row in known if row.randomised == name], seed=seed)
            for name in dict.fromkeys(row.randomised for row in known)
        },
    )


def _mean_correlation(rows: Sequence[MapCorrelation], *, seed: int) -> Difference:
    values = np.array([row.correlation for row in rows])
    groups = np.array([row.group for row in rows])
    low, high = bounds_by_group(groups, weighted_mean(values), seed=seed)
    return Difference(value=float(values.mean()), low=low, high=high)


def _randomisations(network: Network) -> dict[str, str | None]:
    """What is drawn anew, from the top down, and the last layer that is kept of the base."""
    blocks = [layer.name for layer in network.base.layers if layer.name.startswith("mixed")]
    named = ["head"]
    steps: dict[str, str | None] = {"head": None}
    for place in range(len(blocks) - 1, max(0, len(blocks) - 1 - _RANDOMISED_BLOCKS), -1):
        named.append(blocks[place])
        steps[" and ".join([", ".join(named[:-1]), named[-1]])] = blocks[place - 1]
    return steps


def _maps(network: Network, tensors: NDArray[np.uint8], output: int) -> NDArray[np.float64]:
    trunk = network.trunk(network.base.layers[-1].name)
    features = np.concatenate(
        [trunk.predict_on_batch(tensors[i : i + _BATCH]) for i in range(0, len(tensors), _BATCH)]
    ).astype(np.float64)
    w1, b1 = network.head.get_layer("hidden").get_weights()
    w2, _ = network.head.get_layer("logits").get_weights()
    hidden = features.mean(axis=(1, 2)) @ w1 + b1
    gradients = ((hidden > 0) * w2[:, output]) @ w1.T
    maps: NDArray[np.float64] = np.maximum(np.einsum("nijc,nc->nij", features, gradients), 0)
    return maps


def _draw_anew(network: Network, boundary: str | None, *, seed: int) -> None:
    layers = list(network.head.layers)
    if boundary is not None:
        blocks = keras.Model(network.base.get_layer(boundary).output, network.base.output)
        layers += blocks.layers
    for number, layer in enumerate(layers):
        for variable in layer.weights:
            if len(variable.shape) < 2:
                continue  # a bias, or of batch norm
            spread = math.sqrt(2 / math.prod(variable.shape[:-1]))
            drawn = keras.random.normal(variable.shape, stddev=spread, seed=seed + number)
            variable.assign(drawn)


def _rank_correlation(before: Maps, after: Maps) -> float:
    if np.ptp(before) == 0 or np.ptp(after) == 0:
        return math.nan
    ranks = rankdata(np.stack([before.ravel(), after.ravel()]), axis=1)
    return float(np.corrcoef(ranks)[0, 1])
