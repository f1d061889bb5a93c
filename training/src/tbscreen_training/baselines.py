"""Two questions that need no network: what do grey levels alone tell, and is the source in it?"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tbscreen_shared.bundle import Interval
from tbscreen_shared.contracts import Frozen
from tbscreen_training.dataset import Dataset, Sample
from tbscreen_training.files import read_csv, write_csv
from tbscreen_training.resampling import Statistic, Weights, interval_by_group
from tbscreen_training.tensors import TensorCache

_log = logging.getLogger(__name__)

EVERY_LABEL: Final = "all"

_GREY_BINS: Final = 64
_FOLDS: Final = 5
_LEAST_GROUPS: Final = 10
"""Sources with fewer groups than this can not be told apart in five folds."""

_REGULARISATION: Final = 0.01
_COLUMNS: Final = ("within", "file", "group", "source", "predicted")


@dataclass(frozen=True)
class SourceGuesses:
    """Which source a linear model takes each image for, judged by the network's features.

    Every row is predicted by a model that saw none of its group.

    Attributes:
        within: the label whose images were told apart, or `all` (n,).
        files: (n,).
        groups: (n,).
        sources: true (n,).
        predicted: (n,).
    """

    within: NDArray[np.str_]
    files: NDArray[np.str_]
    groups: NDArray[np.str_]
    sources: NDArray[np.str_]
    predicted: NDArray[np.str_]

    def save(self, path: Path) -> None:
        """Writes the table as csv."""
        columns = (self.within, self.files, self.groups, self.sources, self.predicted)
        rows = (dict(zip(_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True))
        write_csv(path, list(_COLUMNS), rows)

    @classmethod
    def load(cls, path: Path) -> "SourceGuesses":
        """Reads a table that `save` wrote."""
        rows = read_csv(path)
        return cls(*(np.array([row[name] for row in rows], np.str_) for name in _COLUMNS))


class SourcePredictability(Frozen):
    """How well the source can be told from the network's features.

    `balanced_accuracy` is the mean over the sources of the share recognised; `chance` is what a
    guess gets. Within one label the sources can not be told by the disease.
    """

    within: str
    images: int
    sources: tuple[str, ...]
    chance: float
    balanced_accuracy: Interval


def score_by_histogram(
    dataset: Dataset, scored: Sequence[Sample], tensors: TensorCache, *, seed: int
) -> NDArray[np.float64]:
    """Fits a logistic model to the grey histograms of the train split.

    Returns:
        its logits (n, K) for the `scored` samples, as the network's: one for two classes.
    """
    train = dataset.of_split("train")
    model = _linear(seed)
    model.fit(_histograms(train, tensors), dataset.targets(train))
    logits = np.asarray(model.decision_function(_histograms(scored, tensors)), np.float64)
    return logits.reshape(len(scored), -1)


def guess_sources(
    features: NDArray[np.floating[Any]], samples: Sequence[Sample], *, seed: int
) -> SourceGuesses | None:
    """Tells sources apart by features (n, F), over all images and within each label.

    Returns:
        None where no two sources hold ten groups each.
    """
    tables = []
    for within in (EVERY_LABEL, *sorted({sample.label for sample in samples})):
        chosen = _tellable(samples, within)
        if chosen:
            rows = [samples[index] for index in chosen]
            tables.append((within, rows, _cross_predict(features[chosen], rows, seed)))
    if not tables:
        return None

    def column(name: str) -> NDArray[np.str_]:
        return np.array([getattr(row, name) for _, rows, _ in tables for row in rows], np.str_)

    return SourceGuesses(
        within=np.concatenate([np.full(len(rows), within) for within, rows, _ in tables]),
        files=column("name"),
        groups=column("group"),
        sources=column("source"),
        predicted=np.concatenate([predicted for _, _, predicted in tables]),
    )


def measure_predictability(guesses: SourceGuesses, *, seed: int) -> list[SourcePredictability]:
    """Returns how well the sources were told apart, over all images and within each label."""
    result = []
    for within in dict.fromkeys(guesses.within.tolist()):
        rows = guesses.within == within
        truth, hit = guesses.sources[rows], (guesses.sources == guesses.predicted)[rows]
        names = tuple(sorted(set(truth.tolist())))
        value = float(balanced_accuracy_score(truth, guesses.predicted[rows]))
        interval = interval_by_group(
            value, guesses.groups[rows], _balanced_accuracy(truth, hit, names), seed=seed
        )
        result.append(
            SourcePredictability(
                within=within,
                images=int(rows.sum()),
                sources=names,
                chance=1 / len(names),
                balanced_accuracy=interval,
            )
        )
    return result


def _tellable(samples: Sequence[Sample], within: str) -> list[int]:
    groups: dict[str, set[str]] = {}
    for sample in samples:
        if within in (EVERY_LABEL, sample.label):
            groups.setdefault(sample.source, set()).add(sample.group)
    sources = {source for source, held in groups.items() if len(held) >= _LEAST_GROUPS}
    if len(sources) < 2:
        return []
    return [
        index
        for index, sample in enumerate(samples)
        if sample.source in sources and within in (EVERY_LABEL, sample.label)
    ]


def _cross_predict(
    features: NDArray[np.floating[Any]], samples: Sequence[Sample], seed: int
) -> NDArray[np.str_]:
    sources = np.array([sample.source for sample in samples])
    groups = np.array([sample.group for sample in samples])
    predicted = np.empty_like(sources)
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for train, held_out in folds.split(features, sources, groups):
        model = _linear(seed).fit(features[train], sources[train])
        predicted[held_out] = model.predict(features[held_out])
    return predicted


def _linear(seed: int) -> Pipeline:
    logistic = LogisticRegression(
        C=_REGULARISATION, class_weight="balanced", max_iter=2000, random_state=seed
    )
    return make_pipeline(StandardScaler(), logistic)


def _histograms(samples: Sequence[Sample], tensors: TensorCache) -> NDArray[np.float64]:
    return np.stack(
        [
            np.histogram(tensors.load(sample), bins=_GREY_BINS, range=(0, 256), density=True)[0]
            for sample in samples
        ]
    )


def _balanced_accuracy(
    truth: NDArray[np.str_], hit: NDArray[np.bool_], names: tuple[str, ...]
) -> Statistic:
    of_source = np.stack([truth == name for name in names], axis=1).astype(np.float64)

    def statistic(weights: Weights) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            shares = (weights @ (of_source * hit[:, np.newaxis])) / (weights @ of_source)
        means: NDArray[np.float64] = shares.mean(axis=1)
        return means

    return statistic
