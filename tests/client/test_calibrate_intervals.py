import random

import pytest

from tbscreen.calibrate.intervals import (
    TooDemandingError,
    interval_at_rank,
    negatives_needed,
    positives_needed,
    rank_for_the_next,
    wilson,
    wilson_half_width,
)
from tbscreen.calibrate.platt import NoFitError, fit_platt


def test_the_interval_at_a_rank_is_the_beta_distributions() -> None:
    # scipy.stats.beta.ppf([0.025, 0.975], 38, 4)
    assert interval_at_rank(38, 41) == pytest.approx((0.800754, 0.972773), abs=1e-6)
    # Beta(n, 1) has the closed form q ** (1 / n).
    assert interval_at_rank(20, 20) == pytest.approx((0.025 ** (1 / 20), 0.975 ** (1 / 20)))


def test_wilson_gives_the_published_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (wilson(0, 10)[0], wilson(10, 10)[1]) == (0.0, 1.0)


def test_a_threshold_at_the_rank_finds_the_next_image_as_often_as_promised() -> None:
    rng, images, target = random.Random(3), 41, 0.9
    rank = rank_for_the_next(target, images)
    found, naive, runs = 0, 0, 4000
    for _ in range(runs):
        scores = sorted((rng.random() for _ in range(images)), reverse=True)
        following = rng.random()
        found += following >= scores[rank - 1]
        naive += following >= scores[rank - 2]
    assert found / runs == pytest.approx(rank / (images + 1), abs=0.015)
    assert found / runs >= target > naive / runs


def test_the_positives_needed_keep_the_interval_above_its_bound_and_one_fewer_do_not() -> None:
    needed = positives_needed(0.9, 0.8)
    for images in range(needed, 3 * needed):
        assert interval_at_rank(rank_for_the_next(0.9, images), images)[0] >= 0.8
    fewer = needed - 1
    assert interval_at_rank(rank_for_the_next(0.9, fewer), fewer)[0] < 0.8


@pytest.mark.parametrize("specificity", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("half_width", [0.05, 0.1])
def test_the_negatives_needed_are_the_fewest_for_the_half_width(
    specificity: float, half_width: float
) -> None:
    needed = negatives_needed(specificity, half_width)
    assert wilson_half_width(specificity, needed) <= half_width
    assert wilson_half_width(specificity, needed - 1) > half_width


def test_what_no_number_of_images_can_show_is_refused() -> None:
    with pytest.raises(TooDemandingError):
        positives_needed(0.9, 0.899)
    with pytest.raises(TooDemandingError):
        negatives_needed(0.5, 0.001)


def test_platt_scaling_finds_the_scale_and_bias_that_made_the_labels() -> None:
    rng = random.Random(5)
    logits = [rng.gauss(2, 6) for _ in range(20_000)]
    sick = [rng.random() < 1 / (1 + 2.718281828 ** -(0.4 * logit - 1.2)) for logit in logits]
    fitted = fit_platt(logits, sick)
    assert (fitted.scale, fitted.bias) == pytest.approx((0.4, -1.2), abs=0.04)
    assert 0.37 < fitted.scale_low < fitted.scale


def test_separable_images_do_not_drive_the_slope_to_infinity() -> None:
    fitted = fit_platt([-3.0, 3.0] * 50, [False, True] * 50)
    assert 0 < fitted.scale < 10


def test_a_slope_of_nothing_is_not_above_zero() -> None:
    rng = random.Random(1)
    fitted = fit_platt([rng.gauss(0, 1) for _ in range(200)], [n % 2 == 0 for n in range(200)])
    assert fitted.scale_low < 0
    with pytest.raises(NoFitError, match="same score"):
        fit_platt([1.0] * 20, [True, False] * 10)
