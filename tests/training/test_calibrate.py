import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tbscreen_training.calibrate import (
    band_of,
    choose_operating_points,
    choose_thresholds,
    fit_calibration,
    measure_point,
    wilson,
)
from tbscreen_training.figures import expected_calibration_error
from tbscreen_training.predictions import Predictions


def draw_table(rng: np.random.Generator, *, positives: int, negatives: int) -> Predictions:
    """Images of groups of their own, whose logits are two normal distributions 2 apart."""
    images = positives + negatives
    sick = np.arange(images) < positives
    logits = (rng.normal(0.0, 1.0, images) + 2.0 * sick)[:, np.newaxis]
    names = np.arange(images).astype(str)
    return Predictions(
        classes=("Normal", "TB Positive"),
        positive="TB Positive",
        files=names,
        sources=np.full(images, "one"),
        groups=names,
        labels=np.where(sick, "TB Positive", "Normal"),
        splits=np.full(images, "validation"),
        views=np.full(images, "plain"),
        logits=logits,
        keras_logits=logits,
        probabilities=np.empty((images, 2)),
    ).uncalibrated()


def test_wilson_gives_the_published_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263.
    interval = wilson(81, 263)
    assert interval.value == pytest.approx(0.3080, abs=5e-5)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_stays_within_bounds_at_none_and_all() -> None:
    assert (wilson(0, 10).low, wilson(10, 10).high) == (0.0, 1.0)
    assert wilson(0, 10).high == pytest.approx(0.2775, abs=5e-4)


def test_platt_scaling_finds_the_likeliest_scale_and_bias(predictions: Predictions) -> None:
    shifted = replace(predictions, logits=3 * predictions.logits + 2)
    calibration = fit_calibration(shifted, "platt")
    reference = LogisticRegression(C=np.inf).fit(shifted.logits, shifted.is_positive)
    assert calibration.scale == pytest.approx(float(reference.coef_[0, 0]), rel=0.05)
    assert calibration.bias == pytest.approx(float(reference.intercept_[0]), rel=0.05, abs=0.05)


def test_calibration_lessens_the_calibration_error(predictions: Predictions) -> None:
    overconfident = replace(predictions, logits=4 * predictions.logits + 3)
    before = overconfident.calibrated(fit_calibration(overconfident, "identity"))
    after = overconfident.calibrated(fit_calibration(overconfident, "platt"))
    assert expected_calibration_error(after) < expected_calibration_error(before) / 2


def test_separable_classes_do_not_drive_the_scale_to_infinity(predictions: Predictions) -> None:
    perfect = replace(
        predictions, logits=np.where(predictions.is_positive, 1.0, -1.0)[:, np.newaxis]
    )
    scores = perfect.calibrated(fit_calibration(perfect, "platt")).scores
    assert 0.0 < scores.min() < scores.max() < 1.0


def test_more_classes_are_scaled_by_a_temperature(predictions: Predictions) -> None:
    wide = np.concatenate([-predictions.logits, predictions.logits, -predictions.logits], axis=1)
    three = replace(predictions, classes=("Normal", "TB Positive", "Other"), logits=4 * wide)
    calibration = fit_calibration(three, "platt")
    assert (calibration.method, calibration.bias) == ("temperature", 0.0)
    assert calibration.scale < 1


def test_thresholds_keep_what_their_names_promise_for_the_next_image(
    predictions: Predictions,
) -> None:
    chosen = choose_thresholds(predictions)
    scores, sick = predictions.scores, predictions.is_positive
    positives, negatives = int(sick.sum()), int((~sick).sum())
    found = int((scores[sick] >= chosen["triage"]).sum())
    spared = int((scores[~sick] < chosen["confirm"]).sum())
    assert found == math.ceil(0.90 * (positives + 1))
    assert spared == math.ceil(0.95 * (negatives + 1))
    # The next higher threshold that tells images apart would lose a positive.
    assert scores[scores > chosen["triage"]].min() in scores[sick]
    best = max((scores[sick] >= t).mean() + (scores[~sick] < t).mean() for t in scores)
    balanced = chosen["balanced"]
    reached = (scores[sick] >= balanced).mean() + (scores[~sick] < balanced).mean()
    assert reached == pytest.approx(best)
    assert chosen["triage"] <= chosen["balanced"] <= chosen["confirm"]


def test_a_model_better_than_both_targets_needs_no_band(predictions: Predictions) -> None:
    good = replace(
        predictions, logits=predictions.logits + 8 * (predictions.is_positive - 0.5)[:, None]
    )
    points = choose_operating_points(good.uncalibrated(), measured_on="here")
    assert len({point.threshold for point in points}) == 1
    assert band_of(points, "auto") is None


def test_the_triage_threshold_holds_on_new_images_where_the_naive_one_falls_short() -> None:
    rng = np.random.default_rng(0)
    found, naive = [], []
    for _ in range(200):
        rows = draw_table(rng, positives=41, negatives=39)
        new = rng.normal(2.0, 1.0, 2000)
        threshold = choose_thresholds(rows)["triage"]
        found.append((new >= math.log(threshold / (1 - threshold))).mean())
        sick = np.sort(rows.logits[rows.is_positive, 0])[::-1]
        naive.append((new >= sick[math.ceil(0.90 * 41) - 1]).mean())
    assert np.mean(naive) < 0.90 < np.mean(found)


def test_cross_fitting_takes_the_flattery_out_of_a_chosen_threshold() -> None:
    rng = np.random.default_rng(1)
    apparent, stated, true = [], [], []
    for _ in range(100):
        rows = draw_table(rng, positives=30, negatives=30)
        balanced = choose_operating_points(rows, measured_on="here")[1]
        stated.append(balanced.sensitivity.value + balanced.specificity.value)
        here = measure_point(rows, "balanced", balanced.threshold, measured_on="here")
        apparent.append(here.sensitivity.value + here.specificity.value)
        new = draw_table(rng, positives=1000, negatives=1000)
        there = measure_point(new, "balanced", balanced.threshold, measured_on="there")
        true.append(there.sensitivity.value + there.specificity.value)
    assert np.mean(apparent) > np.mean(true) + 0.05
    assert np.mean(stated) == pytest.approx(np.mean(true), abs=0.03)


def test_a_group_is_decided_by_thresholds_chosen_without_it(predictions: Predictions) -> None:
    # One patient with half of the images, all of them positive and far below any other.
    twins = Predictions.stack([predictions.where(np.full(200, predictions.scores.argmin()))])
    one = replace(
        twins,
        labels=np.full(200, "TB Positive"),
        groups=np.full(200, "one patient"),
        logits=np.full((200, 1), -9.0),
    )
    rows = Predictions.stack([predictions, one]).uncalibrated()
    triage = choose_operating_points(rows, measured_on="here")[0]
    assert triage.threshold < 0.01
    assert triage.sensitivity.value < 0.6
    assert "cross-fitted in 20 parts" in triage.measured_on


def test_too_few_images_to_cross_fit_are_measured_as_they_are(predictions: Predictions) -> None:
    few = predictions.where(np.array([0, 1, 3]))
    points = choose_operating_points(few, measured_on="here")
    assert {point.measured_on for point in points} == {"here, chosen on it too"}


def test_a_negative_of_probability_one_leaves_the_last_threshold(predictions: Predictions) -> None:
    sure = replace(predictions, logits=np.full((400, 1), 1000.0)).uncalibrated()
    assert choose_thresholds(sure)["confirm"] == 1.0


def test_the_band_is_what_its_rule_says(predictions: Predictions) -> None:
    points = choose_operating_points(predictions, measured_on="here")
    assert band_of(points, "auto") == (points[0].threshold, points[2].threshold)
    assert band_of(points, "none") is None
    assert band_of(points, (0.2, 0.3)) == (0.2, 0.3)


def test_a_point_is_measured_as_it_will_be_applied(predictions: Predictions) -> None:
    threshold = float(np.median(predictions.scores))
    point = measure_point(predictions, "site", threshold, measured_on="here")
    decided = predictions.decide(threshold) == "TB Positive"
    assert point.sensitivity.value == decided[predictions.is_positive].mean()
    assert point.specificity.value == (~decided[~predictions.is_positive]).mean()
