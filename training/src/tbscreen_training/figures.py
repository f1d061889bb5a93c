"""The report's figures, each computed from the table of predictions and nothing else.

Shares have Wilson's 95 % intervals, AUCs DeLong's; the rest resamples groups.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from tbscreen_shared.bundle import Interval, OperatingPoint
from tbscreen_training.calibrate import wilson
from tbscreen_training.delong import auc_interval
from tbscreen_training.predictions import Predictions
from tbscreen_training.resampling import (
    Statistic,
    Weights,
    interval_by_group,
    mean_of,
    weighted_auc,
    weighted_mean,
    weighted_ratio,
)

_ECE_BINS: Final = 10


def figures_of(predictions: Predictions, threshold: float, *, seed: int) -> dict[str, Any]:
    """Returns every figure of some rows, at a threshold on the positive class's probability.

    precision, recall, specificity and f1 are the positive class's; `by_class` has each class's. A
    share of nothing is None.
    """
    truth, decided = predictions.labels, predictions.decide(threshold)
    sick, called = predictions.is_positive, decided == predictions.positive
    scores, groups = predictions.scores, predictions.groups
    positive = _class_figures(sick, called, scores, groups, seed=seed)
    precision = float(average_precision_score(sick, scores))
    return {
        "images": len(predictions),
        "positive_images": int(sick.sum()),
        "threshold": threshold,
        "accuracy": _share(truth == decided),
        "precision": positive["precision"],
        "recall": positive["recall"],
        "specificity": _share(~called[~sick]),
        "f1": positive["f1"],
        "auc": positive["auc"],
        "auc_by_group": auc_with_interval(predictions, seed=seed).model_dump(),
        "average_precision": interval_by_group(
            precision, groups, _average_precision(sick, scores), seed=seed
        ).model_dump(),
        "brier": interval_by_group(
            brier(predictions), groups, weighted_mean((scores - sick) ** 2), seed=seed
        ).model_dump(),
        "ece": interval_by_group(
            expected_calibration_error(predictions), groups, _ece(predictions), seed=seed
        ).model_dump(),
        **_all_classes(predictions, decided, seed=seed),
    }


def figures_by_source(
    predictions: Predictions, points: list[OperatingPoint], *, seed: int
) -> dict[str, dict[str, Any]]:
    """Returns what can be said of each source: AUC where it has both classes, and rates.

    `points` has sensitivity and specificity at each operating point.
    """
    result: dict[str, dict[str, Any]] = {}
    for source in sorted(set(predictions.sources.tolist())):
        rows = predictions.of_sources((source,))
        sick = rows.is_positive
        figures: dict[str, Any] = {"positive": int(sick.sum()), "other": int((~sick).sum())}
        figures["points"] = {
            point.name: {
                "sensitivity": _share(rows.scores[sick] >= point.threshold),
                "specificity": _share(rows.scores[~sick] < point.threshold),
            }
            for point in points
        }
        if sick.any() and not sick.all():
            figures["auc"] = auc_interval(sick, rows.scores).model_dump()
            figures["auc_by_group"] = auc_with_interval(rows, seed=seed).model_dump()
        result[source] = figures
    return result


def auc_with_interval(predictions: Predictions, *, seed: int) -> Interval:
    """Returns the positive class's AUC with a 95 % percentile interval, resampling groups."""
    truth, scores = predictions.is_positive, predictions.scores
    value = float(roc_auc_score(truth, scores))
    return interval_by_group(value, predictions.groups, weighted_auc(truth, scores), seed=seed)


def brier(predictions: Predictions) -> float:
    """Returns the mean squared error of the positive class's probability, 0 at best."""
    return float(((predictions.scores - predictions.is_positive) ** 2).mean())


def expected_calibration_error(predictions: Predictions) -> float:
    """Returns the mean distance of probability and frequency over ten equal bins, 0 at best."""
    predicted, observed, counts = reliability(predictions)
    return float((np.abs(predicted - observed) * counts).sum() / counts.sum())


def reliability(
    predictions: Predictions,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Returns three arrays with a place for each non-empty tenth of the scale.

    They are the mean probability of the positive class, its frequency, and the number of rows.
    """
    _, index, counts = np.unique(_bins(predictions), return_inverse=True, return_counts=True)
    predicted = np.bincount(index, predictions.scores) / counts
    observed = np.bincount(index, predictions.is_positive.astype(np.float64)) / counts
    return predicted, observed, counts


def _all_classes(
    predictions: Predictions, decided: NDArray[np.str_], *, seed: int
) -> dict[str, Any]:
    classes = list(predictions.classes)
    one_against_rest = {
        label: (predictions.labels == label, decided == label, predictions.probabilities[:, place])
        for place, label in enumerate(classes)
    }
    by_class = {
        label: _class_figures(*columns, predictions.groups, seed=seed)
        for label, columns in one_against_rest.items()
    }
    macro = {}
    for name in ("precision", "recall", "f1", "auc"):
        known = [label for label in classes if by_class[label][name] is not None]
        mean = float(np.mean([by_class[label][name]["value"] for label in known]))
        statistic = mean_of([_class_statistics(*one_against_rest[label])[name] for label in known])
        macro[name] = interval_by_group(mean, predictions.groups, statistic, seed=seed).model_dump()
    counts = confusion_matrix(predictions.labels, decided, labels=classes)
    matrix = {"classes": classes, "rows_true_columns_predicted": counts.tolist()}
    return {"by_class": by_class, "macro": macro, "confusion_matrix": matrix}


def _class_figures(
    truth: NDArray[np.bool_],
    called: NDArray[np.bool_],
    scores: NDArray[np.float64],
    groups: NDArray[np.str_],
    *,
    seed: int,
) -> dict[str, Any]:
    both = truth.any() and not truth.all()
    either = int(truth.sum() + called.sum())
    f1 = 2 * int((truth & called).sum()) / either if either else 0.0
    statistic = _class_statistics(truth, called, scores)["f1"]
    return {
        "precision": _share(truth[called]),
        "recall": _share(called[truth]),
        "f1": interval_by_group(f1, groups, statistic, seed=seed).model_dump(),
        "auc": auc_interval(truth, scores).model_dump() if both else None,
        "support": int(truth.sum()),
    }


def _class_statistics(
    truth: NDArray[np.bool_], called: NDArray[np.bool_], scores: NDArray[np.float64]
) -> dict[str, Statistic]:
    hits, real, said = (rows.astype(np.float64) for rows in (truth & called, truth, called))
    return {
        "precision": weighted_ratio(hits, said),
        "recall": weighted_ratio(hits, real),
        "f1": weighted_ratio(2 * hits, real + said),
        "auc": weighted_auc(truth, scores),
    }


def _share(hits: NDArray[np.bool_]) -> dict[str, float] | None:
    return wilson(int(hits.sum()), len(hits)).model_dump() if len(hits) else None


def _average_precision(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Statistic:
    # The sum of precision times the step of recall, from the highest score down.
    order = np.argsort(-scores)
    _, first_of_score = np.unique(-scores[order], return_index=True)

    def statistic(weights: Weights) -> NDArray[np.float64]:
        drawn = np.add.reduceat(weights[:, order], first_of_score, axis=1)
        sick = np.add.reduceat(weights[:, order] * truth[order], first_of_score, axis=1)
        called = np.maximum(np.cumsum(drawn, axis=1), 1)
        with np.errstate(invalid="ignore"):
            values: NDArray[np.float64] = (sick * np.cumsum(sick, axis=1) / called).sum(
                axis=1
            ) / sick.sum(axis=1)
        return values

    return statistic


def _ece(predictions: Predictions) -> Statistic:
    in_bin = np.eye(_ECE_BINS)[_bins(predictions)]
    errors = (predictions.scores - predictions.is_positive)[:, np.newaxis] * in_bin

    def statistic(weights: Weights) -> NDArray[np.float64]:
        values: NDArray[np.float64] = np.abs(weights @ errors).sum(axis=1) / weights.sum(axis=1)
        return values

    return statistic


def _bins(predictions: Predictions) -> NDArray[np.int64]:
    return np.minimum((predictions.scores * _ECE_BINS).astype(np.int64), _ECE_BINS - 1)
