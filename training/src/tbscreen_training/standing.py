"""How a model stands on sources it never saw, and beside another model, by resampling groups."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from sklearn.metrics import roc_auc_score

from tbscreen_shared.bundle import Interval
from tbscreen_shared.contracts import Frozen
from tbscreen_training.controls import LUNGS_BLANKED
from tbscreen_training.delong import Difference
from tbscreen_training.figures import auc_with_interval
from tbscreen_training.left_out import LABEL_SHUFFLE, LEFT_OUT, Fold, as_telling
from tbscreen_training.predictions import PLAIN, Predictions
from tbscreen_training.resampling import Weights, bounds_by_group, weighted_auc


class Standing(Frozen):
    """A fold's figures on the sources it left out.

    Attributes:
        left_out: those sources.
        images: how many were scored.
        auc: of the images as they are.
        gap: AUC plain - AUC with the lungs blanked; None where that was not scored.
    """

    left_out: tuple[str, ...]
    images: int
    auc: Interval
    gap: Difference | None


class Comparison(Frozen):
    """The new model beside the active one on one fold.

    Attributes:
        fold: its name.
        difference: new - active; None where the two can not be compared.
        basis: on what, or why not.
    """

    fold: str
    difference: Difference | None
    basis: str


Figure = Interval | Difference

_Standings: Final = TypeAdapter(dict[str, Standing])
_Z_95: Final = 1.959963984540054


def measure_standing(folds: Sequence[Fold], *, seed: int) -> dict[str, Standing]:
    """Measures each fold whose left-out sources hold both kinds, by its name."""
    found = {}
    for fold in folds:
        rows = fold.predictions.of_split(LEFT_OUT)
        plain = rows.of_view(PLAIN)
        if fold.record.name == LABEL_SHUFFLE or not has_both(plain):
            continue
        blanked = rows.of_view(LUNGS_BLANKED)
        paired = in_order_of(plain, blanked.files)
        gap = None
        if has_both(blanked):
            told = as_telling(blanked.is_positive, blanked.scores)
            gap = difference_of_aucs(blanked, paired.scores, told, seed=seed)
        found[fold.record.name] = Standing(
            left_out=fold.record.left_out,
            images=len(plain),
            auc=auc_with_interval(plain, seed=seed),
            gap=gap,
        )
    return found


def stated_standing(metrics: dict[str, Any]) -> dict[str, Standing] | None:
    """Returns what a published manifest's metrics state, or None where they state nothing."""
    gate = metrics.get("gate")
    if not isinstance(gate, dict) or not gate.get("standing"):
        return None
    try:
        return _Standings.validate_python(gate["standing"])
    except ValidationError:
        return None


def compare_stated(name: str, own: Standing, other: Standing) -> Comparison:
    """Compares with a figure that another model's manifest states, as independent ones."""
    return Comparison(
        fold=name,
        difference=subtract(own.auc, other.auc),
        basis=f"figures stated on {other.images} images, this one's on {own.images}",
    )


def difference_of_aucs(
    rows: Predictions, scores: NDArray[np.float64], other: NDArray[np.float64], *, seed: int
) -> Difference:
    """Returns AUC(scores) - AUC(other) on the same images, with the paired bootstrap by group.

    Args:
        rows: n images of both kinds.
        scores: (n,).
        other: (n,).
        seed: of the resampling.
    """
    truth = rows.is_positive
    first, second = weighted_auc(truth, scores), weighted_auc(truth, other)

    def statistic(weights: Weights) -> NDArray[np.float64]:
        return first(weights) - second(weights)

    low, high = bounds_by_group(rows.groups, statistic, seed=seed)
    value = float(roc_auc_score(truth, scores) - roc_auc_score(truth, other))
    if math.isnan(low):
        low, high = -1.0, 1.0
    return Difference(value=value, low=min(low, value), high=max(high, value))


def in_order_of(rows: Predictions, files: NDArray[np.str_]) -> Predictions:
    """Returns the rows of these files, in their order."""
    place = {name: index for index, name in enumerate(rows.files.tolist())}
    return rows.where(np.array([place[name] for name in files.tolist()], np.int64))


def subtract(one: Figure, other: Figure) -> Difference:
    """Returns the difference of two independent figures, as if their errors were normal."""
    return _with_error(one.value - other.value, math.hypot(_error(one), _error(other)))


def mean_of(parts: Sequence[Figure]) -> Difference:
    """Returns the mean of independent figures, as if their errors were normal."""
    value = math.fsum(part.value for part in parts) / len(parts)
    return _with_error(value, math.hypot(*map(_error, parts)) / len(parts))


def has_both(rows: Predictions) -> bool:
    """Whether both kinds are among the rows."""
    return bool(rows.is_positive.any() and not rows.is_positive.all())


def _error(figure: Figure) -> float:
    return (figure.high - figure.low) / (2 * _Z_95)


def _with_error(value: float, error: float) -> Difference:
    return Difference(value=value, low=value - _Z_95 * error, high=value + _Z_95 * error)
