"""Platt scaling by Newton's method, in plain Python: two parameters need no library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_Z: Final = 1.959963984540054
_STEPS: Final = 100
_TOLERANCE: Final = 1e-10
_LARGEST_STEP: Final = 2.0


@dataclass(frozen=True)
class Platt:
    """p = sigmoid(scale x logit + bias).

    Attributes:
        scale: slope.
        bias: intercept.
        scale_low: lower end of the slope's 95 % interval (Wald): above 0 where the model's score
            rises with disease.
    """

    scale: float
    bias: float
    scale_low: float


class NoFitError(ValueError):
    """The images do not allow a calibration."""


def sigmoid(value: float) -> float:
    """Returns 1 / (1 + exp(-value)) without overflow."""
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)


def fit_platt(logits: Sequence[float], is_positive: Sequence[bool]) -> Platt:
    """Fits by least negative log-likelihood, with Platt's smoothed targets.

    Platt 1999, "Probabilistic Outputs for Support Vector Machines": they keep separable classes
    from driving the slope to infinity.

    Raises:
        NoFitError: all logits are the same, or the fit does not settle.
    """
    positives = sum(is_positive)
    high = (positives + 1) / (positives + 2)
    low = 1 / (len(logits) - positives + 2)
    # Centred, so that slope and intercept do not hinge on each other.
    centre = math.fsum(logits) / len(logits)
    rows = [
        (logit - centre, high if sick else low)
        for logit, sick in zip(logits, is_positive, strict=True)
    ]
    scale, bias = 0.0, 0.0
    for _ in range(_STEPS):
        slope, level, curvature = _derivatives(rows, scale, bias)
        step_scale, step_bias, variance = _newton(slope, level, curvature)
        limit = min(1.0, _LARGEST_STEP / max(abs(step_scale), abs(step_bias), _TOLERANCE))
        scale, bias = scale + limit * step_scale, bias + limit * step_bias
        if max(abs(step_scale), abs(step_bias)) < _TOLERANCE:
            return Platt(scale, bias - scale * centre, scale - _Z * math.sqrt(variance))
    raise NoFitError("the calibration does not settle on these images")


def _derivatives(
    rows: Sequence[tuple[float, float]], scale: float, bias: float
) -> tuple[float, float, tuple[float, float, float]]:
    """Returns the log-likelihood's gradient and its negative second derivatives."""
    slope = level = both = mixed = alone = 0.0
    for logit, target in rows:
        share = sigmoid(scale * logit + bias)
        weight = share * (1.0 - share)
        slope += (target - share) * logit
        level += target - share
        both += weight * logit * logit
        mixed += weight * logit
        alone += weight
    return slope, level, (both, mixed, alone)


def _newton(
    slope: float, level: float, curvature: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Returns the step of slope and intercept, and the slope's variance."""
    both, mixed, alone = curvature
    determinant = both * alone - mixed * mixed
    if determinant <= 0:
        raise NoFitError("the model gives all of these images the same score")
    return (
        (alone * slope - mixed * level) / determinant,
        (both * level - mixed * slope) / determinant,
        alone / determinant,
    )
