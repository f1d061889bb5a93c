"""Leave-one-source-out: small trainings without a source, each scored on what it never saw.

run/folds/<name>/ has fold.json and predictions.csv, whose rows are of the split `left_out`; the
fold `label-shuffle` was trained on shuffled labels instead, and is scored on validation and test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.stats import t  # type: ignore[import-untyped]
from sklearn.metrics import roc_auc_score

from tbscreen_shared.bundle import Interval
from tbscreen_shared.contracts import Frozen, Recorded
from tbscreen_training.calibrate import wilson
from tbscreen_training.config import LEFT_OUT as LEFT_OUT
from tbscreen_training.controls import LUNGS_BLANKED, VIEWS
from tbscreen_training.delong import Difference, auc_difference, auc_interval
from tbscreen_training.errors import TrainingError
from tbscreen_training.figures import auc_with_interval
from tbscreen_training.predictions import PLAIN, Predictions

LABEL_SHUFFLE: Final = "label-shuffle"
THIS_MODEL: Final = "this model"
"""Name of the run itself as a fold."""

TRAINING: Final = "training "
"""The rows of a fold of several trainings have this and a number for a group."""

_RECORD: Final = "fold.json"


class FoldRecord(Recorded):
    """fold.json: how a fold was trained."""

    name: str
    left_out: tuple[str, ...]
    trained_on: tuple[str, ...]
    seed: int
    seconds: float


@dataclass(frozen=True)
class Fold:
    """One training of its own, and what it says of the images it was scored on."""

    record: FoldRecord
    predictions: Predictions


class FoldFigures(Frozen):
    """What a fold scores on the sources it never saw.

    Attributes:
        confounded: no left-out source holds enough of both kinds: telling the sources apart is
            enough for a high AUC.
        auc: by view, DeLong's interval; None where the rows hold one kind only.
        auc_by_group: of the plain view, by resampling groups.
        gap: AUC plain - AUC with the lungs blanked, on the images that have both.
        blanked_images: how many those are.
        sensitivity: share of positive images at or above a probability of 0.5.
        specificity: share of the others below it.
    """

    name: str
    left_out: tuple[str, ...]
    trained_on: tuple[str, ...]
    seed: int
    seconds: float
    positive: int
    other: int
    confounded: bool
    auc: dict[str, Interval | None]
    auc_by_group: Interval | None
    gap: Difference | None
    blanked_images: int
    sensitivity: Interval | None
    specificity: Interval | None


class Spread(Frozen):
    """A figure over several trainings."""

    mean: float
    least: float
    greatest: float


class LeftOut(Frozen):
    """The figures quoted first.

    `over_folds` has the AUC by view, and the gap, over the folds named in `folds_counted`: those
    that are not confounded, where there are any.
    """

    folds: list[FoldFigures]
    folds_counted: tuple[str, ...]
    confounded: bool
    over_folds: dict[str, Spread]


def read_folds(folder: Path, *, classes: tuple[str, ...], positive: str) -> list[Fold]:
    """Reads every fold that is complete, by name.

    Raises:
        TrainingError: a fold.json does not fit.
    """
    folds = []
    for record in sorted(folder.glob(f"*/{_RECORD}")):
        table = record.with_name("predictions.csv")
        if not table.is_file():
            continue
        try:
            parsed = FoldRecord.model_validate_json(record.read_bytes())
        except ValidationError as error:
            raise TrainingError(f"{record} does not fit: {error}") from error
        loaded = Predictions.load(table, classes=classes, positive=positive)
        folds.append(Fold(parsed, loaded))
    return folds


def own_fold(predictions: Predictions, *, seed: int, seconds: float = 0.0) -> list[Fold]:
    """Returns the run itself as a fold, where it left sources out; else nothing."""
    rows = predictions.of_split(LEFT_OUT)
    if not len(rows):
        return []
    kept = predictions.where(predictions.splits != LEFT_OUT)
    record = FoldRecord(
        name=THIS_MODEL,
        left_out=tuple(sorted(set(rows.sources.tolist()))),
        trained_on=tuple(sorted(set(kept.sources.tolist()))),
        seed=seed,
        seconds=seconds,
    )
    return [Fold(record, rows)]


def measure_left_out(folds: Sequence[Fold], *, seed: int) -> LeftOut | None:
    """Measures the folds that leave a source out; None where there are none."""
    figures = [
        _fold_figures(fold, seed=seed) for fold in folds if fold.record.name != LABEL_SHUFFLE
    ]
    if not figures:
        return None
    scored = [fold for fold in figures if fold.auc[PLAIN] is not None]
    counted = [fold for fold in scored if not fold.confounded] or scored
    values: dict[str, list[float]] = {view: [] for view in (*VIEWS, "gap")}
    for fold in counted:
        for view, interval in fold.auc.items():
            if interval is not None:
                values[view].append(interval.value)
        if fold.gap is not None:
            values["gap"].append(fold.gap.value)
    return LeftOut(
        folds=figures,
        folds_counted=tuple(fold.name for fold in counted),
        confounded=all(fold.confounded for fold in counted),
        over_folds={
            name: Spread(mean=fmean(found), least=min(found), greatest=max(found))
            for name, found in values.items()
            if found
        },
    )


def shuffled_auc(rows: Predictions, *, seed: int) -> Interval:
    """Returns the AUC of trainings on shuffled labels, with its 95 % interval.

    With several trainings, each a group of its own, Student's interval of their mean: what varies
    is the training, and resampling eight of them is too sure of itself. With one, by resampling
    groups.
    """
    trainings = sorted(set(rows.groups.tolist()))
    if not all(name.startswith(TRAINING) for name in trainings) or len(trainings) < 2:
        return auc_with_interval(rows, seed=seed)
    each = [rows.where(rows.groups == name) for name in trainings]
    aucs = np.array([roc_auc_score(one.is_positive, one.scores) for one in each])
    reach = float(t.ppf(0.975, len(aucs) - 1) * aucs.std(ddof=1) / np.sqrt(len(aucs)))
    mean = float(aucs.mean())
    return Interval(value=mean, low=max(0.0, mean - reach), high=min(1.0, mean + reach))


def unseen(rows: Predictions) -> Predictions:
    """Returns the rows that nothing was trained on or chosen by: test, and sources left out."""
    return rows.where(np.isin(rows.splits, ("test", LEFT_OUT)))


def auc_by_view(rows: Predictions) -> dict[str, Interval | None]:
    """Returns the AUC with DeLong's interval in each view that the rows have."""
    return {
        view: auc_interval(seen.is_positive, seen.scores) if _has_both(seen) else None
        for view in VIEWS
        if len(seen := rows.of_view(view))
    }


def blanked_gap(rows: Predictions) -> tuple[Difference | None, int]:
    """Returns AUC plain - AUC with the lungs blanked on the images with both, and their number.

    None where those hold one kind only.
    """
    plain, blanked = rows.of_view(PLAIN), rows.of_view(LUNGS_BLANKED)
    place = {name: index for index, name in enumerate(plain.files.tolist())}
    paired = plain.where(np.array([place[name] for name in blanked.files.tolist()], np.int64))
    if not _has_both(blanked):
        return None, len(blanked)
    sick = blanked.is_positive
    return auc_difference(sick, paired.scores, as_telling(sick, blanked.scores)), len(blanked)


def as_telling(sick: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns scores turned round where their AUC is below 0.5.

    Without the lungs, an AUC of 0.4 tells the classes apart as well as one of 0.6: what is left to
    read off the frame is its distance from 0.5, whichever way it points.
    """
    return -scores if roc_auc_score(sick, scores) < 0.5 else scores


def _fold_figures(fold: Fold, *, seed: int) -> FoldFigures:
    rows = fold.predictions.of_split(LEFT_OUT)
    plain = rows.of_view(PLAIN)
    sick = plain.is_positive
    called = plain.scores >= 0.5
    gap, blanked_images = blanked_gap(rows)
    rates: dict[str, Any] = {
        "sensitivity": wilson(int(called[sick].sum()), int(sick.sum())) if sick.any() else None,
        "specificity": wilson(int((~called[~sick]).sum()), int((~sick).sum()))
        if not sick.all()
        else None,
    }
    return FoldFigures(
        **fold.record.model_dump(),
        positive=int(sick.sum()),
        other=int((~sick).sum()),
        confounded=set(plain.both_class_sources()) != set(plain.sources.tolist()),
        auc=auc_by_view(rows),
        auc_by_group=auc_with_interval(plain, seed=seed) if _has_both(plain) else None,
        gap=gap,
        blanked_images=blanked_images,
        **rates,
    )


def _has_both(rows: Predictions) -> bool:
    sick = rows.is_positive
    return bool(sick.any() and not sick.all())
