from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from tbscreen_training.determinism import make_deterministic
from tbscreen_training.errors import TrainingError
from tbscreen_training.phase import (
    EpochRow,
    PhasePlan,
    TrainingSet,
    ValidationSet,
    train_phase,
)
from tbscreen_training.views import CachedViews

RNG = np.random.default_rng(3)
FEATURES = RNG.normal(size=(120, 16)).astype(np.float16)
TARGETS = (FEATURES[:, 0] + 0.3 * RNG.normal(size=120) > 0).astype(np.int64)
EVERY = np.arange(120)
ALIKE = np.full(120, 1 / 120)
PLAN = PhasePlan(name="head", epochs=6, patience=6, batch_size=16, learning_rate=1e-2, seed=1)


class Interrupted(Exception):
    pass


class InterruptedViews:
    """Views that fail in one epoch, as a killed process would."""

    def __init__(self, views: CachedViews, epoch: int) -> None:
        self._views = views
        self._epoch = epoch

    def batch(self, indices: NDArray[np.int64], epoch: int) -> NDArray[Any]:
        if epoch == self._epoch:
            raise Interrupted
        return self._views.batch(indices, epoch)


def make_model(classes: int = 2) -> Any:
    make_deterministic(1)
    inputs = keras.Input((16,))
    hidden = keras.layers.Dense(8, activation="relu")(inputs)
    dropped = keras.layers.Dropout(0.5, seed=1)(hidden)
    return keras.Model(inputs, keras.layers.Dense(1 if classes == 2 else classes)(dropped))


def training_set(targets: NDArray[np.int64] = TARGETS) -> TrainingSet:
    rng = np.random.default_rng(4)
    noisy = [FEATURES + rng.normal(0, 0.1, FEATURES.shape).astype(np.float16) for _ in range(3)]
    return TrainingSet(CachedViews(noisy, EVERY, 1), targets, ALIKE)


def validation_set(targets: NDArray[np.int64] = TARGETS) -> ValidationSet:
    return ValidationSet(FEATURES.astype(np.float32), targets, int(targets.max()))


def weights_of(model: Any) -> bytes:
    return b"".join(np.asarray(variable).tobytes() for variable in model.variables)


def without_time(rows: list[EpochRow]) -> Iterator[tuple[Any, ...]]:
    return ((r.epoch, r.loss, r.accuracy, r.val_loss, r.val_auc) for r in rows)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    results = []
    for name in ("one", "two"):
        model = make_model()
        rows = train_phase(model, PLAN, training_set(), validation_set(), tmp_path / name)
        results.append((weights_of(model), list(without_time(rows))))
    assert results[0] == results[1]


def test_an_interrupted_phase_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = make_model()
    rows = train_phase(whole, PLAN, training_set(), validation_set(), tmp_path / "whole")
    broken = TrainingSet(InterruptedViews(training_set().views, 4), TARGETS, ALIKE)
    with pytest.raises(Interrupted):
        train_phase(make_model(), PLAN, broken, validation_set(), tmp_path / "resumed")
    resumed = make_model()
    rows_resumed = train_phase(
        resumed, PLAN, training_set(), validation_set(), tmp_path / "resumed"
    )
    assert list(without_time(rows_resumed)) == list(without_time(rows))
    assert weights_of(resumed) == weights_of(whole)


def test_the_phase_learns_and_keeps_its_best_epoch(tmp_path: Path) -> None:
    model = make_model()
    plan = PhasePlan(name="head", epochs=15, patience=15, batch_size=16, learning_rate=5e-2, seed=1)
    rows = train_phase(model, plan, training_set(), validation_set(), tmp_path)
    best = min(rows, key=lambda row: row.val_loss)
    assert best.val_auc > 0.95
    logits = model.predict(FEATURES.astype(np.float32), verbose=0)
    assert float(((logits[:, 0] > 0) == TARGETS).mean()) == pytest.approx(best.val_accuracy)


def test_training_stops_when_validation_no_longer_improves(tmp_path: Path) -> None:
    plan = PhasePlan(name="head", epochs=200, patience=3, batch_size=16, learning_rate=5e-2, seed=1)
    shuffled = validation_set(np.random.default_rng(9).permutation(TARGETS))
    rows = train_phase(make_model(), plan, training_set(), shuffled, tmp_path)
    best = min(rows, key=lambda row: row.val_loss).epoch
    assert len(rows) == best + 3 < 200


def test_a_diverging_phase_says_so(tmp_path: Path) -> None:
    plan = PhasePlan(name="head", epochs=6, patience=6, batch_size=16, learning_rate=1e38, seed=1)
    with pytest.raises(TrainingError, match="diverged in epoch 1: lower the learning rate"):
        train_phase(make_model(), plan, training_set(), validation_set(), tmp_path)


def test_three_classes_have_a_logit_each(tmp_path: Path) -> None:
    targets = np.digitize(FEATURES[:, 0], (-0.5, 0.5)).astype(np.int64)
    plan = PhasePlan(name="head", epochs=12, patience=12, batch_size=16, learning_rate=5e-2, seed=1)
    model = make_model(classes=3)
    rows = train_phase(model, plan, training_set(targets), validation_set(targets), tmp_path)
    assert model.output.shape[1] == 3
    assert rows[-1].val_accuracy > 0.7


def test_a_decaying_phase_ends_with_its_last_epoch(tmp_path: Path) -> None:
    plan = PhasePlan("fine-tune", 5, 5, 16, learning_rate=5e-2, seed=1, decays=True)
    model = make_model()
    shuffled = validation_set(np.random.default_rng(9).permutation(TARGETS))
    rows = train_phase(model, plan, training_set(), shuffled, tmp_path)
    logits = model.predict(FEATURES.astype(np.float32), verbose=0)[:, 0]
    assert len(rows) == 5
    assert float(((logits > 0) == shuffled.targets).mean()) == pytest.approx(rows[-1].val_accuracy)


def test_blanked_images_are_taught_to_say_nothing(tmp_path: Path) -> None:
    # The second feature tells the class as well as the first, and is all that blanking leaves.
    both = FEATURES.copy()
    both[:, 1] = both[:, 0]
    left = both.copy()
    left[:, 0] = 0
    plan = PhasePlan(name="head", epochs=40, patience=40, batch_size=16, learning_rate=2e-2, seed=1)
    spreads = []
    for share in (0.0, 0.5):
        model = make_model()
        training = TrainingSet(
            CachedViews([both], EVERY, 1),
            TARGETS,
            ALIKE,
            blanked=CachedViews([left], EVERY, 1),
            blanked_share=share,
        )
        validation = ValidationSet(both.astype(np.float32), TARGETS, 1)
        rows = train_phase(model, plan, training, validation, tmp_path / str(share))
        assert rows[-1].val_auc > 0.9
        spreads.append(model.predict(left.astype(np.float32), verbose=0).std())
    assert spreads[1] < 0.5 * spreads[0]
