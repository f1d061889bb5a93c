import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tbscreen_training.delong import auc_covariance, auc_difference, auc_interval

# Hand-made; few enough for the pairs below.
TRUTH = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0], bool)
FIRST = np.array([0.9, 0.8, 0.4, 0.4, 0.5, 0.4, 0.3, 0.2, 0.1])
SECOND = np.array([0.6, 0.9, 0.1, 0.7, 0.65, 0.2, 0.5, 0.3, 0.3])


def pairwise(scores: np.ndarray) -> np.ndarray:
    """DeLong's kernel for each pair of a positive and another image (m, n)."""
    pairs = itertools.product(scores[TRUTH], scores[~TRUTH])
    values = [1.0 if x > y else 0.5 if x == y else 0.0 for x, y in pairs]
    return np.array(values).reshape(TRUTH.sum(), -1)


def test_the_covariance_is_that_of_the_structural_components_by_definition() -> None:
    aucs, covariance = auc_covariance(TRUTH, np.stack([FIRST, SECOND]))
    kernels = [pairwise(scores) for scores in (FIRST, SECOND)]
    above = np.stack([kernel.mean(axis=1) for kernel in kernels])
    below = np.stack([kernel.mean(axis=0) for kernel in kernels])
    assert aucs == pytest.approx([kernel.mean() for kernel in kernels])
    assert aucs[0] == pytest.approx(roc_auc_score(TRUTH, FIRST))
    assert covariance == pytest.approx(np.cov(above) / 4 + np.cov(below) / 5)


def test_the_interval_covers_the_true_auc_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    truth = np.arange(90) < 40
    true_auc = 0.9214  # of two normal distributions 2 apart: Phi(sqrt(2))
    covered = 0
    for _ in range(400):
        interval = auc_interval(truth, rng.normal(0, 1, 90) + 2 * truth)
        covered += interval.low <= true_auc <= interval.high
    assert 0.92 <= covered / 400 <= 0.985


def test_the_paired_interval_of_a_difference_is_narrower_than_two_apart() -> None:
    rng = np.random.default_rng(2)
    truth = np.arange(300) < 150
    shared = rng.normal(0, 1, 300) + truth
    first, second = shared + rng.normal(0, 0.3, 300), shared + rng.normal(0, 0.3, 300)
    difference = auc_difference(truth, first, second)
    apart = auc_interval(truth, first)
    assert difference.value == pytest.approx(
        roc_auc_score(truth, first) - roc_auc_score(truth, second)
    )
    assert difference.high - difference.low < 0.7 * (apart.high - apart.low)


def test_a_score_beside_itself_differs_by_nothing() -> None:
    difference = auc_difference(TRUTH, FIRST, FIRST)
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_a_perfect_order_of_few_images_is_no_certainty() -> None:
    few = auc_interval(np.arange(10) < 5, -np.arange(10.0))
    many = auc_interval(np.arange(400) < 200, -np.arange(400.0))
    assert few.value == many.value == many.high == 1
    assert few.low < 0.7 < 0.95 < many.low


def test_a_single_image_of_a_class_tells_nothing() -> None:
    one = auc_interval(np.arange(5) < 1, -np.arange(5.0))
    assert (one.low, one.high) == (0, 1)
    difference = auc_difference(np.arange(5) < 1, -np.arange(5.0), np.arange(5.0))
    assert (difference.low, difference.high) == (-1, 1)
