"""Whether a measured series grows: told by a slope and its interval, not by eye."""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_Z95 = 1.96


class Verdict(StrEnum):
    FLAT = "flat"
    GROWS = "grows"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Trend:
    """A least-squares slope with its 95 % interval, in units per hour."""

    mean: float
    slope: float
    low: float
    high: float

    def verdict(self, tolerance: float) -> Verdict:
        """Flat when even the interval's upper end is within `tolerance`, in units per hour.

        A series that falls is flat: it leaks nothing.
        """
        if self.high <= tolerance:
            return Verdict.FLAT
        return Verdict.GROWS if self.low > tolerance else Verdict.UNDECIDED


def trend_of(
    hours: Sequence[float], values: Sequence[float], along_with: Sequence[float] | None = None
) -> Trend:
    """Fits a line.

    Successive samples resemble each other, so that there are fewer independent ones than samples:
    the interval is widened by the residuals' lag-one autocorrelation r, sqrt((1 + r) / (1 - r)).

    Args:
        hours: when each was sampled.
        values: what was sampled.
        along_with: what the values follow besides the time, as Redis' keys follow the number of
            jobs. The slope is then that of a fit to both: what is left of it at a constant number
            (Frisch and Waugh: the slope between what neither owes to `along_with`).

    Raises:
        ValueError: fewer than 10 samples.
    """
    if len(hours) < 10:
        raise ValueError(f"{len(hours)} samples are too few for a trend")
    parameters = 2 if along_with is None else 3
    times = _unexplained(hours, along_with)
    rest = _unexplained(values, along_with)
    spread = sum(time**2 for time in times)
    slope = sum(time * value for time, value in zip(times, rest, strict=True)) / spread
    residuals = [value - slope * time for time, value in zip(times, rest, strict=True)]
    squares = sum(residual**2 for residual in residuals)
    mean = statistics.fmean(values)
    if squares == 0:
        return Trend(mean, slope, slope, slope)
    lagged = sum(a * b for a, b in itertools.pairwise(residuals))
    # Bounded away from 1, where nothing could ever be told.
    correlation = min(0.95, max(0.0, lagged / squares))
    error = math.sqrt(squares / (len(hours) - parameters) / spread)
    error *= math.sqrt((1 + correlation) / (1 - correlation))
    return Trend(mean, slope, slope - _Z95 * error, slope + _Z95 * error)


def _unexplained(values: Sequence[float], by: Sequence[float] | None) -> list[float]:
    """Returns what a line along `by` leaves of the values; their distance from the mean without."""
    mean = statistics.fmean(values)
    if by is None or min(by) == max(by):
        return [value - mean for value in values]
    slope, intercept = statistics.linear_regression(by, values)
    return [value - slope * other - intercept for other, value in zip(by, values, strict=True)]
