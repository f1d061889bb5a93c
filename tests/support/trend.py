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


def trend_of(hours: Sequence[float], values: Sequence[float]) -> Trend:
    """Fits a line.

    Successive samples resemble each other, so that there are fewer independent ones than samples:
    the interval is widened by the residuals' lag-one autocorrelation r, sqrt((1 + r) / (1 - r)).

    Raises:
        ValueError: fewer than 10 samples.
    """
    if len(hours) < 10:
        raise ValueError(f"{len(hours)} samples are too few for a trend")
    slope, intercept = statistics.linear_regression(hours, values)
    residuals = [
        value - slope * hour - intercept for hour, value in zip(hours, values, strict=True)
    ]
    squares = sum(residual**2 for residual in residuals)
    mean = statistics.fmean(values)
    if squares == 0:
        return Trend(mean, slope, slope, slope)
    lagged = sum(a * b for a, b in itertools.pairwise(residuals))
    # Bounded away from 1, where nothing could ever be told.
    correlation = min(0.95, max(0.0, lagged / squares))
    spread = sum((hour - statistics.fmean(hours)) ** 2 for hour in hours)
    error = math.sqrt(squares / (len(hours) - 2) / spread)
    error *= math.sqrt((1 + correlation) / (1 - correlation))
    return Trend(mean, slope, slope - _Z95 * error, slope + _Z95 * error)
