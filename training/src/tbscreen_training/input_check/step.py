"""The step `fit-check`: writes input-check.npz, which the bundle carries, and input-check.json."""

import json
import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.input_check import Familiarity, InputCheck, Kind
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import replacing, write_atomically
from tbscreen_training.input_check.examples import RADIOGRAPH, Examples, gather, origins_of
from tbscreen_training.input_check.familiarity import (
    PARTS,
    choose_limit,
    cross_fitted_distances,
    features_of,
    fit_familiarity,
)
from tbscreen_training.input_check.layouts import (
    choose_threshold,
    cross_fitted_shares,
    fit_layouts,
    folds_by_origin,
)
from tbscreen_training.input_check.record import describe
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.sample import Sample
from tbscreen_training.served import ServedModel

_log = logging.getLogger(__name__)


def fit_check(run: RunDirectory) -> None:
    """Fits the input check to the run's radiographs and to what is none.

    Raises:
        TrainingError: the run has no exported model, or the folder of pictures can not be used.
    """
    if not run.export_record.is_file():
        raise TrainingError(f"{run.root} has no exported model: run the step `export` first")
    # Those left out of the training too: what a radiograph looks like, the more hospitals can say
    # the better, and each figure is by a model fitted without the source.
    samples = run.dataset().samples
    if len(samples) < run.config.check_from:
        run.input_check.unlink(missing_ok=True)
        run.input_check_record.unlink(missing_ok=True)
        _log.warning(
            "no input check: it takes %d radiographs (--check-from) and there are %d; the bundle "
            "will judge whatever it is given",
            *(run.config.check_from, len(samples)),
        )
        return
    examples = gather(
        samples,
        run.tensors(),
        drawings=run.config.drawings,
        pictures=run.config.not_radiographs,
        seed=run.config.seed,
    )
    shares = cross_fitted_shares(examples, folds_by_origin(examples))
    familiarity, foreign = _fit_familiarity(run, samples)
    check = InputCheck(
        layout=fit_layouts(examples, examples.is_fitted),
        threshold=_threshold(examples, shares),
        familiarity=familiarity,
    )
    with replacing(run.input_check) as partial:
        check.write(partial)
    record = describe(examples, shares, check, foreign=foreign)
    write_atomically(run.input_check_record, json.dumps(record, indent=2).encode())
    _log.info(
        "input check: %.1f %% of the radiographs refused, %.1f %% of what is none missed",
        100 * record["false_refusals"]["share"]["value"],
        100 * record["missed_non_radiographs"]["share"]["value"],
    )


def _threshold(examples: Examples, shares: NDArray[np.float32]) -> float:
    frontal = sorted(set(examples.kinds)).index(Kind.FRONTAL.value)
    return choose_threshold(shares[examples.names == RADIOGRAPH, frontal])


def _fit_familiarity(
    run: RunDirectory, known: Sequence[Sample]
) -> tuple[Familiarity | None, dict[str, NDArray[np.bool_]]]:
    """Returns what is familiar, and by source which radiographs would not be (cross-fitted).

    From radiographs that the network was not fitted to: on its own it is more certain.
    """
    model, tensors = ServedModel(run.model), run.tensors()
    samples = [sample for sample in known if sample.split != "train"]
    found = [features_of(model.answer(tensors.load(sample))) for sample in samples]
    parts = tuple(part for part in PARTS if part in found[0])
    if not parts:
        return None, {}
    rows = np.stack([np.concatenate([row[part].ravel() for part in parts]) for row in found])
    origins = np.array(origins_of(samples))
    distances = cross_fitted_distances(rows, origins, parts)
    limit = choose_limit(distances)
    foreign = {str(origin): distances[origins == origin] > limit for origin in np.unique(origins)}
    return fit_familiarity(rows, parts, limit=limit), foreign
