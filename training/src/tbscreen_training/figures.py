"""The report's figures, each computed from the table of predictions and nothing else."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report, confusion_matrix, roc_auc_score

from tbscreen_shared.bundle import Interval
from tbscreen_training.calibrate import wilson
from tbscreen_training.predictions import Predictions

_RESAMPLES: Final = 1000
_RESAMPLES_AT_ONCE: Final = 50
"""Bounds the memory: 50 x 100,000 rows are 40 MB."""

_ECE_BINS: Final = 10


def figures_of(predictions: Predictions, threshold: float, *, seed: int) -> dict[str, Any]:
    """Returns every figure of some rows, at a threshold on the positive class's probability.

    precision, recall, specificity and f1 are the positive class's; `by_class` has each class's.
    """
    truth, decided = predictions.labels, predictions.decide(threshold)
    by_class = classification_report(
        truth, decided, labels=list(predictions.classes), output_dict=True, zero_division=0.0
    )
    positive = by_class[predictions.positive]
    called = decided == predictions.positive
    negatives = ~predictions.is_positive
    return {
        "images": len(predictions),
        "threshold": threshold,
        "accuracy": float((truth == decided).mean()),
        "precision": positive["precision"],
        "recall": positive["recall"],
        "specificity": float((~called & negatives).sum() / negatives.sum()),
        "f1": positive["f1-score"],
        "auc": auc_with_interval(predictions, seed=seed).model_dump(),
        "brier": brier(predictions),
        "ece": expected_calibration_error(predictions),
        "by_class": {label: by_class[label] for label in predictions.classes},
        "confusion_matrix": {
            "classes": list(predictions.classes),
            "rows_true_columns_predicted": confusion_matrix(
                truth, decided, labels=list(predictions.classes)
            ).tolist(),
        },
    }


def figures_by_source(
    predictions: Predictions, threshold: float, *, seed: int
) -> dict[str, dict[str, Any]]:
    """Returns what can be said of each source: AUC where it has both classes, and rates."""
    result: dict[str, dict[str, Any]] = {}
    for source in sorted(set(predictions.sources.tolist())):
        rows = predictions.of_sources((source,))
        sick = rows.is_positive
        called = rows.scores >= threshold
        figures: dict[str, Any] = {"positive": int(sick.sum()), "other": int((~sick).sum())}
        if sick.any():
            figures["sensitivity"] = wilson(
                int((called & sick).sum()), int(sick.sum())
            ).model_dump()
        if not sick.all():
            figures["specificity"] = wilson(
                int((~called & ~sick).sum()), int((~sick).sum())
            ).model_dump()
        if sick.any() and not sick.all():
            figures["auc"] = auc_with_interval(rows, seed=seed).model_dump()
        result[source] = figures
    return result


def auc_with_interval(predictions: Predictions, *, seed: int) -> Interval:
    """Returns the positive class's AUC with a 95 % percentile interval, resampling groups."""
    truth, scores = predictions.is_positive, predictions.scores
    value = float(roc_auc_score(truth, scores))
    names, group_of_row = np.unique(predictions.groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    even = np.full(len(names), 1 / len(names))
    resampled = []
    for _ in range(_RESAMPLES // _RESAMPLES_AT_ONCE):
        drawn = rng.multinomial(len(names), even, size=_RESAMPLES_AT_ONCE)
        resampled.append(_weighted_aucs(truth, scores, drawn[:, group_of_row]))
    low, high = np.nanpercentile(np.concatenate(resampled), (2.5, 97.5))
    return Interval(value=value, low=float(low), high=float(high))


def _weighted_aucs(
    truth: NDArray[np.bool_], scores: NDArray[np.float64], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    # The Mann-Whitney form, for all resamplings (weights' rows) at once; NaN without both classes.
    order = np.argsort(scores)
    _, first_of_score = np.unique(scores[order], return_index=True)
    sick = np.add.reduceat(weights[:, order] * truth[order], first_of_score, axis=1)
    well = np.add.reduceat(weights[:, order] * ~truth[order], first_of_score, axis=1)
    beaten = np.cumsum(well, axis=1) - well / 2
    pairs = sick.sum(axis=1) * well.sum(axis=1)
    wins: NDArray[np.float64] = (sick * beaten).sum(axis=1)
    with np.errstate(invalid="ignore"):
        aucs: NDArray[np.float64] = wins / pairs
    return aucs


def brier(predictions: Predictions) -> float:
    """Returns the mean squared error of the positive class's probability, 0 at best."""
    return float(((predictions.scores - predictions.is_positive) ** 2).mean())


def expected_calibration_error(predictions: Predictions) -> float:
    """Returns the mean distance of probability and frequency over ten equal bins, 0 at best."""
    predicted, observed, share = reliability(predictions)
    return float((np.abs(predicted - observed) * share).sum())


def reliability(
    predictions: Predictions,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Returns three arrays with a place for each non-empty tenth of the scale.

    They are the mean probability of the positive class, its frequency, and the share of the rows.
    """
    bins = np.minimum((predictions.scores * _ECE_BINS).astype(np.int64), _ECE_BINS - 1)
    _, index, counts = np.unique(bins, return_inverse=True, return_counts=True)
    predicted = np.bincount(index, predictions.scores) / counts
    observed = np.bincount(index, predictions.is_positive.astype(np.float64)) / counts
    return predicted, observed, counts / len(predictions)
