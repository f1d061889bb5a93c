"""One phase of training: epochs with early stopping, a checkpoint after each, and resumption.

Every epoch depends on the checkpoint before it, the seed and its number alone. So a run that was
killed and resumed ends with the weights of one that was not.
"""

import json
import logging
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from tbscreen_training.activation import class_probabilities
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import replacing
from tbscreen_training.views import Views

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhasePlan:
    """How one phase is trained."""

    name: str
    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    seed: int
    decays: bool = False

    def rate_in(self, epoch: int) -> float:
        """Returns the learning rate of an epoch: with decay, half a cosine from all to nothing."""
        if not self.decays:
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2


@dataclass(frozen=True)
class TrainingSet:
    """The training images as the phase's model sees them.

    Attributes:
        views: gives the inputs.
        targets: place of each image's class among the labels (n,).
        shares: of the draws that fall to each image (n,); they sum to 1.
        blanked: gives the inputs with the lungs blanked.
        blanked_share: of each batch. Their target is every class alike: without lungs there is
            nothing to tell, and a network that can tell all the same is pulled back.
    """

    views: Views
    targets: NDArray[np.int64]
    shares: NDArray[np.float64]
    blanked: Views | None = None
    blanked_share: float = 0.0


@dataclass(frozen=True)
class ValidationSet:
    """The validation images as the phase's model sees them: inputs (n, …) and targets (n,)."""

    inputs: NDArray[Any]
    targets: NDArray[np.int64]
    positive: int


@dataclass(frozen=True)
class EpochRow:
    """A line of history.csv. Losses are natural logarithms; validation is unweighted."""

    phase: str
    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    val_auc: float
    seconds: float


@dataclass
class _Progress:
    rows: list[EpochRow] = field(default_factory=list)

    @property
    def best(self) -> EpochRow | None:
        return min(self.rows, key=lambda row: row.val_loss, default=None)

    def is_over(self, plan: PhasePlan) -> bool:
        waited = len(self.rows) - self.best.epoch if self.best else 0
        stops_early = not plan.decays and waited >= plan.patience
        return len(self.rows) >= plan.epochs or stops_early


class _EpochBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    def __init__(self, training: TrainingSet, plan: PhasePlan, epoch: int, *, classes: int) -> None:
        # Threads overlap decoding with training; Keras keeps the batches' order.
        super().__init__(workers=2, max_queue_size=4)
        self._training = training
        self._epoch = epoch
        self._classes = classes
        self._blanked = 0
        if training.blanked is not None:
            self._blanked = round(plan.batch_size * training.blanked_share)
        self._size = plan.batch_size - self._blanked
        rng = np.random.default_rng([plan.seed, epoch])
        count = len(training.targets)
        self._order = rng.choice(count, size=count, p=training.shares)
        self._unlit = rng.choice(count, size=(len(self), self._blanked), p=training.shares)

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._size)

    def __getitem__(self, batch: int) -> tuple[NDArray[Any], NDArray[Any]]:
        training = self._training
        indices = self._order[batch * self._size : (batch + 1) * self._size]
        inputs = training.views.batch(indices, self._epoch)
        targets = np.eye(max(self._classes, 2), dtype=np.float32)[training.targets[indices]]
        if training.blanked is not None and self._blanked:
            inputs = np.concatenate(
                [inputs, training.blanked.batch(self._unlit[batch], self._epoch)]
            )
            nothing = np.full((self._blanked, targets.shape[1]), 1 / targets.shape[1], np.float32)
            targets = np.concatenate([targets, nothing])
        return inputs, targets[:, 1:] if self._classes == 1 else targets


class _LabelledAccuracy(keras.metrics.Mean):  # type: ignore[misc]  # Keras has no types
    """Share of hits among the images that have a class; blanked ones have none."""

    def update_state(self, truth: Any, logits: Any, sample_weight: Any = None) -> None:
        del sample_weight
        ops = keras.ops
        if truth.shape[-1] == 1:
            hit = ops.equal(truth[:, 0] > 0.5, logits[:, 0] > 0.0)
            has_class = ops.abs(truth[:, 0] - 0.5) > 0.25
        else:
            hit = ops.equal(ops.argmax(truth, axis=-1), ops.argmax(logits, axis=-1))
            has_class = ops.max(truth, axis=-1) > 0.75
        super().update_state(ops.cast(hit, "float32"), ops.cast(has_class, "float32"))


def train_phase(
    model: Any, plan: PhasePlan, training: TrainingSet, validation: ValidationSet, folder: Path
) -> list[EpochRow]:
    """Trains `model` and leaves it with the weights of its best epoch, or of its last.

    Where the rate decays, the last epoch is taken: the in-distribution validation split can not
    tell an epoch that reads the lungs from one that reads the source.

    An unfinished phase in `folder` is continued, a finished one only loaded.

    Args:
        model: inputs to logits; what is trainable in it is trained.
        plan: epochs, rates, seed.
        training: as the model sees it.
        validation: decides the best epoch, by the least loss.
        folder: of this phase's checkpoints.

    Returns:
        one row for each epoch.
    """
    binary = model.output.shape[-1] == 1
    _compile(model, plan, binary=binary)
    progress = _restore(model, folder / "last.npz")
    if progress.rows:
        _log.info("%s: continues after epoch %d", plan.name, len(progress.rows))
    while not progress.is_over(plan):
        epoch = len(progress.rows) + 1
        row = _train_epoch(model, plan, training, validation, epoch)
        if plan.decays or progress.best is None or row.val_loss < progress.best.val_loss:
            with replacing(folder / "best.npz") as partial:
                np.savez(partial, *[np.asarray(variable) for variable in model.variables])
        progress.rows.append(row)
        _store(model, progress, folder / "last.npz")
        _log.info(
            "%s epoch %d: loss %.4f, validation loss %.4f, accuracy %.3f, AUC %.4f (%.1f s)",
            *(plan.name, epoch, row.loss, row.val_loss, row.val_accuracy, row.val_auc, row.seconds),
        )
    with np.load(folder / "best.npz") as best:
        _assign(model.variables, [best[name] for name in best.files])
    return progress.rows


def _compile(model: Any, plan: PhasePlan, *, binary: bool) -> None:
    losses = keras.losses
    loss = losses.BinaryCrossentropy if binary else losses.CategoricalCrossentropy
    model.compile(
        optimizer=keras.optimizers.Adam(plan.learning_rate),
        loss=loss(from_logits=True),
        metrics=[_LabelledAccuracy(name="accuracy")],
    )
    model.optimizer.build(model.trainable_variables)


def _train_epoch(
    model: Any, plan: PhasePlan, training: TrainingSet, validation: ValidationSet, epoch: int
) -> EpochRow:
    started = time.monotonic()
    model.optimizer.learning_rate = plan.rate_in(epoch)
    fitted = model.fit(
        _EpochBatches(training, plan, epoch, classes=model.output.shape[-1]),
        initial_epoch=epoch - 1,
        epochs=epoch,
        shuffle=False,
        verbose=1 if sys.stderr.isatty() else 0,
    )
    shares = class_probabilities(
        model.predict(validation.inputs, batch_size=plan.batch_size, verbose=0)
    )
    if not np.isfinite(shares).all():
        raise TrainingError(f"{plan.name} diverged in epoch {epoch}: lower the learning rate")
    truth = validation.targets
    return EpochRow(
        phase=plan.name,
        epoch=epoch,
        loss=float(fitted.history["loss"][0]),
        accuracy=float(fitted.history["accuracy"][0]),
        val_loss=float(log_loss(truth, shares, labels=np.arange(shares.shape[1]))),
        val_accuracy=float((shares.argmax(axis=1) == truth).mean()),
        val_auc=float(roc_auc_score(truth == validation.positive, shares[:, validation.positive])),
        seconds=time.monotonic() - started,
    )


def _store(model: Any, progress: _Progress, path: Path) -> None:
    state = [np.asarray(v) for v in (*model.variables, *model.optimizer.variables)]
    rows = json.dumps([asdict(row) for row in progress.rows])
    with replacing(path) as partial:
        np.savez(partial, *state, rows=np.array(rows))


def _restore(model: Any, path: Path) -> _Progress:
    try:
        with np.load(path) as stored:
            rows = [EpochRow(**row) for row in json.loads(str(stored["rows"]))]
            state = [stored[name] for name in stored.files if name != "rows"]
    except FileNotFoundError:
        return _Progress()
    _assign([*model.variables, *model.optimizer.variables], state)
    return _Progress(rows)


def _assign(variables: list[Any], values: list[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
