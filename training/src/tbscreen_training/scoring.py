"""From the fitted model to the tables that every figure is computed from."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_training import tables
from tbscreen_training.baselines import guess_sources, score_by_histogram
from tbscreen_training.config import LEFT_OUT, MAPS_PX
from tbscreen_training.controls import LUNGS_BLANKED, VIEWS, control_views
from tbscreen_training.dataset import Dataset, Sample
from tbscreen_training.files import replacing, write_atomically
from tbscreen_training.localisation import (
    MapCorrelation,
    MapOnLung,
    correlations_when_randomised,
    save_table,
    share_on_lung,
)
from tbscreen_training.lung_masks import LungMasks
from tbscreen_training.lungs import PlaceInFrame
from tbscreen_training.predictions import PLAIN, Predictions
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.served import Answer, ServedModel
from tbscreen_training.tensors import TensorCache

SCORED_SPLITS: Final = ("validation", "test")
_BATCH: Final = 32
_RANDOMISED_IMAGES: Final = 32

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating[Any]]]
"""From images, uint8 (n, S, S, 1), to logits (n, K)."""


def score(run: RunDirectory) -> None:
    """Scores validation, test and the sources left out in every view, and writes the run's tables.

    The exported model is scored where there is one, since it is what will be served; else Keras.

    Raises:
        TrainingError: nothing is fitted, or a mask can not be read.
    """
    dataset, tensors = run.dataset(), run.tensors()
    scored = (*SCORED_SPLITS, LEFT_OUT)
    samples = [sample for split in scored for sample in dataset.of_split(split)]
    keras_predict = run.trained_network().full.predict_on_batch
    keras_logits = _predict_all(samples, tensors, keras_predict)
    tables.clear(run.controls)
    if run.model.is_file():
        scored_by = f"tflite {json.loads(run.export_record.read_bytes())['quantisation']}"
        model = ServedModel(run.model)
        answers = model.answers(tensors.load(sample) for sample in samples)
        logits = np.stack([answer.logits for answer in answers]).astype(np.float64)

        def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.stack([answer.logits for answer in model.answers(images)])

        predictions = score_views(dataset, samples, tensors, predict, plain=logits)
        predictions.keras_logits[:] = np.nan
        predictions.keras_logits[: len(samples)] = keras_logits
        _save_answers(run, dataset, samples, answers)
    else:
        scored_by = "keras"
        predictions = score_views(dataset, samples, tensors, keras_predict, plain=keras_logits)
    predictions.save(run.predictions)
    histogram = score_by_histogram(dataset, samples, tensors, seed=run.config.seed)
    table_of(dataset, samples, PLAIN, histogram).save(run.controls / tables.HISTOGRAM_BASELINE)
    _save_correlations(run, dataset, tensors)
    record = json.dumps({"scored_by": scored_by}).encode()
    write_atomically(run.controls / tables.RECORD, record)


def score_views(
    dataset: Dataset,
    samples: Sequence[Sample],
    tensors: TensorCache,
    predict: Predict,
    *,
    plain: NDArray[np.float64] | None = None,
) -> Predictions:
    """Scores samples as they are and in each control view.

    Args:
        dataset: gives the classes.
        samples: n of them.
        tensors: their decoded images.
        predict: the model.
        plain: logits (n, K) of the images as they are, where they are known already.

    Returns:
        uncalibrated probabilities, the plain rows first, in the samples' order; `keras_logits` are
        the logits. An image whose lungs are not told has no row in the views that need them.
    """
    logits = {PLAIN: [_predict_all(samples, tensors, predict) if plain is None else plain]}
    rows = {PLAIN: list(samples)}
    masks = LungMasks()
    for low in range(0, len(samples), _BATCH):
        batch = samples[low : low + _BATCH]
        images = np.stack([tensors.load(sample) for sample in batch])
        controls = [
            control_views(image, mask)
            for image, mask in zip(images, masks.of(batch, images), strict=True)
        ]
        for view in VIEWS[1:]:
            # Of what is left out, the many, the gap to blanked lungs is what counts.
            wanted = [s.split != LEFT_OUT or view == LUNGS_BLANKED for s in batch]
            shown = [
                index for index, views in enumerate(controls) if view in views and wanted[index]
            ]
            if shown:
                seen = np.stack([controls[index][view] for index in shown])
                logits.setdefault(view, []).append(np.asarray(predict(seen), np.float64))
                rows.setdefault(view, []).extend(batch[index] for index in shown)
    return Predictions.stack(
        [table_of(dataset, rows[v], v, np.concatenate(logits[v])) for v in VIEWS if v in rows]
    )


def _predict_all(
    samples: Sequence[Sample], tensors: TensorCache, predict: Predict
) -> NDArray[np.float64]:
    batches = [samples[low : low + _BATCH] for low in range(0, len(samples), _BATCH)]
    logits = [predict(np.stack([tensors.load(sample) for sample in batch])) for batch in batches]
    return np.concatenate(logits).astype(np.float64)


def table_of(
    dataset: Dataset, samples: Sequence[Sample], view: str, logits: NDArray[np.float64]
) -> Predictions:
    """Returns the uncalibrated table of samples in one view, from their logits (n, K)."""
    table = Predictions(
        classes=dataset.labels,
        positive=dataset.positive,
        files=np.array([sample.name for sample in samples]),
        sources=np.array([sample.source for sample in samples]),
        groups=np.array([sample.group for sample in samples]),
        labels=np.array([sample.label for sample in samples]),
        splits=np.array([sample.split for sample in samples]),
        views=np.full(len(samples), view),
        logits=logits,
        keras_logits=logits.copy(),
        probabilities=np.empty((len(samples), len(dataset.labels))),
    )
    return table.uncalibrated()


def _save_answers(
    run: RunDirectory, dataset: Dataset, samples: Sequence[Sample], answers: Sequence[Answer]
) -> None:
    place = _positive_output(dataset)
    maps = np.stack([answer.maps[place] for answer in answers])
    aimless = _even_maps(run.trained_network().reader, samples, run.tensors())
    with replacing(run.controls / tables.MAPS) as partial, partial.open("wb") as stream:
        np.save(stream, maps.astype(np.float16))
    on_lung = [
        MapOnLung(
            sample.name,
            sample.group,
            sample.label,
            on_lung=share_on_lung(seen.astype(np.float64), answer.lungs.astype(np.float64)),
            without_aim=share_on_lung(even, answer.lungs.astype(np.float64)),
        )
        for sample, answer, seen, even in zip(samples, answers, maps, aimless, strict=True)
        if answer.lungs is not None
    ]
    save_table(run.controls / tables.MAPS_ON_LUNG, on_lung)
    features = [a.lung_features for a in answers if a.lung_features is not None]
    if len(features) == len(samples):
        guesses = guess_sources(np.stack(features), samples, seed=run.config.seed)
        if guesses is not None:
            guesses.save(run.controls / tables.SOURCE_GUESSES)


def _even_maps(reader: Any, samples: Sequence[Sample], tensors: TensorCache) -> NDArray[np.float64]:
    """Returns maps (n, 8, 8) over the frame that are 1 wherever the network sees anything."""
    placed = []
    for low in range(0, len(samples), _BATCH):
        images = np.stack([tensors.load(sample) for sample in samples[low : low + _BATCH]])
        box = reader.predict_on_batch(images)["box"]
        even = np.ones((len(images), 1, 1, 1), np.float32)
        placed.append(np.asarray(PlaceInFrame(MAPS_PX)(even, box))[:, 0])
    return np.concatenate(placed).astype(np.float64)


def _save_correlations(run: RunDirectory, dataset: Dataset, tensors: TensorCache) -> None:
    sick = [sample for sample in dataset.of_split("test") if sample.label == dataset.positive]
    shown = sick[:: max(1, len(sick) // _RANDOMISED_IMAGES)][:_RANDOMISED_IMAGES]
    found = correlations_when_randomised(
        run.trained_network(),
        np.stack([tensors.load(sample) for sample in shown]),
        _positive_output(dataset),
        seed=run.config.seed,
    )
    rows = [
        MapCorrelation(sample.name, sample.group, randomised, float(correlation))
        for randomised, correlations in found.items()
        for sample, correlation in zip(shown, correlations, strict=True)
    ]
    save_table(run.controls / tables.MAP_CORRELATIONS, rows)


def _positive_output(dataset: Dataset) -> int:
    return 0 if len(dataset.labels) == 2 else dataset.positive_index
