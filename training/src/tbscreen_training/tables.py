"""The tables of a run that a report is computed from: no model and no image is needed for it."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.bundle import Calibration
from tbscreen_training.baselines import SourceGuesses
from tbscreen_training.dataset import Dataset
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import read_csv
from tbscreen_training.left_out import Fold, read_folds
from tbscreen_training.localisation import (
    MapCorrelation,
    MapOnLung,
    load_correlations,
    load_on_lung,
)
from tbscreen_training.predictions import Predictions
from tbscreen_training.run_directory import RunDirectory

RECORD: Final = "scored.json"
HISTOGRAM_BASELINE: Final = "histogram-baseline.csv"
SOURCE_GUESSES: Final = "source-guesses.csv"
MAPS_ON_LUNG: Final = "maps-on-lung.csv"
MAP_CORRELATIONS: Final = "map-correlations.csv"
MAPS: Final = "maps.npy"

_EXPORT_VARIANTS: Final = "export-variants.csv"
_INPUT_CHECK: Final = "input-check.json"


@dataclass(frozen=True)
class Tables:
    """Everything that `measure` and the report's pages read.

    Attributes:
        scored_by: what was scored, e.g. tflite dynamic.
        predictions: in every view; its probabilities are those last calibrated.
        folds: by name, label-shuffle among them.
        histogram: what grey histograms alone predict.
        source_guesses: which source each image's features look like; None where it was not asked.
        on_lung: where each image's map lies.
        correlations: of maps before and after randomisation.
        history: a line for each epoch.
        images: numbers by source, label and split.
        export: export.json, or nothing.
        export_variants: the table of exports that were tried, or nothing.
        input_check: input-check.json, or None.
    """

    scored_by: str
    predictions: Predictions
    folds: Sequence[Fold]
    histogram: Predictions | None
    source_guesses: SourceGuesses | None
    on_lung: Sequence[MapOnLung]
    correlations: Sequence[MapCorrelation]
    history: Sequence[dict[str, str]]
    images: dict[str, dict[str, dict[str, int]]]
    export: dict[str, Any]
    export_variants: Sequence[dict[str, str]]
    input_check: Any

    def calibrated(self, calibration: Calibration) -> "Tables":
        """Returns the tables with the probabilities that `calibration` makes of the logits."""
        return replace(self, predictions=self.predictions.calibrated(calibration))

    @classmethod
    def load(cls, run: RunDirectory) -> "Tables":
        """Reads the run's tables.

        Raises:
            TrainingError: the run was not evaluated.
        """
        dataset, controls = run.dataset(), run.controls
        if not (controls / RECORD).is_file():
            raise TrainingError(f"{run.root} holds no scores: run the step `evaluate` first")

        def load(path: Path) -> Predictions:
            return Predictions.load(path, classes=dataset.labels, positive=dataset.positive)

        def if_there(path: Path, read: Any, otherwise: Any) -> Any:
            return read(path) if path.is_file() else otherwise

        return cls(
            scored_by=json.loads((controls / RECORD).read_bytes())["scored_by"],
            predictions=load(run.predictions),
            folds=read_folds(run.folds, classes=dataset.labels, positive=dataset.positive),
            histogram=if_there(controls / HISTOGRAM_BASELINE, load, None),
            source_guesses=if_there(controls / SOURCE_GUESSES, SourceGuesses.load, None),
            on_lung=load_on_lung(controls / MAPS_ON_LUNG),
            correlations=load_correlations(controls / MAP_CORRELATIONS),
            history=if_there(run.history, read_csv, []),
            images=_count(dataset),
            export=if_there(run.export_record, _read_json, {}),
            export_variants=if_there(run.root / _EXPORT_VARIANTS, read_csv, []),
            input_check=if_there(run.root / _INPUT_CHECK, _read_json, None),
        )


def load_maps(run: RunDirectory) -> NDArray[np.float16] | None:
    """Returns the positive class's map of each plain row, (n, 8, 8), or None if none was made."""
    path = run.controls / MAPS
    if not path.is_file():
        return None
    maps: NDArray[np.float16] = np.load(path)
    return maps


def clear(controls: Path) -> None:
    """Removes what an earlier model left in the folder of controls, and makes the folder."""
    controls.mkdir(exist_ok=True)
    for name in (
        *(RECORD, HISTOGRAM_BASELINE, SOURCE_GUESSES),
        *(MAPS_ON_LUNG, MAP_CORRELATIONS, MAPS),
    ):
        (controls / name).unlink(missing_ok=True)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _count(dataset: Dataset) -> dict[str, dict[str, dict[str, int]]]:
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for sample in dataset.samples:
        counts[sample.source][sample.label][sample.split] += 1
    return {
        source: {label: dict(sorted(splits.items())) for label, splits in sorted(labels.items())}
        for source, labels in sorted(counts.items())
    }
