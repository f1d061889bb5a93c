"""The step `folds`: trainings of their own that leave sources out, and some on shuffled labels.

Each is trained as the run is, on the same stored features, and scored on what it never saw, as it
is and with the lungs blanked. Which recipe is better is decided by these, not by the run's own
splits.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_training.config import LEFT_OUT, SPLITS, RunConfig
from tbscreen_training.controls import LUNGS_BLANKED
from tbscreen_training.dataset import Dataset, Sample
from tbscreen_training.determinism import make_deterministic
from tbscreen_training.errors import TrainingError
from tbscreen_training.features import FeatureStore
from tbscreen_training.files import write_atomically
from tbscreen_training.fit import feature_store, train_head, train_upper_blocks
from tbscreen_training.left_out import LABEL_SHUFFLE, THIS_MODEL, TRAINING, FoldRecord
from tbscreen_training.lung_masks import lungs_told
from tbscreen_training.network import Network
from tbscreen_training.predictions import PLAIN, Predictions
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.scoring import table_of

_log = logging.getLogger(__name__)
_BATCH: Final = 64


def train_folds(run: RunDirectory) -> None:
    """Trains and scores each fold that the run still lacks.

    Raises:
        TrainingError: the run is not split, stores no features, or a fold names no source of it.
    """
    config, dataset = run.config, run.dataset()
    if not config.fit.cache_features:
        raise TrainingError("folds train on stored features: --cache-features must be above 0")
    shuffled = [
        shuffle_labels(dataset, seed=config.seed + number)
        for number in range(config.label_shuffles)
    ]
    wanted = {
        name: ([divided], (LEFT_OUT,))
        for name, divided in planned_folds(dataset, config.folds).items()
    } | {LABEL_SHUFFLE: (shuffled, ("validation", "test"))}
    for folder in run.folds.glob("*"):
        if folder not in map(run.fold, wanted):
            shutil.rmtree(folder)
    for name, (divisions, splits) in wanted.items():
        if not _is_done(run.fold(name), _recipe(config, divisions)):
            _train_and_score(run, name, divisions, splits)


def _recipe(config: RunConfig, divisions: Sequence[Dataset]) -> str:
    """Returns what decides a fold's outcome, as a digest."""
    parts = [
        *(part.model_dump(mode="json") for part in (config.fit, config.fine_tune)),
        *(config.augmentation.model_dump(), config.seed),
        [[(s.sha256, s.label, s.split) for s in divided.samples] for divided in divisions],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _is_done(folder: Path, recipe: str) -> bool:
    """Whether this very fold was trained and scored; what another recipe left is removed."""
    file = folder / "recipe"
    if not file.is_file() or file.read_text() != recipe:
        shutil.rmtree(folder, ignore_errors=True)
        # Written before the first checkpoint, so that none of another recipe is continued.
        write_atomically(file, recipe.encode())
    return (folder / "predictions.csv").is_file()


def _train_and_score(
    run: RunDirectory, name: str, divisions: Sequence[Dataset], splits: Sequence[str]
) -> None:
    config, folder = run.config, run.fold(name)
    started = time.monotonic()
    tables = []
    for number, divided in enumerate(divisions):
        make_deterministic(config.seed)
        network = run.new_network(weights=config.fit.weights)
        store = feature_store(run, network)
        checkpoints = folder / "checkpoints" / str(number)
        train_head(network, config, divided, store, checkpoints / "head")
        if config.fine_tune.boundary is not None:
            train_upper_blocks(network, config, divided, store, checkpoints / "fine-tune")
        table = _score(run, network, divided, store, splits)
        if len(divisions) > 1:
            # What varies from training to training is the training: it is the unit to resample.
            files = np.array([f"{file} ({number})" for file in table.files])
            table = replace(table, files=files, groups=np.full(len(table), f"{TRAINING}{number}"))
        tables.append(table)
    seconds = time.monotonic() - started
    _write_record(folder, name, divisions[0], seed=config.seed, seconds=seconds)
    Predictions.stack(tables).save(folder / "predictions.csv")
    _log.info("fold %s: %.0f s", name, seconds)


def planned_folds(dataset: Dataset, folds: dict[str, tuple[str, ...]]) -> dict[str, Dataset]:
    """Returns the data set as each fold divides it.

    Args:
        dataset: as the run divides it.
        folds: sources to leave out, by the fold's name; without any, each source that holds both
            the positive class and another is left out in turn.

    Raises:
        TrainingError: a fold names no source of the data, or leaves a class without training.
    """
    known = {sample.source for sample in dataset.samples if sample.split != LEFT_OUT}
    wanted = folds or {source: (source,) for source in _both_class_sources(dataset)}
    planned = {}
    for name, sources in wanted.items():
        if name in (LABEL_SHUFFLE, THIS_MODEL):
            raise TrainingError(f"--fold {name}: that is the name of another table; choose another")
        if not known.issuperset(sources):
            raise TrainingError(f"--fold {name}: the data have the sources {sorted(known)}")
        scored = {sample.group for sample in dataset.samples if sample.source in sources}
        samples = tuple(
            replace(sample, split=_split_in_fold(sample, sources, scored))
            for sample in dataset.samples
        )
        divided = Dataset(samples, dataset.labels, dataset.positive)
        for split in ("train", "validation"):
            if {s.label for s in divided.of_split(split)} != set(dataset.labels):
                raise TrainingError(f"--fold {name}: without {sources} a class has no image left")
        planned[name] = divided
    return planned


def shuffle_labels(dataset: Dataset, *, seed: int) -> Dataset:
    """Deals the labels of train and validation anew, in the same proportion within each source.

    Dealt over all sources at once, the label would by chance go with some source, and a network
    that tells sources would be off 0.5 for that.
    """
    rng = np.random.default_rng(seed)
    dealt = list(dataset.samples)
    for split in ("train", "validation"):
        rows = dataset.rows_of(split)
        labels = sorted(dataset.samples[row].label for row in rows)
        # Rows in the order of their sources, at random within each, take every n-th label in turn.
        order = sorted(rows, key=lambda row: (dataset.samples[row].source, rng.random()))
        spread = np.argsort(np.modf(np.arange(len(labels)) * 0.6180339887)[0], kind="stable")
        for row, place in zip(order, np.argsort(spread), strict=True):
            dealt[row] = replace(dealt[row], label=labels[place])
    return Dataset(tuple(dealt), dataset.labels, dataset.positive)


def _split_in_fold(sample: Sample, sources: Sequence[str], scored: set[str]) -> str:
    if sample.source in sources:
        return LEFT_OUT
    # What the run leaves out is not there for its folds; nor is what repeats a scored image.
    return "" if sample.split == LEFT_OUT or sample.group in scored else sample.split


def _both_class_sources(dataset: Dataset) -> list[str]:
    kinds: dict[str, set[bool]] = {}
    for sample in dataset.samples:
        if sample.split == LEFT_OUT:
            continue
        kinds.setdefault(sample.source, set()).add(sample.label == dataset.positive)
    several = len(kinds) > 1
    return sorted(source for source, seen in kinds.items() if len(seen) == 2 and several)


def _score(
    run: RunDirectory,
    network: Network,
    divided: Dataset,
    store: FeatureStore,
    splits: Sequence[str],
) -> Predictions:
    dataset, boundary = run.dataset(), run.config.fine_tune.boundary
    if boundary is None:
        model, load = network.head, store.pooled
    else:
        model, load = network.tail(boundary), store.maps
    rows = np.concatenate([divided.rows_of(split) for split in splits])
    # The labels are the true ones, whatever the fold was trained on.
    samples = [
        replace(dataset.samples[row], split=divided.samples[row].split) for row in rows.tolist()
    ]
    plain = _predict(model, load("plain")[0], rows)
    blanked = _predict(model, load("blanked")[0], rows)
    # Where the lungs are not told there is nothing to take away, and no row.
    told = lungs_told(samples, run.tensors())
    with_lungs = [sample for sample, is_told in zip(samples, told, strict=True) if is_told]
    return Predictions.stack(
        [
            table_of(dataset, samples, PLAIN, plain),
            table_of(dataset, with_lungs, LUNGS_BLANKED, blanked[told]),
        ]
    )


def _predict(model: Any, features: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    batches = [rows[low : low + _BATCH] for low in range(0, len(rows), _BATCH)]
    return np.concatenate(
        [model.predict_on_batch(np.asarray(features[batch], np.float32)) for batch in batches]
    ).astype(np.float64)


def _write_record(folder: Path, name: str, divided: Dataset, *, seed: int, seconds: float) -> None:
    record = FoldRecord(
        name=name,
        left_out=tuple(sorted({s.source for s in divided.of_split(LEFT_OUT)})),
        trained_on=tuple(sorted({s.source for s in divided.of_split(SPLITS[0])})),
        seed=seed,
        seconds=round(seconds, 1),
    )
    write_atomically(folder / "fold.json", (json.dumps(record.model_dump(), indent=2)).encode())
