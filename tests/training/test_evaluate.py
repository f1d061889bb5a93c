from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tbscreen_training.calibrate import fit_calibration
from tbscreen_training.config import CalibrationMethod
from tbscreen_training.evaluate import Evaluation, measure
from tbscreen_training.predictions import Predictions
from tbscreen_training.tables import Tables


def evaluate(
    predictions: Predictions,
    method: CalibrationMethod = "identity",
    hospitals: tuple[str, ...] = (),
) -> Evaluation:
    tables = Tables(
        scored_by="keras",
        predictions=predictions,
        folds=[],
        histogram=None,
        source_guesses=None,
        on_lung=[],
        correlations=[],
        history=[],
        images={},
        export={},
        export_variants=[],
        input_check=None,
    )
    return measure(tables, method, seed=1, hospitals=hospitals)[1]


def test_figures_within_both_class_sources_stand_beside_those_over_all(
    predictions: Predictions,
) -> None:
    evaluation = evaluate(predictions)
    both = predictions.of_split("test").of_sources(("both",))
    auc = pytest.approx(roc_auc_score(both.is_positive, both.scores))
    assert evaluation.both_class_source_names == ("both",)
    assert evaluation.both_class_sources["test"]["auc"]["value"] == auc
    assert evaluation.confounded_sources == {"sick": "TB Positive", "well": "not TB Positive"}
    assert "both" in evaluation.chosen_on
    assert evaluation.by_source["both"]["auc"]["value"] == auc


def test_a_source_of_one_kind_has_one_rate_at_each_point_and_no_auc(
    predictions: Predictions,
) -> None:
    evaluation = evaluate(predictions)
    sick = predictions.of_split("test").of_sources(("sick",))
    figures = evaluation.by_source["sick"]
    assert "auc" not in figures
    for point in evaluation.operating_points:
        rates = figures["points"][point.name]
        assert rates["sensitivity"]["value"] == (sick.scores >= point.threshold).mean()
        assert rates["specificity"] is None


def test_operating_points_are_measured_again_on_the_test_split(predictions: Predictions) -> None:
    evaluation = evaluate(predictions)
    both = predictions.of_split("test").of_sources(("both",))
    for chosen, measured in zip(
        evaluation.operating_points, evaluation.operating_points_on_test, strict=True
    ):
        assert (measured.name, measured.threshold) == (chosen.name, chosen.threshold)
        called = both.scores >= chosen.threshold
        assert measured.sensitivity.value == called[both.is_positive].mean()
        assert measured.measured_on != chosen.measured_on


def test_a_changed_table_changes_the_figures(predictions: Predictions) -> None:
    before = evaluate(predictions)
    dealt = np.random.default_rng(1).permutation(predictions.labels)
    after = evaluate(replace(predictions, labels=dealt))
    assert before.splits["test"]["auc"]["value"] > 0.8
    assert after.splits["test"]["auc"]["value"] == pytest.approx(0.5, abs=0.12)


def test_one_source_is_not_confounded(predictions: Predictions) -> None:
    evaluation = evaluate(predictions.of_sources(("both",)))
    assert evaluation.confounded_sources == {}
    assert evaluation.chosen_on == "validation split"


def test_rows_of_other_views_touch_no_figure_of_the_images_as_served(
    predictions: Predictions,
) -> None:
    rng = np.random.default_rng(1)
    blanked = replace(
        predictions,
        views=np.full(400, "lungs_blanked"),
        logits=rng.normal(0, 5, (400, 1)),
        keras_logits=np.full((400, 1), np.nan),
    )
    alone = evaluate(predictions).model_dump()
    beside = evaluate(Predictions.stack([predictions, blanked])).model_dump()
    assert alone.pop("controls") != beside.pop("controls")
    assert alone == beside


def test_the_export_is_compared_with_the_network_it_was_made_of(predictions: Predictions) -> None:
    export = evaluate(predictions).export
    assert export.largest_logit_difference == pytest.approx(0.01)
    assert export.auc_difference.value == 0


def test_thresholds_can_be_chosen_on_hospitals_left_out_as_well(predictions: Predictions) -> None:
    is_elsewhere = (predictions.splits == "validation") & (predictions.sources != "both")
    splits = np.where(is_elsewhere, "left_out", predictions.splits)
    elsewhere = replace(predictions, splits=splits)
    before = evaluate(elsewhere, "platt")
    after = evaluate(elsewhere, "platt", ("sick", "well"))
    assert before.chosen_on == "validation split"
    assert after.chosen_on == "validation split, and sick, well left out"
    assert after.calibration != before.calibration
    chosen = elsewhere.where(elsewhere.splits != "test")
    assert after.calibration == fit_calibration(chosen, "platt")
