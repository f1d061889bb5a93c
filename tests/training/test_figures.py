from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, f1_score, precision_score, recall_score, roc_auc_score

from tbscreen_shared.bundle import Calibration
from tbscreen_training.evaluate import measure
from tbscreen_training.figures import auc_with_interval, expected_calibration_error, figures_of
from tbscreen_training.predictions import Predictions

IDENTITY = Calibration(method="identity", scale=1.0)


def test_figures_are_those_of_independent_formulas(predictions: Predictions) -> None:
    figures = figures_of(predictions, 0.5, seed=1)
    truth, called = predictions.is_positive, predictions.scores >= 0.5
    assert figures["accuracy"] == (truth == called).mean()
    assert figures["precision"] == pytest.approx(precision_score(truth, called))
    assert figures["recall"] == pytest.approx(recall_score(truth, called))
    assert figures["specificity"] == pytest.approx(recall_score(~truth, ~called))
    assert figures["f1"] == pytest.approx(f1_score(truth, called))
    assert figures["auc"]["value"] == pytest.approx(roc_auc_score(truth, predictions.scores))
    assert figures["brier"] == pytest.approx(brier_score_loss(truth, predictions.scores))
    matrix = np.array(figures["confusion_matrix"]["rows_true_columns_predicted"])
    assert matrix.sum() == len(predictions)
    assert matrix[1, 1] == (truth & called).sum()


def test_class_wise_figures_agree_with_the_confusion_matrix(predictions: Predictions) -> None:
    figures = figures_of(predictions, 0.3, seed=1)
    matrix = np.array(figures["confusion_matrix"]["rows_true_columns_predicted"])
    for place, label in enumerate(predictions.classes):
        by_class = figures["by_class"][label]
        assert by_class["recall"] == pytest.approx(matrix[place, place] / matrix[place].sum())
        assert by_class["precision"] == pytest.approx(matrix[place, place] / matrix[:, place].sum())
    assert figures["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())


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


def test_figures_within_both_class_sources_stand_beside_those_over_all(
    predictions: Predictions,
) -> None:
    evaluation = measure(predictions, IDENTITY, scored_by="keras", seed=1, epochs={})
    test = predictions.of_split("test")
    both = test.of_sources(("both",))
    assert evaluation.both_class_source_names == ("both",)
    assert evaluation.both_class_sources["test"]["auc"]["value"] == pytest.approx(
        roc_auc_score(both.is_positive, both.scores)
    )
    assert evaluation.confounded_sources == {"sick": "TB Positive", "well": "not TB Positive"}
    assert "both" in evaluation.chosen_on
    assert set(evaluation.by_source["sick"]) == {"positive", "other", "sensitivity"}
    assert set(evaluation.by_source["well"]) == {"positive", "other", "specificity"}
    assert evaluation.by_source["both"]["auc"]["value"] == pytest.approx(
        roc_auc_score(both.is_positive, both.scores)
    )


def test_operating_points_are_measured_again_on_the_test_split(predictions: Predictions) -> None:
    evaluation = measure(predictions, IDENTITY, scored_by="keras", seed=1, epochs={})
    both = predictions.of_split("test").of_sources(("both",))
    for chosen, measured in zip(
        evaluation.operating_points, evaluation.operating_points_on_test, strict=True
    ):
        assert (measured.name, measured.threshold) == (chosen.name, chosen.threshold)
        called = both.scores >= chosen.threshold
        assert measured.sensitivity.value == called[both.is_positive].mean()
        assert measured.measured_on != chosen.measured_on


def test_a_changed_table_changes_the_figures(predictions: Predictions) -> None:
    before = measure(predictions, IDENTITY, scored_by="keras", seed=1, epochs={})
    worse = replace(predictions, labels=np.random.default_rng(1).permutation(predictions.labels))
    after = measure(worse, IDENTITY, scored_by="keras", seed=1, epochs={})
    assert before.splits["test"]["auc"]["value"] > 0.8
    assert after.splits["test"]["auc"]["value"] == pytest.approx(0.5, abs=0.12)


def test_one_source_is_not_confounded(predictions: Predictions) -> None:
    one = predictions.of_sources(("both",))
    evaluation = measure(one, IDENTITY, scored_by="keras", seed=1, epochs={})
    assert evaluation.confounded_sources == {}
    assert evaluation.chosen_on == "validation split"


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
