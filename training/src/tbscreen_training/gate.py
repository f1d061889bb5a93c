"""The release gate: what a model must have shown before workers may take it.

Pure: from tables and figures to checks. `release.py` gathers what they read.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.metrics import roc_auc_score

from tbscreen_shared.bundle import Calibration, Interval, OperatingPoint
from tbscreen_shared.contracts import Frozen
from tbscreen_training.calibrate import wilson
from tbscreen_training.delong import Difference
from tbscreen_training.left_out import LABEL_SHUFFLE, Fold, shuffled_auc
from tbscreen_training.predictions import PLAIN, Predictions
from tbscreen_training.standing import Comparison, Standing, has_both, mean_of, subtract

PARITY_AUC: Final = 0.005
PARITY_FLIPS: Final = 0.005
REFUSALS: Final = 0.01
REFUSALS_OF_A_SOURCE: Final = 0.05
_ENOUGH_TO_TELL: Final = 20

_NO_FOLDS: Final = "the run has no folds: run the step `folds`, which needs two sources or more"


class Check(Frozen):
    """One line of the gate."""

    name: str
    passed: bool
    figure: str
    limit: str
    note: str = ""


class Gate(Frozen):
    """The gate's outcome, as the manifest's metrics keep it.

    Attributes:
        checks: every one that was made.
        forced: why the model was published although a check failed.
        standing: the figures on sources left out, for the next model to be held to.
    """

    checks: tuple[Check, ...]
    forced: str | None = None
    standing: dict[str, Standing] = Field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def table(self) -> str:
        """Returns the checks as lines of text."""
        rows = [("", "check", "found", "limit")]
        rows += [
            ("pass" if check.passed else "FAIL", check.name, check.figure, check.limit)
            for check in self.checks
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        notes = ["", *(check.note for check in self.checks)]
        return "\n".join(
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), note]
            ).rstrip()
            for row, note in zip(rows, notes, strict=True)
        )


def check_parity(
    predictions: Predictions, calibration: Calibration, points: Sequence[OperatingPoint]
) -> list[Check]:
    """Holds the exported model to the network it was made of, on every image scored by both.

    The network's logits get the same calibration and thresholds, which were fitted to the exported
    model: a shift that exporting makes counts as a difference.
    """
    plain = predictions.of_view(PLAIN)
    rows = plain.where(np.isfinite(plain.keras_logits[:, 0]))
    exported = rows.calibrated(calibration)
    keras = rows.with_keras_logits().calibrated(calibration)
    difference = float(
        roc_auc_score(rows.is_positive, exported.scores)
        - roc_auc_score(rows.is_positive, keras.scores)
    )
    auc = Check(
        name="AUC, exported - Keras",
        passed=abs(difference) <= PARITY_AUC,
        figure=f"{difference:+.4f}",
        limit=f"± {PARITY_AUC}",
        note=f"on {len(rows)} images",
    )
    return [auc, *(_check_flips(point, exported.scores, keras.scores) for point in points)]


def _check_flips(
    point: OperatingPoint, exported: NDArray[np.float64], keras: NDArray[np.float64]
) -> Check:
    images = len(exported)
    flips = int(((exported >= point.threshold) != (keras >= point.threshold)).sum())
    share = wilson(flips, images)
    return Check(
        name=f"decisions flipped by exporting, {point.name}",
        passed=share.low <= PARITY_FLIPS,
        figure=f"{share.value:.2%} [{share.low:.2%}, {share.high:.2%}]",
        limit=f"not clearly above {PARITY_FLIPS:.1%}",
        note=f"{flips} of {images}",
    )


def check_known_answer(
    expected: NDArray[np.floating], answered: NDArray[np.floating], tolerance: float
) -> Check:
    """Holds what a worker would get for the bundle's picture to what the manifest says."""
    fits = expected.shape == answered.shape
    largest = float(np.abs(expected - answered).max()) if fits else math.nan
    return Check(
        name="known answer",
        # Written so that NaN fails it.
        passed=largest <= tolerance,
        figure=f"off by {largest:.4f}",
        limit=f"at most {tolerance:.4f}",
    )


def check_operations(foreign: Sequence[str]) -> Check:
    """Checks that plain LiteRT runs the model."""
    return Check(
        name="Flex or custom operations",
        passed=not foreign,
        figure=", ".join(foreign) or "none",
        limit="none",
    )


def check_refusals(record: Any) -> Check:
    """Checks that the input check lets radiographs through, those of each source among them.

    Args:
        record: input-check.json, or None for a bundle that has no check and refuses nothing.
    """
    name = "radiographs refused by the input check"
    limit = f"at most {REFUSALS:.0%}, of no source above {REFUSALS_OF_A_SOURCE:.0%}"
    if record is None:
        return Check(name=name, passed=True, figure="no check", limit=limit)
    share = record["false_refusals"]["share"]["value"]
    by_source = {
        source: found["share"]["value"]
        for source, found in record["false_refusals_by_source"].items()
        if found["n"] >= _ENOUGH_TO_TELL
    }
    worst = max(by_source, key=lambda source: by_source[source], default=None)
    return Check(
        name=name,
        passed=share <= REFUSALS and (worst is None or by_source[worst] <= REFUSALS_OF_A_SOURCE),
        figure=f"{share:.2%}",
        limit=limit,
        note="" if worst is None else f"most of {worst}: {by_source[worst]:.1%}",
    )


def check_label_shuffle(folds: Sequence[Fold], *, seed: int) -> Check:
    """Checks that a training on shuffled labels learned nothing: else the evaluation leaks."""
    name, limit = "AUC trained on shuffled labels", "interval with 0.5"
    fold = next((fold for fold in folds if fold.record.name == LABEL_SHUFFLE), None)
    rows = fold.predictions.of_view(PLAIN).of_split("test") if fold else None
    if rows is None or not has_both(rows):
        note = f"no fold {LABEL_SHUFFLE} that scored both kinds: run the step `folds`"
        return Check(name=name, passed=False, figure="-", limit=limit, note=note)
    auc = shuffled_auc(rows, seed=seed)
    return Check(
        name=name,
        passed=auc.low <= 0.5 <= auc.high,
        figure=_text(auc),
        limit=limit,
        note=f"test split, {len(rows)} images",
    )


def check_against_active(
    standing: Mapping[str, Standing], comparisons: Sequence[Comparison]
) -> Check:
    """Checks that the model is not clearly worse than the active one on sources left out.

    Clearly worse: the 95 % interval of the mean difference over the folds lies below 0.
    """
    name, limit = "AUC, sources left out, new - active", "interval not below 0"
    if not standing:
        return Check(name=name, passed=False, figure="-", limit=limit, note=_NO_FOLDS)
    found = [c for c in comparisons if c.difference is not None]
    notes = "; ".join(f"{c.fold}: {c.basis}" for c in comparisons)
    if not found:
        note = notes or "there is no active model"
        return Check(name=name, passed=True, figure="not comparable", limit=limit, note=note)
    mean = mean_of([c.difference for c in found if c.difference is not None])
    return Check(name=name, passed=mean.high >= 0, figure=_signed(mean), limit=limit, note=notes)


def check_gap(
    standing: Mapping[str, Standing], active: Mapping[str, Standing] | None, *, no_active: str
) -> Check:
    """Checks that what taking the lungs away costs is not clearly less than for the active model.

    Args:
        standing: the new model's.
        active: the active model's, or None where it states none.
        no_active: why not.
    """
    name, limit = "AUC plain - lungs blanked, new - active", "interval not below 0"
    gaps = {fold: found.gap for fold, found in standing.items() if found.gap is not None}
    if not gaps:
        note = "no fold scored images with the lungs blanked" if standing else _NO_FOLDS
        return Check(name=name, passed=False, figure="-", limit=limit, note=note)
    own = f"gap {_signed(mean_of(list(gaps.values())))}"
    differences = [
        subtract(gap, other.gap)
        for fold, gap in gaps.items()
        if active and (other := active.get(fold)) and other.gap is not None
        if other.left_out == standing[fold].left_out
    ]
    if not differences:
        why = no_active if active is None else "the active model states no fold in common"
        note = f"{own}; {why}"
        return Check(name=name, passed=True, figure="not comparable", limit=limit, note=note)
    mean = mean_of(differences)
    return Check(name=name, passed=mean.high >= 0, figure=_signed(mean), limit=limit, note=own)


def _text(figure: Interval) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _signed(figure: Difference) -> str:
    return f"{figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}]"
