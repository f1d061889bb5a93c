"""Turns logits into probabilities that mean what they say, and chooses operating points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]

from tbscreen_shared.bundle import Calibration, Interval, OperatingPoint
from tbscreen_training.activation import class_probabilities
from tbscreen_training.config import BandRule, CalibrationMethod
from tbscreen_training.predictions import Predictions

TRIAGE_SENSITIVITY: Final = 0.90
"""WHO's target for a triage test, at a specificity of at least 0.70 (WHO/HTM/TB/2014.18)."""

CONFIRM_SPECIFICITY: Final = 0.95

TRIAGE: Final = "triage"
BALANCED: Final = "balanced"
CONFIRM: Final = "confirm"
DEFAULT_POINT: Final = TRIAGE

_FOLDS: Final = 20
_ROUNDING: Final = 1e-9
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
    """Chooses triage ≤ balanced ≤ confirm on these rows.

    Sensitivity and specificity are cross-fitted: each group of images is decided by thresholds that
    were chosen without it, since those chosen on the very rows they are measured on flatter
    themselves. Where too few images are left to choose from, they are measured on the same rows,
    and `measured_on` says so. Intervals are Wilson's.
    """
    chosen = choose_thresholds(predictions)
    parts = _folds(predictions)
    if not parts:
        return [
            measure_point(predictions, name, value, measured_on=f"{measured_on}, chosen on it too")
            for name, value in chosen.items()
        ]
    called = {name: np.zeros(len(predictions), np.bool_) for name in chosen}
    for part in parts:
        for name, value in choose_thresholds(predictions.where(~part)).items():
            called[name][part] = predictions.scores[part] >= value
    where = f"{measured_on}, cross-fitted in {len(parts)} parts"
    return [
        _point(name, value, predictions.is_positive, called[name], measured_on=where)
        for name, value in chosen.items()
    ]


def choose_thresholds(predictions: Predictions) -> dict[str, float]:
    """Chooses the thresholds triage ≤ balanced ≤ confirm by their names.

    triage is the highest threshold that finds a further TB image with a probability of at least
    0.90: with m positives that is the rank ceil(0.90 (m + 1)) from above, whatever the scores'
    distribution (split conformal prediction: Vovk et al. 2005; Angelopoulos and Bates 2023,
    theorem 1). Ninety per cent of the m images themselves would be 0.90 m / (m + 1) of the next
    ones. confirm is the same for negatives and 0.95; balanced maximises Youden's index, and bounds
    the other two: where one threshold does better than both targets, none needs to fall short of
    it. With too few images for a target (9 positives, 19 negatives) the outermost threshold stands.
    """
    table = thresholds(predictions)
    positives = int(predictions.is_positive.sum())
    needed_sensitivity = _share_for_the_next(TRIAGE_SENSITIVITY, positives)
    needed_specificity = _share_for_the_next(CONFIRM_SPECIFICITY, len(predictions) - positives)
    triage = np.flatnonzero(table.sensitivity >= needed_sensitivity - _ROUNDING)[-1]
    # A negative of probability 1 leaves no threshold that spares it: then the last one stands.
    specific = np.append(table.specificity[:-1] >= needed_specificity - _ROUNDING, True)
    confirm = np.argmax(specific)
    balanced = np.argmax(table.sensitivity + table.specificity)
    return {
        TRIAGE: float(table.values[min(triage, balanced)]),
        BALANCED: float(table.values[balanced]),
        CONFIRM: float(table.values[max(confirm, balanced)]),
    }


def band_of(points: Sequence[OperatingPoint], rule: BandRule) -> tuple[float, float] | None:
    """Returns the indeterminate band, [low, high), by the configured rule.

    auto is [triage, confirm): neither low enough to rule out nor high enough to rule in, the grey
    zone of Coste and Pouchot 2003, Int J Epidemiol 32:304; None where the two coincide.
    """
    if rule != "auto":
        return None if rule == "none" else rule
    found = {point.name: point.threshold for point in points}
    low, high = found[TRIAGE], found[CONFIRM]
    return (low, high) if low < high else None


def measure_point(
    predictions: Predictions, name: str, threshold: float, *, measured_on: str
) -> OperatingPoint:
    """Measures a given threshold on these rows, with Wilson's 95 % intervals."""
    called = predictions.scores >= threshold
    return _point(name, threshold, predictions.is_positive, called, measured_on=measured_on)


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


def _point(
    name: str,
    threshold: float,
    is_positive: NDArray[np.bool_],
    called: NDArray[np.bool_],
    *,
    measured_on: str,
) -> OperatingPoint:
    return OperatingPoint(
        name=name,
        threshold=threshold,
        sensitivity=wilson(int((called & is_positive).sum()), int(is_positive.sum())),
        specificity=wilson(int((~called & ~is_positive).sum()), int((~is_positive).sum())),
        measured_on=measured_on,
    )


def _share_for_the_next(target: float, images: int) -> float:
    """Returns the share of the images that makes the next one right with probability `target`."""
    return min(1.0, math.ceil(target * (images + 1) - _ROUNDING) / images)


def _folds(predictions: Predictions) -> list[NDArray[np.bool_]]:
    """Returns up to 20 parts of the rows as masks, groups kept whole.

    None where a part would leave one kind only to choose from. Groups are dealt in an order that
    rests on their kind and a fixed seed, so that each part has its share of both kinds and the same
    table always gives the same parts.
    """
    names, group_of_row = np.unique(predictions.groups, return_inverse=True)
    is_sick = np.zeros(len(names), np.bool_)
    np.logical_or.at(is_sick, group_of_row, predictions.is_positive)
    order = np.random.default_rng(0).permutation(len(names))
    dealt = order[np.argsort(is_sick[order], kind="stable")]
    part_of_group = np.empty(len(names), np.int64)
    part_of_group[dealt] = np.arange(len(names)) % _FOLDS
    parts = [part_of_group[group_of_row] == part for part in range(min(_FOLDS, len(names)))]
    for part in parts:
        left = predictions.is_positive[~part]
        if left.all() or not left.any():
            return []
    return parts
