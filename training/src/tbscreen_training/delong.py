"""Intervals of an AUC, and of the difference of two on the same images, after DeLong.

DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44:837, by mid-ranks as in Sun and Xu 2014, IEEE
Signal Processing Letters 21:1389. Images count as independent; `resampling` is for groups.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]

from tbscreen_shared.bundle import Interval
from tbscreen_shared.contracts import Frozen

_Z_95: Final = 1.959963984540054


class Difference(Frozen):
    """A figure that may be negative, with its 95 % interval."""

    value: float
    low: float
    high: float


def auc_interval(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Interval:
    """Returns the AUC with DeLong's interval, made on the logit scale so that it stays in 0…1.

    The interval is 0…1 where a class has fewer than two images. Where every pair is in order the
    variance is 0 and tells nothing; there the interval is that of a share of the smaller class's
    images, none of which was out of order (Wilson).

    Args:
        truth: whether each image is positive (n,), both kinds among them.
        scores: higher is likelier positive (n,).
    """
    aucs, covariance = auc_covariance(truth, scores[np.newaxis])
    value, variance = float(aucs[0]), float(covariance[0, 0])
    fewest = int(min(truth.sum(), (~truth).sum()))
    if math.isnan(variance):
        return Interval(value=value, low=0.0, high=1.0)
    if variance == 0 or not 0 < value < 1:
        slack = _Z_95**2 / (fewest + _Z_95**2)
        return Interval(value=value, low=max(0.0, value - slack), high=min(1.0, value + slack))
    logit = math.log(value / (1 - value))
    half = _Z_95 * math.sqrt(variance) / (value * (1 - value))
    return Interval(
        value=value, low=1 / (1 + math.exp(half - logit)), high=1 / (1 + math.exp(-half - logit))
    )


def auc_difference(
    truth: NDArray[np.bool_], scores: NDArray[np.float64], other: NDArray[np.float64]
) -> Difference:
    """Returns AUC(scores) - AUC(other) on the same images, with DeLong's paired interval.

    The interval is -1…1 where a class has fewer than two images.
    """
    aucs, covariance = auc_covariance(truth, np.stack([scores, other]))
    value = float(aucs[0] - aucs[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if math.isnan(variance):
        return Difference(value=value, low=-1.0, high=1.0)
    half = _Z_95 * math.sqrt(max(variance, 0.0))
    return Difference(value=value, low=max(-1.0, value - half), high=min(1.0, value + half))


def auc_covariance(
    truth: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the AUCs (m,) of m scores of the same images, and their covariance (m, m).

    Args:
        truth: whether each image is positive (n,), both kinds among them.
        scores: (m, n).

    Returns:
        the covariance is NaN where a class has fewer than two images.
    """
    sick, well = scores[:, truth], scores[:, ~truth]
    positives, negatives = sick.shape[1], well.shape[1]
    overall = rankdata(np.concatenate([sick, well], axis=1), axis=1)
    above = (overall[:, :positives] - rankdata(sick, axis=1)) / negatives
    below = 1 - (overall[:, positives:] - rankdata(well, axis=1)) / positives
    aucs: NDArray[np.float64] = above.mean(axis=1)
    if min(positives, negatives) < 2:
        return aucs, np.full((len(scores), len(scores)), np.nan)
    covariance = np.atleast_2d(np.cov(above)) / positives + np.atleast_2d(np.cov(below)) / negatives
    return aucs, covariance
