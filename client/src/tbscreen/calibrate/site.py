"""From a site's scored radiographs to its threshold, and how many of them that takes."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tbscreen.calibrate.bundle import BundleFacts, Calibration, Interval, OperatingPoint
from tbscreen.calibrate.errors import SiteError
from tbscreen.calibrate.intervals import (
    interval_at_rank,
    negatives_needed,
    positives_needed,
    rank_for_the_next,
    wilson,
    wilson_half_width,
)
from tbscreen.calibrate.platt import NoFitError, fit_platt, sigmoid
from tbscreen.calibrate.site_file import SiteFile

SITE_POINT: Final = "site"
CONFIRM_SPECIFICITY: Final = 0.95
RECALIBRATION_NEEDS: Final = 100
"""Of each kind: fewer say too little of a slope and an intercept (Vergouwe et al. 2005, J Clin
Epidemiol 58:475; Collins et al. 2016, Stat Med 35:214)."""


@dataclass(frozen=True)
class Targets:
    """What the site's threshold shall do, and how surely that shall be known.

    Attributes:
        sensitivity: of a further TB image, at least.
        sensitivity_low: lowest lower end of its 95 % interval.
        half_width: largest half-width of the specificity's 95 % interval.
    """

    sensitivity: float
    sensitivity_low: float
    half_width: float


@dataclass(frozen=True)
class Needs:
    """How many images it takes."""

    positives: int
    negatives: int


@dataclass(frozen=True)
class Scored:
    """One radiograph's truth and score.

    Attributes:
        is_positive: whether it shows TB.
        probability: as answered.
        logit: before calibration, for a model of two classes.
    """

    is_positive: bool
    probability: float
    logit: float | None


@dataclass(frozen=True)
class Unanswered:
    """How many radiographs were refused, failed or timed out, by truth.

    Attributes:
        positives: with TB; whoever screens finds none of them, so they count as missed.
        negatives: without; they are neither called nor spared.
    """

    positives: int = 0
    negatives: int = 0


def images_needed(facts: BundleFacts, targets: Targets) -> Needs:
    """Computes how many images the intervals take, before any is screened.

    For the specificity it takes the end of the bundle's own interval that needs the most images.

    Raises:
        TooDemandingError: no reasonable number is enough.
    """
    known = facts.default_point.specificity
    expected = min(max(0.5, known.low), known.high)
    return Needs(
        positives_needed(targets.sensitivity, targets.sensitivity_low),
        negatives_needed(expected, targets.half_width),
    )


def calibrate_site(
    facts: BundleFacts, scored: Sequence[Scored], targets: Targets, *, unanswered: Unanswered
) -> SiteFile:
    """Chooses the site's threshold, after Platt scaling where the images suffice for it.

    The threshold is the highest one that finds a further TB image with the target's probability; it
    hangs on the positives alone, so the negatives measure its specificity without flattery. An
    unanswered TB image ranks below every answered one: no threshold finds it.

    Raises:
        SiteError: there are too few images, or the model does not tell them apart.
    """
    answered = sum(score.is_positive for score in scored)
    positives, negatives = answered + unanswered.positives, len(scored) - answered
    needed = positives_needed(targets.sensitivity, targets.sensitivity_low)
    if positives < needed:
        raise SiteError(f"there are {positives} TB images; it takes {needed}")
    rank = rank_for_the_next(targets.sensitivity, positives)
    if rank > answered:
        raise SiteError(
            f"only {answered} of {positives} TB images were answered: no threshold finds the "
            f"{rank} that a sensitivity of {targets.sensitivity:g} takes"
        )
    if not negatives:
        raise SiteError("no image without TB was answered")
    calibration = _recalibrate(facts, scored, min(answered, negatives))
    ranked = sorted(
        zip(_probabilities(facts, scored, calibration), scored, strict=True),
        key=lambda pair: pair[0],
    )
    values = [value for value, _ in ranked]
    sick = [value for value, score in ranked if score.is_positive]
    well = [value for value, score in ranked if not score.is_positive]
    threshold = _just_below(sick[-rank], values)
    spared = bisect_left(well, threshold)
    _check_specificity(spared, negatives, targets)
    sensitivity_low, sensitivity_high = interval_at_rank(rank, positives)
    specificity_low, specificity_high = wilson(spared, negatives)
    return SiteFile(
        version=facts.version,
        model_sha256=facts.model_sha256,
        created_at=datetime.now(UTC),
        calibration=calibration,
        operating_point=OperatingPoint(
            name=SITE_POINT,
            threshold=threshold,
            sensitivity=Interval(
                value=rank / (positives + 1), low=sensitivity_low, high=sensitivity_high
            ),
            specificity=Interval(
                value=spared / negatives, low=specificity_low, high=specificity_high
            ),
            measured_on=_describe_images(positives, negatives, unanswered),
        ),
        indeterminate_band=_band(facts, threshold, well, values),
        positive_images=positives,
        negative_images=negatives,
        unanswered_images=unanswered.positives + unanswered.negatives,
        unanswered_positive_images=unanswered.positives,
        unanswered_negative_images=unanswered.negatives,
    )


def _recalibrate(facts: BundleFacts, scored: Sequence[Scored], fewer: int) -> Calibration | None:
    if not facts.has_one_logit or fewer < RECALIBRATION_NEEDS:
        return None
    try:
        fitted = fit_platt([_logit(score) for score in scored], [s.is_positive for s in scored])
    except NoFitError as error:
        raise SiteError(str(error)) from error
    if fitted.scale_low <= 0:
        raise SiteError(
            "the model's score does not rise with TB on these images: are the labels right?"
        )
    return Calibration(method="platt", scale=fitted.scale, bias=fitted.bias)


def _probabilities(
    facts: BundleFacts, scored: Sequence[Scored], calibration: Calibration | None
) -> list[float]:
    if not facts.has_one_logit:
        return [score.probability for score in scored]
    # Not the answered probability: a former threshold of the site may have calibrated it.
    used = calibration or facts.calibration
    return [sigmoid(used.scale * _logit(score) + used.bias) for score in scored]


def _describe_images(positives: int, negatives: int, unanswered: Unanswered) -> str:
    parts = [f"{positives} with TB", f"{negatives} without"]
    if unanswered.positives:
        parts[0] += f" ({unanswered.positives} of them unanswered: missed)"
    if unanswered.negatives:
        parts[1] += f" ({unanswered.negatives} more unanswered: left out)"
    return f"the site's own images: {', '.join(parts)}"


def _logit(score: Scored) -> float:
    if score.logit is None:
        raise SiteError("results without logits: they come from an older release; screen again")
    return score.logit


def _check_specificity(spared: int, negatives: int, targets: Targets) -> None:
    share = spared / negatives
    if share + targets.sensitivity <= 1.0:
        raise SiteError(
            f"at a sensitivity of {targets.sensitivity:g} the specificity is {share:.2f}: the "
            "model does not tell these images apart. Are the labels right?"
        )
    if wilson_half_width(share, negatives) > targets.half_width:
        needed = negatives_needed(share, targets.half_width)
        raise SiteError(
            f"{negatives} images without TB were answered; at the measured specificity of "
            f"{share:.2f} it takes {needed} to know it to ± {targets.half_width:g}"
        )


def _band(
    facts: BundleFacts, threshold: float, well: Sequence[float], values: Sequence[float]
) -> tuple[float, float] | None:
    """Returns from the site's threshold to the one with the rule-in specificity.

    None where the bundle has no band, the two coincide, or no threshold can promise the latter.
    """
    rank = rank_for_the_next(CONFIRM_SPECIFICITY, len(well))
    if facts.indeterminate_band is None or rank > len(well):
        return None
    high = _just_above(well[rank - 1], values)
    return (threshold, high) if threshold < high else None


def _just_below(value: float, values: Sequence[float]) -> float:
    """Returns the middle between a score and the next lower one, 0 below the lowest."""
    place = bisect_left(values, value)
    return (value + values[place - 1]) / 2 if place else value / 2


def _just_above(value: float, values: Sequence[float]) -> float:
    """Returns the middle between a score and the next higher one, or 1."""
    place = bisect_right(values, value)
    return (value + (values[place] if place < len(values) else 1.0)) / 2
