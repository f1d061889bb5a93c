import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score

from support.evaluated_run import make_evaluated_run
from tbscreen_training.errors import TrainingError
from tbscreen_training.left_out import (
    TRAINING,
    Fold,
    FoldRecord,
    as_telling,
    blanked_gap,
    measure_left_out,
    read_folds,
    shuffled_auc,
)
from tbscreen_training.predictions import Predictions


@pytest.fixture
def folds(tmp_path: Path, predictions: Predictions) -> list[Fold]:
    run = make_evaluated_run(tmp_path / "run", predictions)
    return read_folds(run.folds, classes=predictions.classes, positive=predictions.positive)


def test_each_fold_has_its_figures_on_what_it_left_out(folds: list[Fold]) -> None:
    left_out = measure_left_out(folds, seed=1)
    assert left_out is not None
    assert [fold.name for fold in left_out.folds] == ["both", "both-again", "one-kind-each"]
    for fold, measured in zip((f for f in folds if f.record.left_out), left_out.folds, strict=True):
        plain = fold.predictions.of_view("plain")
        auc = measured.auc["plain"]
        assert auc is not None
        assert auc.value == pytest.approx(roc_auc_score(plain.is_positive, plain.scores))
        assert measured.positive + measured.other == len(plain)
        sick = plain.is_positive
        assert measured.sensitivity is not None
        assert measured.sensitivity.value == (plain.scores[sick] >= 0.5).mean()


def test_the_mean_is_over_the_folds_that_are_not_confounded(folds: list[Fold]) -> None:
    left_out = measure_left_out(folds, seed=1)
    assert left_out is not None
    assert [fold.confounded for fold in left_out.folds] == [False, False, True]
    assert left_out.folds_counted == ("both", "both-again")
    assert not left_out.confounded
    aucs = [fold.auc["lungs_blanked"] for fold in left_out.folds[:2]]
    values = [auc.value for auc in aucs if auc is not None]
    spread = left_out.over_folds["lungs_blanked"]
    assert spread.mean == pytest.approx(np.mean(values))
    assert (spread.least, spread.greatest) == (min(values), max(values))


def test_where_every_fold_is_confounded_the_mean_says_so(folds: list[Fold]) -> None:
    left_out = measure_left_out([f for f in folds if f.record.name == "one-kind-each"], seed=1)
    assert left_out is not None
    assert left_out.confounded and left_out.folds_counted == ("one-kind-each",)


def test_the_gap_is_taken_on_the_images_with_both_views_whatever_their_order(
    folds: list[Fold],
) -> None:
    rows = folds[0].predictions
    plain, blanked = rows.of_view("plain"), rows.of_view("lungs_blanked")
    some = blanked.where(np.random.default_rng(1).permutation(len(blanked))[:150])
    gap, images = blanked_gap(Predictions.stack([plain, some]))
    kept = np.isin(plain.files, some.files)
    expected = roc_auc_score(plain.is_positive[kept], plain.scores[kept]) - roc_auc_score(
        some.is_positive, some.scores
    )
    assert images == 150
    assert gap is not None
    assert gap.value == pytest.approx(expected)
    assert gap.low < gap.value < gap.high


def test_a_blanked_auc_below_half_tells_as_much_as_one_above(folds: list[Fold]) -> None:
    rows = folds[0].predictions
    plain, blanked = rows.of_view("plain"), rows.of_view("lungs_blanked")
    turned = replace(blanked, logits=-blanked.logits).uncalibrated()
    before, _ = blanked_gap(Predictions.stack([plain, blanked]))
    after, _ = blanked_gap(Predictions.stack([plain, turned]))
    assert before is not None and after is not None
    assert after.value == pytest.approx(before.value)
    sick, scores = blanked.is_positive, blanked.scores
    assert roc_auc_score(sick, as_telling(sick, 1 - scores)) >= 0.5


def test_the_interval_of_shuffled_trainings_is_students_over_the_trainings(
    predictions: Predictions,
) -> None:
    rng = np.random.default_rng(3)
    trainings = [
        replace(
            predictions,
            files=np.array([f"{file} ({number})" for file in predictions.files]),
            groups=np.full(len(predictions), f"{TRAINING}{number}"),
            logits=rng.normal(0, 1, (len(predictions), 1)),
        ).uncalibrated()
        for number in range(6)
    ]
    found = shuffled_auc(Predictions.stack(trainings), seed=1)
    aucs = [roc_auc_score(one.is_positive, one.scores) for one in trainings]
    expected = ttest_1samp(aucs, 0.5).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(np.mean(aucs))


def test_a_fold_of_one_kind_of_image_has_rates_and_no_auc(folds: list[Fold]) -> None:
    rows = folds[0].predictions
    well = rows.where(~rows.is_positive)
    measured = measure_left_out([replace(folds[0], predictions=well)], seed=1)
    assert measured is not None
    (fold,) = measured.folds
    assert fold.auc["plain"] is None and fold.gap is None and fold.sensitivity is None
    assert fold.specificity is not None and fold.confounded
    assert measured.over_folds == {}


def test_no_fold_has_no_figures(folds: list[Fold]) -> None:
    shuffled = [fold for fold in folds if fold.record.name == "label-shuffle"]
    assert measure_left_out(shuffled, seed=1) is None


def test_a_fold_that_is_not_finished_is_not_read_and_a_broken_one_is_named(
    tmp_path: Path, predictions: Predictions
) -> None:
    run = make_evaluated_run(tmp_path / "run", predictions)
    (run.folds / "both" / "predictions.csv").unlink()
    names = {"classes": predictions.classes, "positive": predictions.positive}
    read = [fold.record.name for fold in read_folds(run.folds, **names)]
    assert read == ["both-again", "label-shuffle", "one-kind-each"]
    (run.folds / "both-again" / "fold.json").write_text('{"name": "both-again"}')
    with pytest.raises(TrainingError, match="both-again"):
        read_folds(run.folds, **names)


def test_a_record_of_a_newer_release_is_read() -> None:
    record = {"name": "a", "left_out": ["x"], "trained_on": ["y"], "seed": 1, "seconds": 2.0}
    assert FoldRecord.model_validate_json(json.dumps(record | {"epochs": 3})).left_out == ("x",)
