"""The controls of a report: what the score is worth once the disease is taken out of reach."""

from collections.abc import Sequence

from tbscreen_shared.bundle import Interval
from tbscreen_shared.contracts import Frozen
from tbscreen_training.baselines import (
    SourceGuesses,
    SourcePredictability,
    measure_predictability,
)
from tbscreen_training.delong import Difference, auc_interval
from tbscreen_training.left_out import LABEL_SHUFFLE, Fold, auc_by_view, blanked_gap, shuffled_auc
from tbscreen_training.predictions import PLAIN, Predictions


class ViewFigures(Frozen):
    """AUC of the same images in each view, DeLong's interval; None where they are of one kind.

    `gap` is plain less lungs blanked, on the `blanked_images` that have both.
    """

    images: int
    auc: dict[str, Interval | None]
    gap: Difference | None
    blanked_images: int


class ShuffledLabels(Frozen):
    """AUC of trainings on shuffled labels on the test split's true ones: it must fall to 0.5.

    The interval resamples the groups, which are the trainings where there are several; `images`
    counts an image once for each of them.
    """

    images: int
    auc: Interval
    contains_half: bool
    seed: int


class ControlFigures(Frozen):
    """Every control; None where it was not run.

    `views` and `histogram_baseline` are by rows: the test split, and its both-class sources.
    """

    views: dict[str, ViewFigures]
    label_shuffle: ShuffledLabels | None
    histogram_baseline: dict[str, Interval] | None
    source_predictability: list[SourcePredictability] | None


def measure_controls(
    predictions: Predictions,
    within: tuple[str, ...],
    *,
    folds: Sequence[Fold],
    histogram: Predictions | None,
    guesses: SourceGuesses | None,
    seed: int,
) -> ControlFigures:
    """Measures the controls.

    Args:
        predictions: of all views.
        within: the both-class sources.
        folds: label-shuffle among them, or not.
        histogram: what grey histograms alone predict for the scored images.
        guesses: of each image's source.
        seed: of the resamplings.
    """
    return ControlFigures(
        views={
            name: ViewFigures(
                images=len(rows.of_view(PLAIN)),
                auc=auc_by_view(rows),
                gap=blanked_gap(rows)[0],
                blanked_images=blanked_gap(rows)[1],
            )
            for name, rows in _test_rows(predictions, within).items()
        },
        label_shuffle=_shuffled(folds, seed=seed),
        histogram_baseline=None
        if histogram is None
        else {
            name: auc_interval(rows.is_positive, rows.scores)
            for name, rows in _test_rows(histogram, within).items()
        },
        source_predictability=measure_predictability(guesses, seed=seed) if guesses else None,
    )


def _test_rows(predictions: Predictions, within: tuple[str, ...]) -> dict[str, Predictions]:
    test = predictions.of_split("test")
    return {"test": test} | ({"test_both_class_sources": test.of_sources(within)} if within else {})


def _shuffled(folds: Sequence[Fold], *, seed: int) -> ShuffledLabels | None:
    for fold in folds:
        if fold.record.name == LABEL_SHUFFLE:
            rows = fold.predictions.of_view(PLAIN).of_split("test")
            auc = shuffled_auc(rows, seed=seed)
            return ShuffledLabels(
                images=len(rows),
                auc=auc,
                contains_half=auc.low <= 0.5 <= auc.high,
                seed=fold.record.seed,
            )
    return None
