"""The step `evaluate`: from the fitted model to the tables, and from the tables to the report."""

import logging
from collections import defaultdict
from collections.abc import Sequence
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
from tbscreen_training.config import LEFT_OUT, CalibrationMethod
from tbscreen_training.control_figures import ControlFigures, measure_controls
from tbscreen_training.curves import NetBenefit, net_benefits
from tbscreen_training.delong import Difference, auc_difference, auc_interval
from tbscreen_training.figures import figures_by_source, figures_of
from tbscreen_training.files import write_atomically
from tbscreen_training.left_out import LeftOut, measure_left_out, own_fold, unseen
from tbscreen_training.localisation import Localisation, measure_localisation
from tbscreen_training.predictions import PLAIN, Predictions
from tbscreen_training.report import write_report
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.scoring import SCORED_SPLITS, score
from tbscreen_training.tables import Tables

_log = logging.getLogger(__name__)

METRICS: Final = "metrics.json"


class ExportFigures(Frozen):
    """The exported model beside the network it was made of, on the test split.

    `auc_difference` is exported - Keras, with DeLong's paired interval.
    """

    auc: float
    keras_auc: float
    auc_difference: Difference
    largest_logit_difference: float


class Evaluation(Frozen):
    """report/metrics.json.

    `leave_one_source_out` is what to quote first. `splits` has the figures of each split,
    `both_class_sources` the same on those sources alone whose score can not be won by telling
    sources apart, `by_source` those of the test split and of the sources left out. None stands for
    what was not measured.
    """

    scored_by: str
    seed: int
    classes: tuple[str, ...]
    positive: str
    leave_one_source_out: LeftOut | None
    controls: ControlFigures
    calibration: Calibration
    chosen_on: str
    default_operating_point: str
    operating_points: list[OperatingPoint]
    operating_points_on_test: list[OperatingPoint]
    splits: dict[str, dict[str, Any]]
    both_class_source_names: tuple[str, ...]
    both_class_sources: dict[str, dict[str, Any]]
    calibrated_on: tuple[str, ...] = ()
    by_source: dict[str, dict[str, Any]]
    confounded_sources: dict[str, str]
    net_benefit: list[NetBenefit]
    localisation: Localisation | None
    export: ExportFigures
    export_variants: list[dict[str, str]]
    input_check: Any
    images: dict[str, dict[str, dict[str, int]]]
    training_epochs: dict[str, int]


def evaluate(run: RunDirectory) -> Evaluation:
    """Scores what was not trained on in every view, and writes the tables and the report.

    Raises:
        TrainingError: nothing is fitted.
    """
    score(run)
    return rewrite_report(run)


def rewrite_report(run: RunDirectory) -> Evaluation:
    """Calibrates and writes the report from the run's tables alone, without the model.

    Raises:
        TrainingError: the run was never evaluated.
    """
    config, tables = run.config, Tables.load(run)
    tables, evaluation = measure(
        tables, config.calibration, seed=config.seed, hospitals=config.data.calibrate_on
    )
    tables.predictions.save(run.predictions)
    run.report.mkdir(exist_ok=True)
    for old in run.report.iterdir():
        old.unlink()
    write_atomically(run.report / METRICS, (evaluation.model_dump_json(indent=2) + "\n").encode())
    write_report(run, evaluation, tables)
    test = evaluation.splits["test"]
    _log.info("test: AUC %.4f, accuracy %.3f", test["auc"]["value"], test["accuracy"]["value"])
    if evaluation.leave_one_source_out is not None:
        for name, spread in evaluation.leave_one_source_out.over_folds.items():
            _log.info("sources left out, %s: %.4f", name, spread.mean)
    return evaluation


def measure(
    tables: Tables,
    calibration_method: CalibrationMethod,
    *,
    seed: int,
    hospitals: Sequence[str] = (),
) -> tuple[Tables, Evaluation]:
    """Computes every figure of the report; returns the calibrated tables beside them.

    Args:
        tables: of the run.
        calibration_method: how probabilities are made of logits.
        seed: of the resampling.
        hospitals: sources left out that the calibration is fitted on too.
    """
    uncalibrated = tables.predictions.of_view(PLAIN).uncalibrated()
    _, rows = _rows_to_calibrate_on(uncalibrated, hospitals)
    calibration = fit_calibration(rows, calibration_method)
    tables = tables.calibrated(calibration)
    predictions = tables.predictions.of_view(PLAIN)
    chosen_on, rows = _rows_to_calibrate_on(predictions, hospitals)
    points = choose_operating_points(rows, measured_on=chosen_on)
    threshold = next(point.threshold for point in points if point.name == DEFAULT_POINT)
    test = predictions.of_split("test")
    sources = tuple(
        source
        for source in predictions.of_split("validation").both_class_sources()
        if len({*test.of_sources((source,)).is_positive.tolist()}) == 2
    )
    splits = {split: predictions.of_split(split) for split in SCORED_SPLITS}
    within = {split: rows.of_sources(sources) for split, rows in splits.items()} if sources else {}
    where = f"test split, sources with both classes ({', '.join(sources)})"
    on_test, measured_on = (within["test"], where) if sources else (splits["test"], "test split")
    called = predictions.files[predictions.scores >= threshold]
    seconds = sum(float(row["seconds"]) for row in tables.history)
    return tables, Evaluation(
        scored_by=tables.scored_by,
        seed=seed,
        classes=predictions.classes,
        positive=predictions.positive,
        leave_one_source_out=measure_left_out(
            [*own_fold(tables.predictions, seed=seed, seconds=seconds), *tables.folds], seed=seed
        ),
        controls=measure_controls(
            tables.predictions,
            sources,
            folds=tables.folds,
            histogram=tables.histogram,
            guesses=tables.source_guesses,
            seed=seed,
        ),
        calibration=calibration,
        chosen_on=chosen_on,
        default_operating_point=DEFAULT_POINT,
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
        calibrated_on=tuple(hospitals),
        by_source=figures_by_source(unseen(predictions), points, seed=seed),
        confounded_sources=_confounded(predictions.where(predictions.splits != LEFT_OUT)),
        net_benefit=net_benefits(on_test, seed=seed),
        localisation=measure_localisation(
            tables.on_lung, tables.correlations, frozenset(called.tolist()), seed=seed
        ),
        export=_compare_with_keras(splits["test"]),
        export_variants=list(tables.export_variants),
        input_check=tables.input_check,
        images=tables.images,
        training_epochs=_epochs(tables),
    )


def _rows_to_calibrate_on(
    predictions: Predictions, hospitals: Sequence[str]
) -> tuple[str, Predictions]:
    # A threshold found where the source gives the label away would be far too sure of itself.
    rows = predictions.of_split("validation")
    sources = rows.both_class_sources()
    name = "validation split"
    if sources and set(sources) != set(rows.sources.tolist()):
        name = f"validation split, sources with both classes ({', '.join(sources)})"
        rows = rows.of_sources(sources)
    if not hospitals:
        return name, rows
    elsewhere = (predictions.splits == LEFT_OUT) & np.isin(predictions.sources, hospitals)
    chosen = np.isin(predictions.files, rows.files) | elsewhere
    return f"{name}, and {', '.join(hospitals)} left out", predictions.where(chosen)


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


def _compare_with_keras(test: Predictions) -> ExportFigures:
    truth, exported = test.is_positive, test.uncalibrated().scores
    before = test.with_keras_logits().uncalibrated().scores
    return ExportFigures(
        auc=auc_interval(truth, exported).value,
        keras_auc=auc_interval(truth, before).value,
        auc_difference=auc_difference(truth, exported, before),
        largest_logit_difference=float(np.abs(test.logits - test.keras_logits).max()),
    )


def _epochs(tables: Tables) -> dict[str, int]:
    counted: dict[str, int] = defaultdict(int)
    for row in tables.history:
        counted[row["phase"]] += 1
    return dict(counted)
