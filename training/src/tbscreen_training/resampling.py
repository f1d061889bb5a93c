"""Intervals by resampling groups: the images of one patient stand or fall together."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.bundle import Interval

_RESAMPLES: Final = 1000
_RESAMPLES_AT_ONCE: Final = 50
"""Bounds the memory: 50 x 100,000 rows are 40 MB."""

Weights = NDArray[np.int64]
Statistic = Callable[[Weights], NDArray[np.float64]]
"""From how often each row is drawn, (resamples, n), to a figure for each resample, NaN if none."""


def bounds_by_group(
    groups: NDArray[np.str_], statistic: Statistic, *, seed: int
) -> tuple[float, float]:
    """Returns the 95 % percentile bounds of a statistic over 1,000 resamplings of groups.

    NaN where no resampling allowed the statistic.
    """
    names, group_of_row = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    even = np.full(len(names), 1 / len(names))
    resampled = []
    for _ in range(_RESAMPLES // _RESAMPLES_AT_ONCE):
        drawn = rng.multinomial(len(names), even, size=_RESAMPLES_AT_ONCE)
        resampled.append(statistic(drawn[:, group_of_row]))
    values = np.concatenate(resampled)
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def interval_by_group(
    value: float, groups: NDArray[np.str_], statistic: Statistic, *, seed: int
) -> Interval:
    """Returns a figure in 0…1 with its interval; 0…1 where no resampling allowed the statistic."""
    low, high = bounds_by_group(groups, statistic, seed=seed)
    if np.isnan(low):
        return Interval(value=value, low=0.0, high=1.0)
    # An error that can not fall below 0 grows when rows repeat, past the figure itself at times.
    return Interval(value=value, low=max(0.0, min(low, value)), high=min(1.0, max(high, value)))


def weighted_mean(values: NDArray[np.float64]) -> Statistic:
    """Returns the statistic that averages a value of each row."""

    def statistic(weights: Weights) -> NDArray[np.float64]:
        means: NDArray[np.float64] = weights @ values / weights.sum(axis=1)
        return means

    return statistic


def weighted_ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> Statistic:
    """Returns the statistic that is the sum of one value over the sum of another."""

    def statistic(weights: Weights) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            ratios: NDArray[np.float64] = (weights @ above) / (weights @ below)
        return ratios

    return statistic


def mean_of(statistics: Sequence[Statistic]) -> Statistic:
    """Returns the statistic that is the mean of others."""

    def statistic(weights: Weights) -> NDArray[np.float64]:
        means: NDArray[np.float64] = np.mean([one(weights) for one in statistics], axis=0)
        return means

    return statistic


def weighted_auc(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Statistic:
    """Returns the statistic that is the AUC of the drawn rows, in the Mann-Whitney form."""
    order = np.argsort(scores)
    _, first_of_score = np.unique(scores[order], return_index=True)

    def statistic(weights: Weights) -> NDArray[np.float64]:
        sick = np.add.reduceat(weights[:, order] * truth[order], first_of_score, axis=1)
        well = np.add.reduceat(weights[:, order] * ~truth[order], first_of_score, axis=1)
        beaten = np.cumsum(well, axis=1) - well / 2
        pairs = sick.sum(axis=1) * well.sum(axis=1)
        wins: NDArray[np.float64] = (sick * beaten).sum(axis=1)
        with np.errstate(invalid="ignore"):
            aucs: NDArray[np.float64] = wins / pairs
        return aucs

    return statistic
