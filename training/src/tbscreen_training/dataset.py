"""The labelled radiographs: from folders and manifests to one list of samples."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_training.config import DataConfig
from tbscreen_training.errors import TrainingError
from tbscreen_training.sample import Sample
from tbscreen_training.sources import read_samples

__all__ = ["Dataset", "Sample", "load_dataset"]

_LIKE_TB: Final = re.compile(r"\b(tb|tuberculosis)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Dataset:
    """All samples of a run and the model's classes.

    Attributes:
        samples: in a fixed order.
        labels: the classes in the order of the network's outputs. Of two classes the positive one
            comes second, since the one logit is its own.
        positive: the class that means disease.
    """

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    positive: str

    @property
    def positive_index(self) -> int:
        """Place of the positive class among the labels."""
        return self.labels.index(self.positive)

    def targets(self, samples: Sequence[Sample]) -> NDArray[np.int64]:
        """Returns each sample's place among the labels (n,)."""
        return np.array([self.labels.index(sample.label) for sample in samples], dtype=np.int64)

    def of_split(self, split: str) -> list[Sample]:
        """Returns the samples of train, validation, test or left_out."""
        return [sample for sample in self.samples if sample.split == split]

    def rows_of(self, split: str) -> NDArray[np.int64]:
        """Returns the places of a split's samples among all."""
        return np.flatnonzero([sample.split == split for sample in self.samples])


def load_dataset(config: DataConfig) -> Dataset:
    """Lists every sample of the configured data sets, with the labels mapped to classes.

    Raises:
        TrainingError: a path or column is missing, a class is empty or there is only one, a label
            belongs to no class, or one image has two labels.
    """
    names = _root_names(config.roots)
    found = [
        sample
        for root, name in zip(config.roots, names, strict=True)
        for sample in read_samples(root, name, config.format)
    ]
    classes = config.classes or {label: (label,) for label in sorted({s.label for s in found})}
    samples = _map_labels(found, classes)
    labels = tuple(classes)
    counts = Counter(sample.label for sample in samples)
    for label in labels:
        if not counts[label]:
            raise TrainingError(f"the class {label!r} is empty: no image is labelled so")
    if len(labels) < 2:
        raise TrainingError(f"there must be two classes or more, and there is only {labels[0]!r}")
    _refuse_contradictions(samples)
    positive = _positive_of(labels, config.positive)
    if len(labels) == 2:
        labels = (*(label for label in labels if label != positive), positive)
    return Dataset(tuple(samples), labels, positive)


def _root_names(roots: Sequence[Path]) -> list[str]:
    bases = [(root.parent if root.suffix.lower() == ".csv" else root).name for root in roots]
    seen: Counter[str] = Counter()
    names = []
    for base in bases:
        seen[base] += 1
        names.append(base if seen[base] == 1 else f"{base}-{seen[base]}")
    return names


def _map_labels(found: list[Sample], classes: dict[str, tuple[str, ...]]) -> list[Sample]:
    class_of = {label: name for name, labels in classes.items() for label in labels}
    unknown = sorted({sample.label for sample in found} - class_of.keys())
    if unknown:
        raise TrainingError(f"no class takes the labels {unknown}: name them in a --class")
    return [replace(sample, label=class_of[sample.label]) for sample in found]


def _refuse_contradictions(samples: list[Sample]) -> None:
    first: dict[str, Sample] = {}
    for sample in samples:
        other = first.setdefault(sample.sha256, sample)
        if other.label != sample.label:
            raise TrainingError(
                f"one image has two labels: {other.name} is {other.label!r}, "
                f"{sample.name} is {sample.label!r}"
            )


def _positive_of(labels: tuple[str, ...], named: str | None) -> str:
    if named is not None:
        if named not in labels:
            raise TrainingError(f"--positive {named!r} is none of the classes {list(labels)}")
        return named
    candidates = [label for label in labels if _LIKE_TB.search(label)]
    if len(candidates) != 1:
        raise TrainingError(f"which of {list(labels)} is the positive class? Name it: --positive")
    return candidates[0]
