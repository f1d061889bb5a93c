"""Puts a run to the release gate: gathers the tables, and what the active bundle says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.bundle import Bundle, ModelStore
from tbscreen_shared.errors import BundleError
from tbscreen_shared.imaging import (
    PREPROCESSING_VERSION,
    ImageLimits,
    read_radiograph,
    to_model_input,
)
from tbscreen_training.activation import class_probabilities
from tbscreen_training.config import INPUT_PX
from tbscreen_training.evaluate import Evaluation
from tbscreen_training.gate import (
    Gate,
    check_against_active,
    check_gap,
    check_known_answer,
    check_label_shuffle,
    check_operations,
    check_parity,
    check_refusals,
)
from tbscreen_training.left_out import LEFT_OUT, Fold, own_fold, read_folds
from tbscreen_training.predictions import PLAIN, Predictions
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.served import ServedModel, foreign_operations
from tbscreen_training.standing import (
    Comparison,
    Standing,
    compare_stated,
    difference_of_aucs,
    measure_standing,
    stated_standing,
)


def judge(
    run: RunDirectory,
    evaluation: Evaluation,
    staged: Bundle,
    models_dir: Path,
) -> Gate:
    """Makes every check of the release gate.

    Args:
        run: an evaluated run.
        evaluation: its figures.
        staged: the bundle as it is to be published.
        models_dir: the models volume, whose active bundle is the one to be held to.
    """
    seed = run.config.seed
    table = Predictions.load(
        run.predictions, classes=evaluation.classes, positive=evaluation.positive
    )
    folds = [
        *own_fold(table, seed=seed),
        *read_folds(run.folds, classes=evaluation.classes, positive=evaluation.positive),
    ]
    standing = measure_standing(folds, seed=seed)
    active = _active(models_dir)
    stated = stated_standing(active.manifest.metrics) if active else None
    known = staged.manifest.known_answer
    picture = _as_a_worker_reads(staged.known_answer_path)
    answer = ServedModel(staged.model_path).answer(picture).logits
    return Gate(
        checks=(
            *check_parity(table, evaluation.calibration, evaluation.operating_points),
            check_known_answer(np.asarray(known.logits), answer, known.tolerance),
            check_operations(foreign_operations(staged.model_path.read_bytes())),
            check_refusals(evaluation.input_check),
            check_label_shuffle(folds, seed=seed),
            check_against_active(
                standing, _compare(run, folds, standing, active, stated) if active else []
            ),
            check_gap(
                standing,
                stated,
                no_active="the active model states no such gap" if active else "no active model",
            ),
        ),
        standing=standing,
    )


def _active(models_dir: Path) -> Bundle | None:
    try:
        return ModelStore(models_dir).load_active()
    except BundleError:
        # Nothing that workers could use, so nothing to be worse than.
        return None


def _as_a_worker_reads(picture: Path) -> NDArray[np.uint8]:
    radiograph = read_radiograph(picture, limits=ImageLimits())
    return to_model_input(radiograph, height=INPUT_PX, width=INPUT_PX)


def _compare(
    run: RunDirectory,
    folds: Sequence[Fold],
    standing: Mapping[str, Standing],
    active: Bundle,
    stated: Mapping[str, Standing] | None,
) -> list[Comparison]:
    tables = {fold.record.name: fold.predictions.of_split(LEFT_OUT) for fold in folds}
    return [
        _compare_fold(run, name, own, tables[name].of_view(PLAIN), active, stated or {})
        for name, own in standing.items()
    ]


def _compare_fold(
    run: RunDirectory,
    name: str,
    own: Standing,
    rows: Predictions,
    active: Bundle,
    stated: Mapping[str, Standing],
) -> Comparison:
    """Compares on the same images where the active bundle has seen none of them.

    On a source that it was trained on it would win by memory, so there the figure counts that it
    had on this source when that was left out.
    """
    manifest = active.manifest
    data = manifest.data
    seen = set(data.get("sources", own.left_out)) - set(data.get("left_out", ()))
    fits = (manifest.input.height, manifest.input.width, manifest.input.preprocessing) == (
        *(INPUT_PX, INPUT_PX),
        PREPROCESSING_VERSION,
    )
    if fits and seen.isdisjoint(own.left_out):
        scores = _scores_of(active, run, rows)
        return Comparison(
            fold=name,
            difference=difference_of_aucs(rows, rows.scores, scores, seed=run.config.seed),
            basis=f"the same {len(rows)} images, which the active model never saw",
        )
    if name in stated and stated[name].left_out == own.left_out:
        return compare_stated(name, own, stated[name])
    why = "the active model was trained on it" if fits else "the active model takes other input"
    return Comparison(
        fold=name, difference=None, basis=f"{why} and states no figure of leaving it out"
    )


def _scores_of(active: Bundle, run: RunDirectory, rows: Predictions) -> NDArray[np.float64]:
    samples = {sample.name: sample for sample in run.dataset().samples}
    logits = ServedModel(active.model_path).logits(
        [samples[name] for name in rows.files.tolist()], run.tensors()
    )
    manifest = active.manifest
    shares = class_probabilities(
        logits, scale=manifest.calibration.scale, bias=manifest.calibration.bias
    )
    return shares[:, manifest.labels.index(manifest.positive_label)]
