from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tbscreen_training.calibrate import (
    choose_operating_points,
    fit_calibration,
    measure_point,
    wilson,
)
from tbscreen_training.figures import expected_calibration_error
from tbscreen_training.predictions import Predictions


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


def test_operating_points_keep_what_their_names_promise(predictions: Predictions) -> None:
    points = {p.name: p for p in choose_operating_points(predictions, measured_on="here")}
    scores, sick = predictions.scores, predictions.is_positive

    def sensitivity(threshold: float) -> float:
        return float((scores[sick] >= threshold).mean())

    def specificity(threshold: float) -> float:
        return float((scores[~sick] < threshold).mean())

    above = np.sort(scores[scores > points["triage"].threshold])
    assert sensitivity(points["triage"].threshold) >= 0.90
    assert sensitivity(above[np.searchsorted(above, above[0], "right")]) < 0.90 or (
        specificity(above[1]) == specificity(points["triage"].threshold)
    )
    assert specificity(points["confirm"].threshold) >= 0.95
    below = scores[scores < points["confirm"].threshold].max()
    assert specificity(below) < 0.95
    best = max(sensitivity(t) + specificity(t) for t in scores)
    balanced = points["balanced"].threshold
    assert sensitivity(balanced) + specificity(balanced) == pytest.approx(best)


def test_a_point_is_measured_as_it_will_be_applied(predictions: Predictions) -> None:
    threshold = float(np.median(predictions.scores))
    point = measure_point(predictions, "site", threshold, measured_on="here")
    decided = predictions.decide(threshold) == "TB Positive"
    assert point.sensitivity.value == decided[predictions.is_positive].mean()
    assert point.specificity.value == (~decided[~predictions.is_positive]).mean()
