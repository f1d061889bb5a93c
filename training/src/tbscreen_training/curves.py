"""What a threshold buys: the decision curve."""

from typing import Final

import numpy as np

from tbscreen_shared.contracts import Frozen, Probability
from tbscreen_training.delong import Difference
from tbscreen_training.predictions import Predictions
from tbscreen_training.resampling import bounds_by_group, weighted_mean

_STEPS: Final = 19


class NetBenefit(Frozen):
    """Net benefit of calling images from a probability on, per image.

    True positives less false ones at the odds of that probability (Vickers and Elkin 2006, Med
    Decis Making 26:565). `call_all` is that of calling every image; calling none has 0.
    """

    threshold: Probability
    model: Difference
    call_all: float


def net_benefits(predictions: Predictions, *, seed: int) -> list[NetBenefit]:
    """Returns the decision curve at thresholds of 0.05, 0.10 … 0.95, intervals by group."""
    sick = predictions.is_positive
    curve = []
    for threshold in np.arange(1, _STEPS + 1) / (_STEPS + 1):
        odds = float(threshold / (1 - threshold))
        worth = np.where(sick, 1.0, -odds)
        gained = np.where(predictions.scores >= threshold, worth, 0.0)
        low, high = bounds_by_group(predictions.groups, weighted_mean(gained), seed=seed)
        curve.append(
            NetBenefit(
                threshold=float(threshold),
                model=Difference(value=float(gained.mean()), low=low, high=high),
                call_all=float(worth.mean()),
            )
        )
    return curve
