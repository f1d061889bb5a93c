"""The step `folds`: trainings of their own that leave sources out, and one on shuffled labels.

Each is trained as the run is, on the same stored features, and scored on what it never saw, as it
is and with the lungs blanked. Which recipe is better is decided by these, not by the run's own
splits. Where the run itself leaves sources out, its own model is scored on them too, as a fold of
its own.
"""

import json
import logging
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
from tbscreen_training.left_out import LABEL_SHUFFLE, FoldRecord
from tbscreen_training.network import Network
from tbscreen_training.predictions import PLAIN, Predictions
from tbscreen_training.run_directory import RunDirectory

_log = logging.getLogger(__name__)
_BATCH: Final = 64
_OWN: Final = "left-out-of-the-run"


def train_folds(run: RunDirectory) -> None:
    """Trains and scores each fold that the run still lacks.

    Raises:
        TrainingError: the run is not split, stores no features, or a fold names no source of it.
    """
    config, dataset = run.config, run.dataset()
    if not config.fit.cache_features:
        raise TrainingError("folds train on stored features: --cache-features must be above 0")
    if dataset.of_split(LEFT_OUT) and not (run.folds / _OWN / "predictions.csv").is_file():
        started = time.monotonic()
        _score_fold(run, _OWN, run.trained_network(), dataset, (LEFT_OUT,), started)
    for name, divided in planned_folds(dataset, config.folds, seed=config.seed).items():
        folder = run.folds / name
        if (folder / "predictions.csv").is_file():
            continue
        make_deterministic(config.seed)
        started = time.monotonic()
        network = run.new_network(weights=config.fit.weights)
        store = feature_store(run, network)
        train_head(network, config, divided, store, folder / "checkpoints" / "head")
        if config.fine_tune.boundary is not None:
            train_upper_blocks(
                network, config, divided, store, folder / "checkpoints" / "fine-tune"
            )
        splits = ("validation", "test") if name == LABEL_SHUFFLE else (LEFT_OUT,)
        _score_fold(run, name, network, divided, splits, started)


def _score_fold(
    run: RunDirectory,
    name: str,
    network: Network,
    divided: Dataset,
    splits: Sequence[str],
    started: float,
) -> None:
    store = feature_store(run, run.new_network(weights=run.config.fit.weights))
    predictions = _score(network, run.config, run.dataset(), divided, store, splits)
    seconds = time.monotonic() - started
    _write_record(run.folds / name, name, divided, seed=run.config.seed, seconds=seconds)
    predictions.save(run.folds / name / "predictions.csv")
    _log.info("fold %s: %.0f s", name, seconds)


def planned_folds(
    dataset: Dataset, folds: dict[str, tuple[str, ...]], *, seed: int
) -> dict[str, Dataset]:
    """Returns the data set as each fold divides it.

    Args:
        dataset: as the run divides it.
        folds: sources to leave out, by the fold's name; without any, each source that holds both
            the positive class and another is left out in turn.
        seed: of the shuffled labels.

    Raises:
        TrainingError: a fold names no source of the data, or leaves a class without training.
    """
    known = {sample.source for sample in dataset.samples if sample.split != LEFT_OUT}
    wanted = folds or {source: (source,) for source in _both_class_sources(dataset)}
    planned = {}
    for name, sources in wanted.items():
        if not known.issuperset(sources):
            raise TrainingError(f"--fold {name}: the data have the sources {sorted(known)}")
        # What the run leaves out is no longer there for its folds.
        samples = tuple(
            replace(sample, split=_split_in_fold(sample, sources)) for sample in dataset.samples
        )
        divided = Dataset(samples, dataset.labels, dataset.positive)
        for split in ("train", "validation"):
            if {s.label for s in divided.of_split(split)} != set(dataset.labels):
                raise TrainingError(f"--fold {name}: without {sources} a class has no image left")
        planned[name] = divided
    planned[LABEL_SHUFFLE] = shuffle_labels(dataset, seed=seed)
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


def _split_in_fold(sample: Sample, sources: Sequence[str]) -> str:
    if sample.source in sources:
        return LEFT_OUT
    return "" if sample.split == LEFT_OUT else sample.split


def _both_class_sources(dataset: Dataset) -> list[str]:
    kinds: dict[str, set[bool]] = {}
    for sample in dataset.samples:
        if sample.split == LEFT_OUT:
            continue
        kinds.setdefault(sample.source, set()).add(sample.label == dataset.positive)
    several = len(kinds) > 1
    return sorted(source for source, seen in kinds.items() if len(seen) == 2 and several)


def _score(
    network: Network,
    config: RunConfig,
    dataset: Dataset,
    divided: Dataset,
    store: FeatureStore,
    splits: Sequence[str],
) -> Predictions:
    boundary = config.fine_tune.boundary
    if boundary is None:
        model, load = network.head, store.pooled
    else:
        model, load = network.tail(boundary), store.maps
    rows = np.concatenate([divided.rows_of(split) for split in splits])
    views = {PLAIN: load("plain")[0], LUNGS_BLANKED: load("blanked")[0]}
    logits = [_predict(model, features, rows) for features in views.values()]
    # The labels are the true ones, whatever the fold was trained on.
    samples = [
        replace(dataset.samples[row], split=divided.samples[row].split) for row in rows.tolist()
    ]
    return _table(dataset, samples * len(views), np.repeat([*views], len(rows)), logits)


def _predict(model: Any, features: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    batches = [rows[low : low + _BATCH] for low in range(0, len(rows), _BATCH)]
    return np.concatenate(
        [model.predict_on_batch(np.asarray(features[batch], np.float32)) for batch in batches]
    ).astype(np.float64)


def _table(
    dataset: Dataset,
    samples: Sequence[Sample],
    views: NDArray[np.str_],
    logits: Sequence[NDArray[np.float64]],
) -> Predictions:
    found = np.concatenate(logits)
    return Predictions(
        classes=dataset.labels,
        positive=dataset.positive,
        files=np.array([sample.name for sample in samples]),
        sources=np.array([sample.source for sample in samples]),
        groups=np.array([sample.group for sample in samples]),
        labels=np.array([sample.label for sample in samples]),
        splits=np.array([sample.split for sample in samples]),
        views=views,
        logits=found,
        keras_logits=found,
        probabilities=np.empty((len(samples), len(dataset.labels))),
    ).uncalibrated()


def _write_record(folder: Path, name: str, divided: Dataset, *, seed: int, seconds: float) -> None:
    record = FoldRecord(
        name=name,
        left_out=tuple(sorted({s.source for s in divided.of_split(LEFT_OUT)})),
        trained_on=tuple(sorted({s.source for s in divided.of_split(SPLITS[0])})),
        seed=seed,
        seconds=round(seconds, 1),
    )
    write_atomically(folder / "fold.json", (json.dumps(record.model_dump(), indent=2)).encode())
