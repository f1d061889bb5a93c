import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tbscreen_shared.bundle import Manifest
from tbscreen_worker.decision import Decision, decide
from tbscreen_worker.predictor import Prediction

THREE_LABELS = ["Normal", "Pneumonia", "TB Positive"]


@pytest.fixture
def decide_with(manifest: Manifest) -> Any:
    def decide_logits(
        logits: list[float], *, maps: NDArray[np.float32] | None = None, **changes: Any
    ) -> Decision:
        if maps is None:
            maps = np.ones((len(logits), 2, 2), dtype=np.float32)
        changed = Manifest.model_validate({**manifest.model_dump(), **changes})
        return decide(Prediction(np.array(logits, dtype=np.float32), maps), changed)

    return decide_logits


def point(threshold: float, name: str = "balanced") -> dict[str, Any]:
    figure = {"value": 0.5, "low": 0.5, "high": 0.5}
    return {
        "name": name,
        "threshold": threshold,
        "sensitivity": figure,
        "specificity": figure,
        "measured_on": "nothing",
    }


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_one_logit_becomes_the_positive_labels_probability(decide_with: Any) -> None:
    decision = decide_with([1.5])

    assert decision.probability == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert decision.probabilities["TB Positive"] == decision.probability
    assert decision.probabilities["Normal"] == pytest.approx(1 / (1 + math.exp(1.5)))
    assert sum(decision.probabilities.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(("extreme", "expected"), [(-1e4, 0.0), (1e4, 1.0), (0.0, 0.5)])
def test_extreme_logits_do_not_overflow(extreme: float, expected: float, decide_with: Any) -> None:
    assert decide_with([extreme]).probability == expected


def test_calibration_scales_and_shifts_the_logit(decide_with: Any) -> None:
    calibration = {"method": "platt", "scale": 0.5, "bias": -1.0}

    decision = decide_with([3.0], calibration=calibration)

    assert decision.probability == pytest.approx(1 / (1 + math.exp(-0.5)))


def test_temperature_spreads_a_softmax(decide_with: Any) -> None:
    calibration = {"method": "temperature", "scale": 0.5}

    decision = decide_with([0.0, 2.0, 4.0], labels=THREE_LABELS, calibration=calibration)

    total = 1 + math.e + math.e**2
    assert decision.probabilities == pytest.approx(
        {"Normal": 1 / total, "Pneumonia": math.e / total, "TB Positive": math.e**2 / total}
    )
    assert sum(decision.probabilities.values()) == pytest.approx(1.0)


def test_two_logits_are_a_softmax_too(decide_with: Any) -> None:
    decision = decide_with([1.0, 1.0], labels=["TB Positive", "Normal"])

    assert decision.probabilities == {"TB Positive": 0.5, "Normal": 0.5}


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.39, "Normal"), (0.41, "TB Positive"), (0.99, "TB Positive")],
)
def test_the_threshold_separates_the_labels(
    probability: float, expected: str, decide_with: Any
) -> None:
    decision = decide_with([logit(probability)], operating_points=[point(0.4)])

    assert decision.prediction == expected
    assert decision.threshold == 0.4


def test_a_probability_at_the_threshold_is_positive(decide_with: Any) -> None:
    assert decide_with([0.0], operating_points=[point(0.5)]).prediction == "TB Positive"


def test_the_default_operating_point_is_used(decide_with: Any) -> None:
    decision = decide_with(
        [logit(0.3)],
        operating_points=[point(0.5), point(0.2, "triage")],
        default_operating_point="triage",
    )

    assert decision.operating_point == "triage"
    assert decision.prediction == "TB Positive"


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.24, "Normal"), (0.26, "Indeterminate"), (0.74, "Indeterminate"), (0.76, "TB Positive")],
)
def test_probabilities_inside_the_band_are_indeterminate(
    probability: float, expected: str, decide_with: Any
) -> None:
    decision = decide_with([logit(probability)], indeterminate_band=(0.25, 0.75))

    assert decision.prediction == expected


def test_the_bands_lower_end_belongs_to_it_and_its_upper_does_not(decide_with: Any) -> None:
    assert decide_with([0.0], indeterminate_band=(0.5, 0.6)).prediction == "Indeterminate"
    assert decide_with([0.0], indeterminate_band=(0.4, 0.5)).prediction == "TB Positive"


def test_of_more_labels_a_positive_above_its_threshold_wins_over_a_likelier_one(
    decide_with: Any,
) -> None:
    logits = [math.log(0.5), math.log(0.1), math.log(0.4)]

    decision = decide_with(logits, labels=THREE_LABELS, operating_points=[point(0.3)])

    assert decision.prediction == "TB Positive"


def test_of_more_labels_the_likeliest_other_is_told_below_the_threshold(decide_with: Any) -> None:
    logits = [math.log(0.2), math.log(0.35), math.log(0.45)]

    decision = decide_with(logits, labels=THREE_LABELS, operating_points=[point(0.5)])

    assert decision.prediction == "Pneumonia"
    assert decision.probability == pytest.approx(0.45)


def test_the_activation_map_is_scaled_to_a_maximum_of_one(decide_with: Any) -> None:
    maps = np.array([[[0.0, 1.0], [2.0, 4.0]]], dtype=np.float32)

    assert decide_with([0.0], maps=maps).activation_map == [[0.0, 0.25], [0.5, 1.0]]


def test_an_activation_map_of_zeros_stays_one(decide_with: Any) -> None:
    maps = np.zeros((1, 2, 2), dtype=np.float32)

    assert decide_with([0.0], maps=maps).activation_map == [[0.0, 0.0], [0.0, 0.0]]


def test_the_positive_labels_map_is_given(decide_with: Any) -> None:
    maps = np.zeros((3, 1, 2), dtype=np.float32)
    maps[0, 0, 0] = maps[1, 0, 0] = 5.0
    maps[2, 0, 1] = 3.0

    decision = decide_with([0.0, 0.0, 0.0], labels=THREE_LABELS, maps=maps)

    assert decision.activation_map == [[0.0, 1.0]]


def test_the_logits_are_told_as_they_were(decide_with: Any) -> None:
    calibration = {"method": "platt", "scale": 0.5, "bias": -1.0}

    assert decide_with([3.0], calibration=calibration).logits == [3.0]


def test_above_the_threshold_but_in_the_band_it_is_indeterminate(decide_with: Any) -> None:
    decision = decide_with(
        [logit(0.5)],
        operating_points=[point(0.4, "triage")],
        default_operating_point="triage",
        indeterminate_band=(0.4, 0.6),
    )

    assert decision.prediction == "Indeterminate"
    assert decision.probability >= decision.threshold
