from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from tbscreen_training.curves import net_benefits
from tbscreen_training.figures import (
    auc_with_interval,
    expected_calibration_error,
    figures_of,
)
from tbscreen_training.predictions import Predictions


def test_figures_are_those_of_independent_formulas(predictions: Predictions) -> None:
    figures = figures_of(predictions, 0.5, seed=1)
    truth, called = predictions.is_positive, predictions.scores >= 0.5
    expected = {
        "accuracy": (truth == called).mean(),
        "precision": precision_score(truth, called),
        "recall": recall_score(truth, called),
        "specificity": recall_score(~truth, ~called),
        "f1": f1_score(truth, called),
        "auc": roc_auc_score(truth, predictions.scores),
        "auc_by_group": roc_auc_score(truth, predictions.scores),
        "average_precision": average_precision_score(truth, predictions.scores),
        "brier": brier_score_loss(truth, predictions.scores),
    }
    for name, value in expected.items():
        assert figures[name]["value"] == pytest.approx(value), name
        assert figures[name]["low"] < value < figures[name]["high"], name
    matrix = np.array(figures["confusion_matrix"]["rows_true_columns_predicted"])
    assert matrix.sum() == len(predictions)
    assert matrix[1, 1] == (truth & called).sum()


def test_class_wise_figures_agree_with_the_confusion_matrix(predictions: Predictions) -> None:
    figures = figures_of(predictions, 0.3, seed=1)
    matrix = np.array(figures["confusion_matrix"]["rows_true_columns_predicted"])
    for place, label in enumerate(predictions.classes):
        by_class = figures["by_class"][label]
        hits = matrix[place, place]
        assert by_class["recall"]["value"] == pytest.approx(hits / matrix[place].sum())
        assert by_class["precision"]["value"] == pytest.approx(hits / matrix[:, place].sum())
    assert figures["accuracy"]["value"] == pytest.approx(np.trace(matrix) / matrix.sum())


def test_calibration_error_of_a_known_case(predictions: Predictions) -> None:
    rows = predictions.where(np.arange(400) < 4)
    known = replace(
        rows,
        labels=np.array(["TB Positive", "Normal", "TB Positive", "TB Positive"]),
        probabilities=np.array([[0.75, 0.25], [0.75, 0.25], [0.05, 0.95], [0.05, 0.95]]),
    )
    # Bins: 0.25 against 1/2 and 0.95 against 2/2, half of the rows in each.
    assert expected_calibration_error(known) == pytest.approx((0.25 + 0.05) / 2)


def test_the_interval_of_the_auc_is_as_wide_as_there_are_groups(predictions: Predictions) -> None:
    alone = auc_with_interval(predictions, seed=1)
    tenfold = np.tile(np.arange(400), 10)
    copies = predictions.where(tenfold)  # each group now has ten identical rows
    grouped = auc_with_interval(copies, seed=1)
    assert alone.low < alone.value < alone.high
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_the_interval_is_that_of_resampling_row_by_row(predictions: Predictions) -> None:
    rng = np.random.default_rng(8)
    coarse = np.round(predictions.probabilities, 1)  # so that scores tie
    tied = replace(predictions, probabilities=coarse)
    aucs = []
    for _ in range(1000):
        rows = rng.integers(400, size=400)
        aucs.append(roc_auc_score(tied.is_positive[rows], tied.scores[rows]))
    interval = auc_with_interval(tied, seed=1)
    assert (interval.low, interval.high) == pytest.approx(
        np.percentile(aucs, (2.5, 97.5)), abs=4e-3
    )


def test_intervals_of_other_figures_are_those_of_resampling_row_by_row(
    predictions: Predictions,
) -> None:
    rows = predictions.where(np.arange(400) < 120)
    figures = figures_of(rows, 0.5, seed=1)
    rng = np.random.default_rng(8)
    drawn: dict[str, list[float]] = {"f1": [], "average_precision": [], "ece": [], "brier": []}
    for _ in range(1000):
        again = rows.where(rng.integers(120, size=120))
        truth, scores = again.is_positive, again.scores
        drawn["f1"].append(f1_score(truth, scores >= 0.5))
        drawn["average_precision"].append(average_precision_score(truth, scores))
        drawn["brier"].append(brier_score_loss(truth, scores))
        drawn["ece"].append(expected_calibration_error(again))
    for name, values in drawn.items():
        bounds = (figures[name]["low"], figures[name]["high"])
        assert bounds == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.015), name


def test_a_class_that_is_never_called_has_no_precision(predictions: Predictions) -> None:
    figures = figures_of(predictions, 1.1, seed=1)
    assert figures["precision"] is None
    assert figures["recall"]["value"] == 0
    assert (
        figures["macro"]["precision"]["value"]
        == figures["by_class"]["Normal"]["precision"]["value"]
    )


def test_the_net_benefit_is_true_positives_less_false_ones_at_the_odds(
    predictions: Predictions,
) -> None:
    curve = net_benefits(predictions, seed=1)
    point = curve[3]
    assert point.threshold == pytest.approx(0.2)
    called, sick = predictions.scores >= 0.2, predictions.is_positive
    expected = (called & sick).mean() - (called & ~sick).mean() / 4
    assert point.model.value == pytest.approx(expected)
    assert point.model.low < expected < point.model.high
    assert point.call_all == pytest.approx(sick.mean() - (~sick).mean() / 4)


def test_the_table_reads_back_to_the_last_digit(tmp_path: Path, predictions: Predictions) -> None:
    predictions.save(tmp_path / "predictions.csv")
    loaded = Predictions.load(
        tmp_path / "predictions.csv", classes=predictions.classes, positive=predictions.positive
    )
    assert np.array_equal(loaded.probabilities, predictions.probabilities)
    assert np.array_equal(loaded.logits, predictions.logits)
    assert np.array_equal(loaded.labels, predictions.labels)


def test_with_three_classes_the_likeliest_other_one_is_predicted(predictions: Predictions) -> None:
    rows = replace(
        predictions.where(np.arange(400) < 3),
        classes=("Normal", "TB Positive", "Other"),
        probabilities=np.array([[0.3, 0.4, 0.3], [0.2, 0.35, 0.45], [0.5, 0.3, 0.2]]),
    )
    assert rows.decide(0.4).tolist() == ["TB Positive", "Other", "Normal"]
