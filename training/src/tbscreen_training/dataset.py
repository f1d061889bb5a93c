"""The labelled radiographs: from folders and manifests to one list of samples."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.bundle.store import sha256_of
from tbscreen_training.config import SPLITS, DataConfig
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import read_csv

_SUFFIXES: Final = frozenset(("", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom"))
_LIKE_TB: Final = re.compile(r"\b(tb|tuberculosis)\b", re.IGNORECASE)
_MANIFEST: Final = "manifest.csv"


@dataclass(frozen=True)
class Sample:
    """One labelled radiograph.

    Attributes:
        path: the file.
        name: how tables and reports call it: the data set's name and the path inside it.
        source: where it comes from (hospital, device, publication).
        label: the model's class.
        group: what must stay on one side of a split (a patient); empty where unknown.
        split: train, validation or test; empty where not yet decided.
        sha256: of the file, hexadecimal.
    """

    path: Path
    name: str
    source: str
    label: str
    group: str
    split: str
    sha256: str


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
        """Returns the samples of train, validation or test."""
        return [sample for sample in self.samples if sample.split == split]


def load_dataset(config: DataConfig) -> Dataset:
    """Lists every sample of the configured folders and manifests.

    Raises:
        TrainingError: a path or column is missing, a class is empty or there is only one, a label
            belongs to no class, or one image has two labels.
    """
    names = _root_names(config.roots)
    found = [
        sample
        for root, name in zip(config.roots, names, strict=True)
        for sample in _read_root(root, name)
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


def _read_root(root: Path, name: str) -> Iterator[Sample]:
    if root.is_file():
        return _read_manifest(root, name)
    if (root / _MANIFEST).is_file():
        return _read_manifest(root / _MANIFEST, name)
    if root.is_dir():
        return _read_folders(root, name)
    raise TrainingError(f"{root}: no such folder or manifest")


def _read_folders(root: Path, name: str) -> Iterator[Sample]:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise TrainingError(f"{root} holds neither a folder for each class nor a {_MANIFEST}")
    for folder in folders:
        files = sorted(
            p
            for p in folder.rglob("*")
            if p.is_file() and not p.name.startswith(".") and p.suffix.lower() in _SUFFIXES
        )
        if not files:
            raise TrainingError(f"the class {folder.name!r} is empty: {folder} holds no image")
        for path in files:
            inner = path.relative_to(root).as_posix()
            yield Sample(path, f"{name}/{inner}", name, folder.name, "", "", sha256_of(path))


def _read_manifest(manifest: Path, name: str) -> Iterator[Sample]:
    rows = read_csv(manifest)
    if not rows:
        raise TrainingError(f"{manifest} lists no image")
    for column in ("file", "label"):
        if column not in rows[0]:
            raise TrainingError(f"{manifest} has no column {column!r}")
    for line, row in enumerate(rows, start=2):
        path = manifest.parent / row["file"]
        if not path.is_file():
            raise TrainingError(f"{manifest}, line {line}: there is no file {row['file']}")
        split = row.get("split") or ""
        if split not in ("", *SPLITS):
            raise TrainingError(f"{manifest}, line {line}: split {split!r} is none of {SPLITS}")
        yield Sample(
            path=path,
            name=f"{name}/{row['file']}",
            source=row.get("source") or name,
            label=row["label"],
            group=row.get("group") or "",
            split=split,
            sha256=sha256_of(path),
        )


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
