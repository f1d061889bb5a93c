"""Turns logits into probabilities that mean what they say, and chooses operating points."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]

from tbscreen_shared.bundle import Calibration, Interval, OperatingPoint
from tbscreen_training.activation import class_probabilities
from tbscreen_training.config import CalibrationMethod
from tbscreen_training.predictions import Predictions

TRIAGE_SENSITIVITY: Final = 0.90
"""WHO's target for a triage test, at a specificity of at least 0.70 (WHO/HTM/TB/2014.18)."""

CONFIRM_SPECIFICITY: Final = 0.95
DEFAULT_POINT: Final = "balanced"
_Z_95: Final = 1.959963984540054
_MOST_LOG_SCALE: Final = 3.0


@dataclass(frozen=True)
class Thresholds:
    """Every threshold that tells the images apart in another way, with what it yields."""

    values: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]


def fit_calibration(predictions: Predictions, method: CalibrationMethod) -> Calibration:
    """Fits p = activation(scale x logit + bias) by least negative log-likelihood.

    Platt scaling needs one logit; with more classes temperature scaling takes its place (Guo et
    al. 2017, "On Calibration of Modern Neural Networks"). Targets are smoothed after Platt 1999,
    so that separable classes do not drive the scale to infinity.
    """
    if method == "identity":
        return Calibration(method="identity", scale=1.0)
    classes = len(predictions.classes)
    truth = np.eye(classes)[predictions.targets]
    counts = truth.sum(axis=0)
    certain = ((counts + 1) / (counts + 2))[predictions.targets][:, np.newaxis]
    smoothed = np.where(truth == 1, certain, (1 - certain) / (classes - 1))
    with_bias = method == "platt" and classes == 2

    def loss(parameters: NDArray[np.float64]) -> float:
        bias = parameters[1] if with_bias else 0.0
        shares = class_probabilities(
            predictions.logits, scale=math.exp(parameters[0]), bias=float(bias)
        )
        return float(-(smoothed * np.log(np.maximum(shares, 1e-12))).sum(axis=1).mean())

    bounds = [(-_MOST_LOG_SCALE, _MOST_LOG_SCALE), (None, None)][: 2 if with_bias else 1]
    found = minimize(loss, np.zeros(len(bounds)), method="L-BFGS-B", bounds=bounds)
    return Calibration(
        method="platt" if with_bias else "temperature",
        scale=math.exp(found.x[0]),
        bias=float(found.x[1]) if with_bias else 0.0,
    )


def choose_operating_points(predictions: Predictions, *, measured_on: str) -> list[OperatingPoint]:
    """Chooses triage, balanced and confirm on these rows, with Wilson intervals on the same rows.

    triage is the highest threshold with sensitivity ≥ 0.90, balanced maximises Youden's index,
    confirm is the lowest threshold with specificity ≥ 0.95.
    """
    table = thresholds(predictions)
    sensitive = np.flatnonzero(table.sensitivity >= TRIAGE_SENSITIVITY)
    specific = np.flatnonzero(table.specificity >= CONFIRM_SPECIFICITY)
    chosen = {
        "triage": sensitive[-1],
        DEFAULT_POINT: np.argmax(table.sensitivity + table.specificity),
        "confirm": specific[0],
    }
    return [
        measure_point(predictions, name, float(table.values[index]), measured_on=measured_on)
        for name, index in chosen.items()
    ]


def measure_point(
    predictions: Predictions, name: str, threshold: float, *, measured_on: str
) -> OperatingPoint:
    """Measures a given threshold on these rows, with Wilson's 95 % intervals."""
    is_positive = predictions.is_positive
    called = predictions.scores >= threshold
    return OperatingPoint(
        name=name,
        threshold=threshold,
        sensitivity=wilson(int((called & is_positive).sum()), int(is_positive.sum())),
        specificity=wilson(int((~called & ~is_positive).sum()), int((~is_positive).sum())),
        measured_on=measured_on,
    )


def thresholds(predictions: Predictions) -> Thresholds:
    """Returns thresholds in rising order: 0, each middle between neighbouring scores, and 1."""
    scores = np.unique(predictions.scores)
    values = np.concatenate([[0.0], (scores[1:] + scores[:-1]) / 2, [1.0]])
    sick = np.sort(predictions.scores[predictions.is_positive])
    well = np.sort(predictions.scores[~predictions.is_positive])
    return Thresholds(
        values,
        sensitivity=1 - np.searchsorted(sick, values, side="left") / len(sick),
        specificity=np.searchsorted(well, values, side="left") / len(well),
    )


def wilson(successes: int, trials: int) -> Interval:
    """Returns a share with Wilson's 95 % score interval (Wilson 1927, JASA 22:209).

    Raises:
        ValueError: there are no trials.
    """
    if trials == 0:
        raise ValueError("a share of nothing")
    share = successes / trials
    spread = _Z_95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = _Z_95 * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return Interval(
        value=share,
        low=0.0 if successes == 0 else max(0.0, centre - half),
        high=1.0 if successes == trials else min(1.0, centre + half),
    )
