from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tbscreen_shared.bundle import Calibration
from tbscreen_training.calibrate import choose_operating_points
from tbscreen_training.controls import LUNGS_BLANKED
from tbscreen_training.gate import (
    Gate,
    check_against_active,
    check_gap,
    check_known_answer,
    check_label_shuffle,
    check_operations,
    check_parity,
    check_refusals,
)
from tbscreen_training.left_out import LABEL_SHUFFLE, LEFT_OUT, Fold, FoldRecord
from tbscreen_training.predictions import PLAIN, Predictions
from tbscreen_training.standing import (
    Comparison,
    Standing,
    compare_stated,
    difference_of_aucs,
    mean_of,
    measure_standing,
    stated_standing,
    subtract,
)

IDENTITY = Calibration(method="identity", scale=1.0)
MakeFold = Callable[..., Fold]


@pytest.fixture
def make_fold(predictions: Predictions) -> MakeFold:
    """Makes a fold of 400 images, each in the plain view and with the lungs blanked."""

    def make(
        name: str = "both", *, signal: float = 2.0, blanked: float = 0.5, seed: int = 0
    ) -> Fold:
        rng = np.random.default_rng(seed)
        parts = []
        for view, strength in ((PLAIN, signal), (LUNGS_BLANKED, blanked)):
            logits = strength * (predictions.is_positive - 0.5) + rng.normal(0, 1, 400)
            table = replace(
                predictions,
                views=np.full(400, view),
                logits=logits[:, np.newaxis],
                keras_logits=logits[:, np.newaxis],
            )
            if name != LABEL_SHUFFLE:
                table = replace(table, splits=np.full(400, LEFT_OUT))
            parts.append(table.uncalibrated())
        record = FoldRecord(name=name, left_out=(name,), trained_on=("x",), seed=1, seconds=1.0)
        return Fold(record, Predictions.stack(parts))

    return make


def refusals(share: float, **by_source: tuple[int, float]) -> dict[str, Any]:
    return {
        "false_refusals": {"share": {"value": share}},
        "false_refusals_by_source": {
            source: {"n": n, "share": {"value": value}} for source, (n, value) in by_source.items()
        },
    }


def test_an_input_check_that_refuses_radiographs_fails() -> None:
    assert check_refusals(None).passed
    assert check_refusals(refusals(0.006, east=(500, 0.002), west=(200, 0.04))).passed
    assert not check_refusals(refusals(0.011, east=(500, 0.011))).passed
    one = check_refusals(refusals(0.006, east=(500, 0.002), west=(200, 0.06)))
    assert not one.passed
    assert "west" in one.note
    # One of three refused says nothing of the source.
    assert check_refusals(refusals(0.006, east=(500, 0.002), west=(3, 0.33))).passed


def test_an_export_that_agrees_with_keras_passes(predictions: Predictions) -> None:
    points = choose_operating_points(predictions, measured_on="here")
    same = replace(predictions, keras_logits=predictions.logits)
    checks = check_parity(same, IDENTITY, points)
    assert [check.name for check in checks] == [
        "AUC, exported - Keras",
        "decisions flipped by exporting, triage",
        "decisions flipped by exporting, balanced",
        "decisions flipped by exporting, confirm",
    ]
    assert all(check.passed for check in checks)


def flip(predictions: Predictions, images: int, threshold: float) -> Predictions:
    """Lets Keras decide otherwise on the images next below the threshold, by a hair."""
    logit = np.log(threshold / (1 - threshold))
    keras = predictions.logits.copy()
    below = np.flatnonzero(keras[:, 0] < logit)
    nearest = below[np.argsort(keras[below, 0])[-images:]]
    keras[nearest, 0] = logit + 1e-6
    return replace(predictions, keras_logits=keras)


@pytest.mark.parametrize(
    ("rows", "flips", "passed"), [(400, 4, True), (400, 5, False), (80, 1, True), (80, 2, False)]
)
def test_flips_clearly_above_half_a_per_cent_fail(
    predictions: Predictions, rows: int, flips: int, passed: bool
) -> None:
    some = predictions.where(np.arange(400) < rows)
    (triage, *_) = choose_operating_points(some, measured_on="here")
    check = check_parity(flip(some, flips, triage.threshold), IDENTITY, [triage])[1]
    assert check.figure.startswith(f"{flips / rows:.2%} [")
    assert check.note == f"{flips} of {rows}"
    assert check.passed is passed


def test_an_auc_that_exporting_moved_fails(predictions: Predictions) -> None:
    worse = predictions.logits + np.random.default_rng(0).normal(0, 2, (400, 1))
    check = check_parity(replace(predictions, keras_logits=worse), IDENTITY, [])[0]
    assert not check.passed


def test_rows_that_keras_did_not_score_are_left_out_of_the_comparison(
    predictions: Predictions,
) -> None:
    keras = predictions.logits.copy()
    keras[:100] = np.nan
    check = check_parity(replace(predictions, keras_logits=keras), IDENTITY, [])[0]
    assert (check.figure, check.note) == ("+0.0000", "on 300 images")


@pytest.mark.parametrize(
    ("answered", "passed"),
    [([1.0], True), ([1.09], True), ([1.2], False), ([np.nan], False), ([1.0, 1.0], False)],
)
def test_the_known_answer_must_come_out_again(answered: list[float], passed: bool) -> None:
    assert check_known_answer(np.array([1.0]), np.array(answered), 0.1).passed is passed


def test_a_foreign_operation_fails_by_its_name() -> None:
    assert check_operations([]).passed
    check = check_operations(["FlexErf"])
    assert (check.passed, check.figure) == (False, "FlexErf")


def test_a_training_on_shuffled_labels_must_have_learned_nothing(make_fold: MakeFold) -> None:
    assert check_label_shuffle([make_fold(LABEL_SHUFFLE, signal=0.0)], seed=1).passed
    leaking = check_label_shuffle([make_fold(LABEL_SHUFFLE, signal=1.0)], seed=1)
    assert not leaking.passed
    missing = check_label_shuffle([make_fold("both")], seed=1)
    assert not missing.passed
    assert "run the step `folds`" in missing.note


def test_without_folds_the_checks_on_sources_left_out_fail_with_a_hint() -> None:
    for check in (check_against_active({}, []), check_gap({}, None, no_active="")):
        assert not check.passed
        assert "run the step `folds`" in check.note


def test_the_standing_is_the_aucs_and_their_gap(make_fold: MakeFold) -> None:
    fold = make_fold()
    standing = measure_standing([fold, make_fold(LABEL_SHUFFLE)], seed=1)
    assert list(standing) == ["both"]
    found = standing["both"]
    # Normal scores a distance d apart have an AUC of Phi(d / sqrt 2): 0.921 and 0.638.
    assert found.auc.value == pytest.approx(0.921, abs=0.03)
    assert found.gap is not None
    assert found.gap.value == pytest.approx(0.921 - 0.638, abs=0.06)
    assert found.gap.low < found.gap.value < found.gap.high
    assert found.images == 400


def test_a_fold_of_one_kind_has_no_standing(make_fold: MakeFold) -> None:
    fold = make_fold()
    sick = replace(fold, predictions=fold.predictions.where(fold.predictions.is_positive))
    assert measure_standing([sick], seed=1) == {}


def test_the_standing_survives_the_manifest(make_fold: MakeFold) -> None:
    standing = measure_standing([make_fold()], seed=1)
    gate = Gate(checks=(), standing=standing)
    assert stated_standing({"gate": gate.model_dump(mode="json")}) == standing
    assert stated_standing({}) is None
    assert stated_standing({"gate": {"standing": {"both": {"auc": 1}}}}) is None


@pytest.mark.parametrize(("theirs", "passed"), [(0.5, True), (2.0, True), (4.0, False)])
def test_clearly_worse_than_the_active_model_fails(
    make_fold: MakeFold, theirs: float, passed: bool
) -> None:
    standing = measure_standing([make_fold()], seed=1)
    active = measure_standing([make_fold(signal=theirs, seed=9)], seed=1)
    stated = [compare_stated("both", standing["both"], active["both"])]
    check = check_against_active(standing, stated)
    assert check.passed is passed
    assert "figures stated" in check.note


def test_on_the_same_images_the_comparison_is_paired(make_fold: MakeFold) -> None:
    rows = make_fold().predictions.of_view(PLAIN)
    slightly_better = rows.logits[:, 0] + 0.3 * rows.is_positive
    paired = difference_of_aucs(rows, slightly_better, rows.logits[:, 0], seed=1)
    assert paired.low > 0
    first = measure_standing([make_fold()], seed=1)["both"]
    unpaired = subtract(first.auc, first.auc)
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 3


def test_groups_are_resampled_as_a_whole(make_fold: MakeFold) -> None:
    rows = make_fold().predictions.of_view(PLAIN)
    once = difference_of_aucs(rows, rows.scores, np.zeros(400), seed=1)
    tenfold = Predictions.stack([rows] * 10)
    again = difference_of_aucs(tenfold, tenfold.scores, np.zeros(4000), seed=1)
    assert again.high - again.low == pytest.approx(once.high - once.low, rel=0.1)


def test_a_model_that_can_not_be_compared_passes_and_says_why(make_fold: MakeFold) -> None:
    standing = measure_standing([make_fold()], seed=1)
    lone = Comparison(fold="both", difference=None, basis="the active model takes other input")
    check = check_against_active(standing, [lone])
    assert check.passed
    assert "takes other input" in check.note
    assert "no active model" in check_against_active(standing, []).note


@pytest.mark.parametrize(("blanked", "passed"), [(0.5, True), (1.9, False)])
def test_a_gap_clearly_narrower_than_the_active_models_fails(
    make_fold: MakeFold, blanked: float, passed: bool
) -> None:
    standing = measure_standing([make_fold(blanked=blanked)], seed=1)
    active = measure_standing([make_fold(blanked=0.5, seed=9)], seed=1)
    assert check_gap(standing, active, no_active="").passed is passed


def test_a_gap_is_compared_on_the_same_sources_only(make_fold: MakeFold) -> None:
    standing = measure_standing([make_fold(blanked=1.9)], seed=1)
    other: dict[str, Standing] = {
        "both": standing["both"].model_copy(update={"left_out": ("elsewhere",)})
    }
    check = check_gap(standing, other, no_active="")
    assert check.passed
    assert "no fold in common" in check.note
    unstated = check_gap(standing, None, no_active="the active model states no such gap")
    assert unstated.passed
    assert "states no such gap" in unstated.note


def test_a_fold_without_blanked_images_fails_the_gap(make_fold: MakeFold) -> None:
    fold = make_fold()
    plain = replace(fold, predictions=fold.predictions.of_view(PLAIN))
    check = check_gap(measure_standing([plain], seed=1), None, no_active="")
    assert not check.passed
    assert "lungs blanked" in check.note


def test_the_mean_of_independent_figures_is_surer_than_each(make_fold: MakeFold) -> None:
    one = measure_standing([make_fold()], seed=1)["both"].auc
    mean = mean_of([one] * 4)
    assert mean.value == pytest.approx(one.value)
    assert mean.high - mean.low == pytest.approx((one.high - one.low) / 2)


def test_the_table_marks_what_failed() -> None:
    gate = Gate(checks=(check_operations([]), check_operations(["FlexErf"])))
    assert not gate.passed
    header, first, second = gate.table().splitlines()
    assert header.split() == ["check", "found", "limit"]
    assert first.startswith("pass  Flex or custom operations  none")
    assert second.startswith("FAIL  Flex or custom operations  FlexErf")
