from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tbscreen_training.baselines import (
    SourceGuesses,
    guess_sources,
    measure_predictability,
    score_by_histogram,
)
from tbscreen_training.dataset import Dataset, Sample
from tbscreen_training.tensors import TensorCache

Maker = Callable[..., list[Sample]]


@pytest.fixture
def samples(make_samples: Maker) -> list[Sample]:
    """120 images: `a` and `b` hold both labels, `few` has too few groups to be told apart."""
    rows = [("ab"[n % 2], ("TB Positive", "Normal")[n // 2 % 2], f"g{n}") for n in range(100)]
    return make_samples([*rows, *[("few", "Normal", "one")] * 20])


def test_a_source_that_is_in_the_features_is_told_and_one_that_is_not_is_not(
    samples: list[Sample],
) -> None:
    rng = np.random.default_rng(1)
    blind = rng.normal(size=(120, 5))
    telling = blind + 5 * np.array([[sample.source == "a"] for sample in samples])
    for features, expected in ((blind, 0.5), (telling, 1.0)):
        guesses = guess_sources(features, samples, seed=1)
        assert guesses is not None
        by_label = {row.within: row for row in measure_predictability(guesses, seed=1)}
        assert set(by_label) == {"all", "Normal", "TB Positive"}
        assert by_label["all"].images == 100, "a source of one group can not be cross-validated"
        for row in by_label.values():
            assert row.chance == 0.5
            assert row.balanced_accuracy.value == pytest.approx(expected, abs=0.17)
            assert row.balanced_accuracy.low <= row.balanced_accuracy.value


def test_a_group_is_never_predicted_by_a_model_that_saw_it(make_samples: Maker) -> None:
    # Features that name the group and nothing else tell its source to whoever has seen it.
    rows = [("ab"[n % 2], "Normal", f"g{n}") for n in range(40) for _ in range(5)]
    features = np.repeat(np.eye(40), 5, axis=0)
    guesses = guess_sources(features, make_samples(rows), seed=1)
    assert guesses is not None
    (row, _) = measure_predictability(guesses, seed=1)
    assert row.balanced_accuracy.value < 0.7


def test_one_source_can_not_be_told_apart(make_samples: Maker) -> None:
    rows = [("a", "Normal", f"g{n}") for n in range(30)]
    assert guess_sources(np.zeros((30, 2)), make_samples(rows), seed=1) is None


def test_guesses_read_back_as_they_were_saved(tmp_path: Path, samples: list[Sample]) -> None:
    guesses = guess_sources(np.random.default_rng(1).normal(size=(120, 3)), samples, seed=1)
    assert guesses is not None
    guesses.save(tmp_path / "guesses.csv")
    loaded = SourceGuesses.load(tmp_path / "guesses.csv")
    assert measure_predictability(loaded, seed=1) == measure_predictability(guesses, seed=1)


class GreyTensors(TensorCache):
    """Images of noise; those whose SHA-256 begins with 0-7 are brighter."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))

    def load(self, sample: Sample) -> np.ndarray:
        rng = np.random.default_rng(int(sample.sha256[:8], 16))
        return rng.integers(0, 100, (16, 16, 1), dtype=np.uint8) + np.uint8(
            60 if sample.sha256[0] < "8" else 0
        )


@pytest.mark.parametrize("labels", [("Normal", "TB Positive"), ("Normal", "Other", "TB Positive")])
def test_the_histogram_tells_brightness_by_a_logit_of_each_class(
    make_samples: Maker, labels: tuple[str, ...]
) -> None:
    made = make_samples([("a", "", f"g{n}") for n in range(160)])
    samples = [
        replace(
            sample,
            label="TB Positive"
            if sample.sha256[0] < "8"
            else labels[number // 2 % (len(labels) - 1)],
            split="train" if number % 2 else "test",
        )
        for number, sample in enumerate(made)
    ]
    dataset = Dataset(tuple(samples), labels, "TB Positive")
    test = dataset.of_split("test")
    logits = score_by_histogram(dataset, test, GreyTensors(), seed=1)
    assert logits.shape == (len(test), 1 if len(labels) == 2 else 3)
    truth = [sample.label == "TB Positive" for sample in test]
    assert roc_auc_score(truth, logits[:, -1]) > 0.99
