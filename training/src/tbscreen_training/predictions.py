"""predictions.csv: the one table that every figure of a report is computed from.

It has a row for each image in each view: `plain`, and those of `controls.py`, in which the lungs or
everything else are taken away.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.bundle import Calibration
from tbscreen_training.activation import class_probabilities
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import read_csv, write_csv

PLAIN: Final = "plain"
"""The view of an image as it is served."""

_NAMES: Final = ("file", "source", "group", "label", "split", "view")
_WITHIN_SOURCE_AT_LEAST: Final = 20
"""Fewer images of a class than this say too little of a source to rest a threshold on."""


@dataclass(frozen=True)
class Predictions:
    """What the model says of each image in each view, beside what is true.

    Attributes:
        classes: the labels, in the order of the columns below.
        positive: the one that means disease.
        files: name of each image (n,).
        sources: (n,).
        groups: (n,).
        labels: true class (n,).
        splits: validation, test or left_out (n,).
        views: plain, or what was taken away (n,).
        logits: of the scored model (n, K).
        keras_logits: of the network before export (n, K); NaN where only the export was scored.
        probabilities: calibrated (n, classes); rows sum to 1.
    """

    classes: tuple[str, ...]
    positive: str
    files: NDArray[np.str_]
    sources: NDArray[np.str_]
    groups: NDArray[np.str_]
    labels: NDArray[np.str_]
    splits: NDArray[np.str_]
    views: NDArray[np.str_]
    logits: NDArray[np.float64]
    keras_logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        """Whether each image is of the positive class (n,)."""
        return np.asarray(self.labels == self.positive)

    @property
    def scores(self) -> NDArray[np.float64]:
        """Calibrated probability of the positive class (n,)."""
        return self.probabilities[:, self.classes.index(self.positive)]

    @property
    def targets(self) -> NDArray[np.int64]:
        """Place of each true class among the classes (n,)."""
        return np.array([self.classes.index(label) for label in self.labels], dtype=np.int64)

    def where(self, mask: NDArray[np.bool_] | NDArray[np.int64]) -> "Predictions":
        """Returns the rows that `mask` (n,) chooses, or those at its places."""
        return replace(
            self,
            files=self.files[mask],
            sources=self.sources[mask],
            groups=self.groups[mask],
            labels=self.labels[mask],
            splits=self.splits[mask],
            views=self.views[mask],
            logits=self.logits[mask],
            keras_logits=self.keras_logits[mask],
            probabilities=self.probabilities[mask],
        )

    def of_split(self, split: str) -> "Predictions":
        """Returns the rows of validation, test or left_out."""
        return self.where(self.splits == split)

    def of_view(self, view: str) -> "Predictions":
        """Returns the rows of one view of the images."""
        return self.where(self.views == view)

    def both_class_sources(self) -> tuple[str, ...]:
        """Returns the sources that hold enough positive and enough other images.

        Only within such a source can a score not be won by telling the sources apart.
        """
        counts = Counter(zip(self.sources.tolist(), self.is_positive.tolist(), strict=True))
        return tuple(
            source
            for source in sorted(set(self.sources.tolist()))
            if min(counts[source, True], counts[source, False]) >= _WITHIN_SOURCE_AT_LEAST
        )

    def of_sources(self, sources: tuple[str, ...]) -> "Predictions":
        """Returns the rows of the named sources."""
        return self.where(np.isin(self.sources, sources))

    @classmethod
    def stack(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """Returns the rows of tables of the same classes, one after the other."""
        first, columns = parts[0], [field.name for field in fields(cls)[2:]]
        joined = [np.concatenate([getattr(part, name) for part in parts]) for name in columns]
        return cls(first.classes, first.positive, *joined)

    def uncalibrated(self) -> "Predictions":
        """Returns the table with the probabilities that the logits stand for as they are."""
        return self.calibrated(Calibration(method="identity", scale=1.0))

    def calibrated(self, calibration: Calibration) -> "Predictions":
        """Returns the table with probabilities that `calibration` makes of the logits."""
        shares = class_probabilities(self.logits, scale=calibration.scale, bias=calibration.bias)
        return replace(self, probabilities=shares)

    def with_keras_logits(self) -> "Predictions":
        """Returns the table with the logits of the network before export."""
        return replace(self, logits=self.keras_logits)

    def decide(self, threshold: float) -> NDArray[np.str_]:
        """Returns the predicted class of each image (n,), as the workers decide it.

        It is the positive class at or above the threshold, else the likeliest other one.
        """
        others = self.probabilities.copy()
        others[:, self.classes.index(self.positive)] = -1.0
        likeliest = np.array(self.classes)[others.argmax(axis=1)]
        return np.where(self.scores >= threshold, self.positive, likeliest)

    def save(self, path: Path) -> None:
        """Writes the table as csv; numbers keep their full precision."""
        outputs = self._output_names()
        columns = [
            *_NAMES,
            *(f"logit {name}" for name in outputs),
            *(f"keras logit {name}" for name in outputs),
            *(f"probability {name}" for name in self.classes),
        ]
        texts = (self.files, self.sources, self.groups, self.labels, self.splits, self.views)
        numbers = np.hstack([self.logits, self.keras_logits, self.probabilities])
        rows = (
            dict(zip(columns, [*names, *map(repr, values.tolist())], strict=True))
            for *names, values in zip(*texts, numbers, strict=True)
        )
        write_csv(path, columns, rows)

    @classmethod
    def load(cls, path: Path, *, classes: tuple[str, ...], positive: str) -> "Predictions":
        """Reads a table that `save` wrote.

        Raises:
            TrainingError: there is none.
        """
        if not path.is_file():
            raise TrainingError(f"{path} is missing: run the step `evaluate` first")
        rows = read_csv(path)
        outputs = _output_names(classes, positive)

        def text(column: str) -> NDArray[np.str_]:
            return np.array([row[column] for row in rows], dtype=np.str_)

        def numbers(kind: str, names: tuple[str, ...]) -> NDArray[np.float64]:
            return np.array([[float(row[f"{kind} {name}"]) for name in names] for row in rows])

        return cls(
            classes,
            positive,
            files=text("file"),
            sources=text("source"),
            groups=text("group"),
            labels=text("label"),
            splits=text("split"),
            views=text("view"),
            logits=numbers("logit", outputs),
            keras_logits=numbers("keras logit", outputs),
            probabilities=numbers("probability", classes),
        )

    def _output_names(self) -> tuple[str, ...]:
        return _output_names(self.classes, self.positive)


def _output_names(classes: tuple[str, ...], positive: str) -> tuple[str, ...]:
    return (positive,) if len(classes) == 2 else classes
