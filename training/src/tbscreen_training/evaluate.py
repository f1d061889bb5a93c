"""The step `evaluate`: from the fitted model to the table, and from the table to the report."""

import json
import logging
from collections import defaultdict
from typing import Any, Final

import numpy as np

from tbscreen_shared.bundle import Calibration, OperatingPoint
from tbscreen_shared.contracts import Frozen
from tbscreen_training.calibrate import (
    DEFAULT_POINT,
    choose_operating_points,
    fit_calibration,
    measure_point,
)
from tbscreen_training.figures import auc_with_interval, figures_by_source, figures_of
from tbscreen_training.files import read_csv, write_atomically
from tbscreen_training.plots import draw_plots
from tbscreen_training.predictions import Predictions
from tbscreen_training.report import write_report
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.served import ServedModel

_log = logging.getLogger(__name__)

SCORED_SPLITS: Final = ("validation", "test")
_BATCH: Final = 32
_IDENTITY: Final = Calibration(method="identity", scale=1.0)


class Evaluation(Frozen):
    """report/metrics.json.

    `splits` has the figures of each split, `both_class_sources` the same on those sources alone
    whose score can not be won by telling sources apart, `by_source` the test split's by source.
    """

    scored_by: str
    classes: tuple[str, ...]
    positive: str
    calibration: Calibration
    chosen_on: str
    operating_points: list[OperatingPoint]
    operating_points_on_test: list[OperatingPoint]
    splits: dict[str, dict[str, Any]]
    both_class_source_names: tuple[str, ...]
    both_class_sources: dict[str, dict[str, Any]]
    by_source: dict[str, dict[str, Any]]
    confounded_sources: dict[str, str]
    export: dict[str, Any]
    training_epochs: dict[str, int]


def evaluate(run: RunDirectory) -> Evaluation:
    """Scores validation and test, and writes predictions.csv and the report.

    The exported model is scored where there is one, since it is what will be served; else Keras.

    Raises:
        TrainingError: nothing is fitted.
    """
    scored_by, predictions = _score(run)
    calibration = fit_calibration(_rows_to_calibrate_on(predictions)[1], run.config.calibration)
    predictions = predictions.calibrated(calibration)
    predictions.save(run.predictions)
    evaluation = measure(
        predictions,
        calibration,
        scored_by=scored_by,
        seed=run.config.seed,
        epochs=_epochs(run),
    )
    run.report.mkdir(exist_ok=True)
    write_atomically(
        run.report / "metrics.json", (evaluation.model_dump_json(indent=2) + "\n").encode()
    )
    draw_plots(run.report, predictions, evaluation.operating_points, read_csv(run.history))
    write_report(run.report, evaluation)
    test = evaluation.splits["test"]
    _log.info("test: AUC %.4f, accuracy %.3f", test["auc"]["value"], test["accuracy"])
    return evaluation


def measure(
    predictions: Predictions,
    calibration: Calibration,
    *,
    scored_by: str,
    seed: int,
    epochs: dict[str, int],
) -> Evaluation:
    """Computes every figure of the report from the table of predictions."""
    chosen_on, rows = _rows_to_calibrate_on(predictions)
    points = choose_operating_points(rows, measured_on=chosen_on)
    threshold = next(point.threshold for point in points if point.name == DEFAULT_POINT)
    sources = predictions.of_split("validation").both_class_sources()
    splits = {split: predictions.of_split(split) for split in SCORED_SPLITS}
    within = {split: rows.of_sources(sources) for split, rows in splits.items()} if sources else {}
    where = f"test split, sources with both classes ({', '.join(sources)})"
    on_test, measured_on = (within["test"], where) if sources else (splits["test"], "test split")
    return Evaluation(
        scored_by=scored_by,
        classes=predictions.classes,
        positive=predictions.positive,
        calibration=calibration,
        chosen_on=chosen_on,
        operating_points=points,
        operating_points_on_test=[
            measure_point(on_test, point.name, point.threshold, measured_on=measured_on)
            for point in points
        ],
        splits={name: figures_of(rows, threshold, seed=seed) for name, rows in splits.items()},
        both_class_source_names=sources,
        both_class_sources={
            name: figures_of(rows, threshold, seed=seed) for name, rows in within.items()
        },
        by_source=figures_by_source(splits["test"], threshold, seed=seed),
        confounded_sources=_confounded(predictions),
        export=_compare_with_keras(splits["test"], seed=seed),
        training_epochs=epochs,
    )


def _rows_to_calibrate_on(predictions: Predictions) -> tuple[str, Predictions]:
    # A threshold found where the source gives the label away would be far too sure of itself.
    rows = predictions.of_split("validation")
    sources = rows.both_class_sources()
    if not sources or set(sources) == set(rows.sources.tolist()):
        return "validation split", rows
    return (
        f"validation split, sources with both classes ({', '.join(sources)})",
        rows.of_sources(sources),
    )


def _score(run: RunDirectory) -> tuple[str, Predictions]:
    dataset, tensors = run.dataset(), run.tensors()
    samples = [sample for split in SCORED_SPLITS for sample in dataset.of_split(split)]
    network = run.trained_network().full
    keras_logits = np.concatenate(
        [
            network.predict_on_batch(
                np.stack([tensors.load(sample) for sample in samples[low : low + _BATCH]])
            )
            for low in range(0, len(samples), _BATCH)
        ]
    ).astype(np.float64)
    scored_by, logits = "keras", keras_logits
    if run.model.is_file():
        scored_by = f"tflite {json.loads(run.export_record.read_bytes())['quantisation']}"
        logits = ServedModel(run.model).logits(samples, tensors)

    return scored_by, Predictions(
        classes=dataset.labels,
        positive=dataset.positive,
        files=np.array([sample.name for sample in samples]),
        sources=np.array([sample.source for sample in samples]),
        groups=np.array([sample.group for sample in samples]),
        labels=np.array([sample.label for sample in samples]),
        splits=np.array([sample.split for sample in samples]),
        logits=logits,
        keras_logits=keras_logits,
        probabilities=np.full((len(samples), len(dataset.labels)), np.nan),
    )


def _confounded(predictions: Predictions) -> dict[str, str]:
    labels: dict[str, set[bool]] = defaultdict(set)
    for source, sick in zip(
        predictions.sources.tolist(), predictions.is_positive.tolist(), strict=True
    ):
        labels[source].add(sick)
    if len(labels) == 1:
        return {}
    names = {True: predictions.positive, False: f"not {predictions.positive}"}
    return {
        source: names[next(iter(seen))] for source, seen in sorted(labels.items()) if len(seen) == 1
    }


def _compare_with_keras(test: Predictions, *, seed: int) -> dict[str, Any]:
    exported = auc_with_interval(test.calibrated(_IDENTITY), seed=seed).value
    before = auc_with_interval(test.with_keras_logits().calibrated(_IDENTITY), seed=seed).value
    return {
        "auc": exported,
        "keras_auc": before,
        "auc_difference": exported - before,
        "largest_logit_difference": float(np.abs(test.logits - test.keras_logits).max()),
    }


def _epochs(run: RunDirectory) -> dict[str, int]:
    counted: dict[str, int] = defaultdict(int)
    for row in read_csv(run.history):
        counted[row["phase"]] += 1
    return dict(counted)
