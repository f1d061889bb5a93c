"""From logits to an answer: calibration, operating point, indeterminate band. No I/O."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.bundle import Manifest
from tbscreen_worker.predictor import Prediction

INDETERMINATE: Final = "Indeterminate"

_MAP_DECIMALS: Final = 4
"""A tenth of a grey level when the map is drawn; keeps a record in Redis under 2 kB."""


@dataclass(frozen=True)
class Decision:
    """What is answered.

    Attributes:
        prediction: one of the labels, or `INDETERMINATE`.
        probability: of the positive label, calibrated.
        probabilities: per label; they sum to 1.
        logits: what they come from, before calibration.
        threshold: probability from which on the answer is the positive label.
        operating_point: the threshold's name.
        activation_map: of the positive label, rows from the top, 0-1 with a maximum of 1.
    """

    prediction: str
    probability: float
    probabilities: dict[str, float]
    logits: list[float]
    threshold: float
    operating_point: str
    activation_map: list[list[float]]


def decide(prediction: Prediction, manifest: Manifest) -> Decision:
    """Applies the manifest's calibration, default operating point and indeterminate band.

    The band is told before the threshold, so an answer in it is Indeterminate although its
    probability may be at or above the threshold, which calls for the same follow-up.
    """
    probabilities = _calibrate(prediction.logits, manifest)
    probability = probabilities[manifest.positive_label]
    point = manifest.operating_point()
    return Decision(
        prediction=_label(probabilities, point.threshold, manifest),
        probability=probability,
        probabilities=probabilities,
        logits=prediction.logits.tolist(),
        threshold=point.threshold,
        operating_point=point.name,
        activation_map=_positive_map(prediction.activation_maps, manifest),
    )


def _calibrate(logits: NDArray[np.float32], manifest: Manifest) -> dict[str, float]:
    calibration = manifest.calibration
    scaled = calibration.scale * logits.astype(np.float64) + calibration.bias
    if scaled.size == 1:
        # exp of a non-positive number only: it can not overflow.
        smaller = float(np.exp(-np.abs(scaled[0])) / (1.0 + np.exp(-np.abs(scaled[0]))))
        positive = 1.0 - smaller if scaled[0] >= 0 else smaller
        return {
            label: positive if label == manifest.positive_label else 1.0 - positive
            for label in manifest.labels
        }
    powers = np.exp(scaled - scaled.max())
    shares = (powers / powers.sum()).tolist()
    return dict(zip(manifest.labels, shares, strict=True))


def _label(probabilities: dict[str, float], threshold: float, manifest: Manifest) -> str:
    positive = manifest.positive_label
    probability = probabilities[positive]
    band = manifest.indeterminate_band
    if band is not None and band[0] <= probability < band[1]:
        return INDETERMINATE
    if probability >= threshold:
        return positive
    others = {label: share for label, share in probabilities.items() if label != positive}
    return max(others, key=others.__getitem__)


def _positive_map(maps: NDArray[np.float32], manifest: Manifest) -> list[list[float]]:
    index = 0 if len(maps) == 1 else manifest.labels.index(manifest.positive_label)
    positive = np.maximum(maps[index].astype(np.float64), 0.0)
    peak = positive.max()
    if peak > 0:
        positive /= peak
    rows: list[list[float]] = positive.round(_MAP_DECIMALS).tolist()
    return rows
