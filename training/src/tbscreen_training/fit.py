"""The steps `fit` and `fine-tune`: which part of the network sees which inputs."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.bundle.store import sha256_of
from tbscreen_training.config import RunConfig
from tbscreen_training.dataset import Dataset, Sample
from tbscreen_training.determinism import make_deterministic
from tbscreen_training.errors import TrainingError
from tbscreen_training.features import FeatureStore
from tbscreen_training.files import read_csv, write_csv
from tbscreen_training.network import Network
from tbscreen_training.phase import EpochRow, PhasePlan, TrainingSet, ValidationSet, train_phase
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.views import CachedViews, ImageViews, Views

HEAD: Final = "head"
FINE_TUNE: Final = "fine-tune"


def fit_head(run: RunDirectory) -> None:
    """Fits the head over the frozen network, or continues to.

    Raises:
        TrainingError: the run is not split, the weights can not be had, an image can not be read.
    """
    make_deterministic(run.config.seed)
    run.forget_evaluation()
    run.fine_tuned_weights.unlink(missing_ok=True)
    # A fine-tuning checkpoint of another head must not be continued.
    shutil.rmtree(run.checkpoints(FINE_TUNE), ignore_errors=True)
    config, dataset = run.config, run.dataset()
    network = run.new_network(weights=config.fit.weights)
    network.freeze_up_to(None)
    plan = PhasePlan(
        name=HEAD,
        epochs=config.fit.epochs,
        patience=config.fit.patience,
        batch_size=config.fit.batch_size,
        learning_rate=config.fit.learning_rate,
        seed=config.seed,
    )
    train, validation = dataset.of_split("train"), dataset.of_split("validation")
    views: Views
    if config.fit.cache_features:
        store = _feature_store(run, network)
        stored = store.pooled(train, config.augmentation, config.fit.cache_features)
        views = CachedViews(stored, config.seed)
        # Compiled itself, the head would take its optimizer's state into the network's weights.
        model = keras.Model(network.head.input, network.head.output)
        inputs: NDArray[Any] = np.asarray(store.pooled(validation, None)[0], np.float32)
    else:
        views, model, inputs = _end_to_end(run, network, train, validation)
    _train(run, plan, dataset, model, views, inputs)
    network.save(run.head_weights)


def fine_tune(run: RunDirectory) -> None:
    """Trains the network's upper blocks together with the fitted head, at a lower rate.

    Raises:
        TrainingError: no head is fitted, or the configuration names no block.
    """
    make_deterministic(run.config.seed)
    run.forget_evaluation()
    run.fine_tuned_weights.unlink(missing_ok=True)
    config, dataset = run.config, run.dataset()
    boundary = config.fine_tune.boundary
    if boundary is None:
        raise TrainingError(
            "which blocks shall be trained? Name the lowest: --fine-tune-from-block"
        )
    network = run.trained_network()
    network.freeze_up_to(boundary)
    plan = PhasePlan(
        name=FINE_TUNE,
        epochs=config.fine_tune.epochs,
        patience=config.fine_tune.patience,
        batch_size=config.fit.batch_size,
        learning_rate=config.fine_tune.learning_rate,
        seed=config.seed,
        decays=True,
    )
    train, validation = dataset.of_split("train"), dataset.of_split("validation")
    views: Views
    if config.fit.cache_features:
        store = _feature_store(run, network)
        stored = store.maps(train, config.augmentation, config.fit.cache_features)
        views, model = CachedViews(stored, config.seed), network.tail(boundary)
        inputs: NDArray[Any] = np.asarray(store.maps(validation, None)[0], np.float32)
    else:
        views, model, inputs = _end_to_end(run, network, train, validation)
    _train(run, plan, dataset, model, views, inputs)
    network.save(run.fine_tuned_weights)


def _feature_store(run: RunDirectory, network: Network) -> FeatureStore:
    # The trunk below the boundary never changes, so the fine-tuned network's is the starting one.
    weights = run.config.fit.weights
    return FeatureStore(
        run.features,
        network,
        boundary=run.config.fine_tune.boundary,
        weights=sha256_of(Path(weights)) if Path(weights).is_file() else weights,
        tensors=run.tensors(),
        seed=run.config.seed,
    )


def _end_to_end(
    run: RunDirectory, network: Network, train: Sequence[Sample], validation: Sequence[Sample]
) -> tuple[Views, Any, NDArray[np.uint8]]:
    tensors, config = run.tensors(), run.config
    views = ImageViews(train, tensors, config.augmentation, config.seed)
    inputs = np.stack([tensors.load(sample) for sample in validation])
    return views, keras.Model(network.full.input, network.full.output), inputs


def _train(
    run: RunDirectory,
    plan: PhasePlan,
    dataset: Dataset,
    model: Any,
    views: Views,
    inputs: NDArray[Any],
) -> None:
    train = dataset.of_split("train")
    rows = train_phase(
        model,
        plan,
        TrainingSet(views, dataset.targets(train), _weights(train, run.config)),
        ValidationSet(
            inputs, dataset.targets(dataset.of_split("validation")), dataset.positive_index
        ),
        run.checkpoints(plan.name),
    )
    _write_history(run.history, plan.name, rows)


def _weights(train: Sequence[Sample], config: RunConfig) -> NDArray[np.float32]:
    if not config.fit.class_weights:
        return np.ones(len(train), np.float32)
    counts = Counter(sample.label for sample in train)
    return np.array(
        [len(train) / (len(counts) * counts[sample.label]) for sample in train], np.float32
    )


def _write_history(path: Path, phase: str, rows: list[EpochRow]) -> None:
    columns = [column.name for column in fields(EpochRow)]
    kept = read_csv(path) if path.is_file() and phase != HEAD else []
    others = [row for row in kept if row["phase"] != phase]
    write_csv(path, columns, [*others, *(asdict(row) for row in rows)])
