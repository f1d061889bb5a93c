"""How sure a share is, and how many images it takes to be that sure. Exact, in plain Python."""

import math
from collections.abc import Callable
from itertools import count
from typing import Final

CONFIDENCE: Final = 0.95
_TAIL: Final = (1 - CONFIDENCE) / 2
_Z: Final = 1.959963984540054
_BISECTIONS: Final = 60
_MOST_POSITIVES: Final = 2_000
_MOST_NEGATIVES: Final = 20_000
_ROUNDING: Final = 1e-9


class TooDemandingError(ValueError):
    """What is asked for can not be shown with any reasonable number of images."""


def rank_for_the_next(target: float, images: int) -> int:
    """Returns how many of the images must lie on the right side of a threshold.

    A threshold at that rank puts a further image there with a probability of at least `target`,
    whatever the scores' distribution: ceil(target (n + 1)), split conformal prediction (Vovk et al.
    2005). More than there are images means: no threshold can promise it.
    """
    return math.ceil(target * (images + 1) - _ROUNDING)


def interval_at_rank(rank: int, images: int) -> tuple[float, float]:
    """Returns the exact 95 % interval of the share beyond the rank-th of n independent scores.

    The share is distributed as Beta(rank, n + 1 - rank), whatever the scores' distribution
    (David and Nagaraja 2003, "Order Statistics", 2.5).
    """
    return (
        _solve(lambda share: _tail(rank, images, share), _TAIL),
        _solve(lambda share: _tail(rank, images, share), 1 - _TAIL),
    )


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Returns Wilson's 95 % score interval of a share (Wilson 1927, JASA 22:209)."""
    share, spread = successes / trials, _Z**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = wilson_half_width(share, trials)
    return (
        0.0 if successes == 0 else max(0.0, centre - half),
        1.0 if successes == trials else min(1.0, centre + half),
    )


def wilson_half_width(share: float, trials: int) -> float:
    """Returns half the length of Wilson's 95 % interval."""
    spread = _Z**2 / trials
    return _Z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)


def positives_needed(target: float, low: float) -> int:
    """Returns from how many positives on a threshold for `target` keeps its interval above `low`.

    Args:
        target: sensitivity that the threshold is chosen for.
        low: the least that its 95 % interval's lower end may be.

    Raises:
        TooDemandingError: `low` is not well below `target`.
    """
    # Near enough (Wald) to tell at once what the search below would take minutes to find out.
    if low >= target or _Z**2 * target * (1 - target) / (target - low) ** 2 > _MOST_POSITIVES:
        raise TooDemandingError(f"a lower bound of {low:g} is too near the target {target:g}")
    # The rank rises in steps, so that a larger number may fail where a smaller one did.
    last_failing = 0
    for images in count(1):
        rank = rank_for_the_next(target, images)
        if rank > images or _tail(rank, images, low) > _TAIL:
            last_failing = images
        elif images > 2 * last_failing + 50:
            break
    return last_failing + 1


def negatives_needed(specificity: float, half_width: float) -> int:
    """Returns how many negatives it takes to state a specificity to ± `half_width` (Wilson).

    Raises:
        TooDemandingError: the half-width is too small.
    """
    for images in range(1, _MOST_NEGATIVES):
        if wilson_half_width(specificity, images) <= half_width:
            return images
    raise TooDemandingError(f"± {half_width:g} takes more than {_MOST_NEGATIVES} images")


def _tail(successes: int, trials: int, share: float) -> float:
    """Returns P(X ≥ successes) of a binomial X."""
    if share <= 0.0 or share >= 1.0:
        return float(share >= 1.0 or successes <= 0)
    log_share, log_rest = math.log(share), math.log1p(-share)
    terms = (
        math.lgamma(trials + 1)
        - math.lgamma(hits + 1)
        - math.lgamma(trials - hits + 1)
        + hits * log_share
        + (trials - hits) * log_rest
        for hits in range(successes, trials + 1)
    )
    return min(1.0, math.fsum(map(math.exp, terms)))


def _solve(rising: Callable[[float], float], value: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if rising(middle) < value:
            low = middle
        else:
            high = middle
    return (low + high) / 2
