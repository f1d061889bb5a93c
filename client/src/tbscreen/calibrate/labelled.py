"""Reads a site's labelled radiographs: folders named by label, or tables."""

import csv
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tbscreen.calibrate.site import Scored
from tbscreen.predict import Radiograph, find_radiographs

_MEANS_TB: Final = frozenset({"tb positive", "tuberculosis", "tb", "positive", "1"})
_MEANS_NO_TB: Final = frozenset({"normal", "negative", "no tb", "non-tb", "healthy", "0", "other"})


class LabelError(ValueError):
    """The sources do not say which radiographs show TB. The message says what is wrong."""


@dataclass(frozen=True)
class LabelledImage:
    """A file to be screened."""

    file: Radiograph
    is_positive: bool


@dataclass
class Labelled:
    """What the sources hold.

    Attributes:
        images: files that are still to be screened.
        scored: results that a table already has.
        versions: the models that these results come from.
        unanswered_positives: rows of such a table without a result, with TB.
        unanswered_negatives: those without TB.
        labels: how often each label occurs.
        positive_labels: those that were taken for TB.
    """

    images: list[LabelledImage] = field(default_factory=list)
    scored: list[Scored] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    unanswered_positives: int = 0
    unanswered_negatives: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    positive_labels: set[str] = field(default_factory=set)

    @property
    def positives(self) -> int:
        """Number of images with TB, the unanswered among them: they count as missed."""
        return self._known_positives + self.unanswered_positives

    @property
    def negatives(self) -> int:
        """Number of the other images, without the unanswered: they measure nothing."""
        return len(self.images) + len(self.scored) - self._known_positives

    @property
    def _known_positives(self) -> int:
        return sum(i.is_positive for i in self.images) + sum(s.is_positive for s in self.scored)


@dataclass(frozen=True)
class _Labels:
    """What labels mean, in any case.

    Attributes:
        positive: those that mean TB.
        negative: those that mean none; None: all others do.
    """

    positive: Collection[str]
    negative: Collection[str] | None

    def mean_tb(self, label: str) -> bool:
        folded = label.casefold()
        if folded in self.positive:
            return True
        # Guessing would count an unheard-of word for TB among those without.
        if self.negative is not None and folded not in self.negative:
            raise LabelError(
                f"the label {label!r} may mean TB or not: name each label that means TB with "
                "--positive, and all others count as none"
            )
        return False


def read_sources(sources: Sequence[Path], positive: Collection[str]) -> Labelled:
    """Reads folders with a folder for each label, and tables.

    A table has the column `label`, and either `file` (relative to the table's folder) or what
    `tbscreen predict --format csv` prints.

    Args:
        sources: folders and tables.
        positive: labels that mean TB, in any case, all others meaning none; empty: the words usual
            for either, and no others.

    Raises:
        LabelError: a source or a label is not understood, or nothing or everything in it is TB.
        OSError: a file can not be read.
    """
    known = _Labels(_MEANS_TB, _MEANS_NO_TB)
    if positive:
        known = _Labels({label.casefold() for label in positive}, None)
    found = Labelled()
    for source in sources:
        if source.is_dir():
            _read_folder(source, known, found)
        else:
            _read_table(source, known, found)
    if not found.positive_labels or found.positive_labels == set(found.labels):
        every = ", ".join(repr(label) for label in sorted(found.labels))
        which = "all of the labels mean" if found.positive_labels else "none of the labels means"
        raise LabelError(f"{which} TB ({every}): name those that do with --positive")
    return found


def _read_folder(folder: Path, known: _Labels, found: Labelled) -> None:
    subfolders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not subfolders:
        raise LabelError(f"{folder} has no folder for each label, such as tuberculosis and normal")
    for subfolder in subfolders:
        try:
            files = find_radiographs([subfolder], recursive=True)
        except ValueError as error:
            raise LabelError(str(error)) from error
        is_positive = _count(subfolder.name, known, found, len(files))
        found.images += [LabelledImage(file, is_positive) for file in files]


def _read_table(path: Path, known: _Labels, found: Labelled) -> None:
    for number, row in _rows(path):
        label = (row.get("label") or "").strip()
        if not label:
            raise LabelError(f"{path}, line {number}: no label")
        is_positive = _count(label, known, found, 1)
        if "probability" in row:
            _take_result(row, is_positive, f"{path}, line {number}", found)
            continue
        name = (row.get("file") or "").strip()
        if not name:
            raise LabelError(f"{path}, line {number}: no file")
        file = path.parent / name
        if not file.is_file():
            raise LabelError(f"{path}, line {number}: there is no such file")
        found.images.append(LabelledImage(Radiograph(file, name, Path(name)), is_positive))


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str | None]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = set(reader.fieldnames or ())
            if "label" not in columns or not columns & {"file", "probability"}:
                raise LabelError(
                    f"{path} needs the column label, and file or the columns of "
                    "`tbscreen predict --format csv`"
                )
            for row in reader:
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path} is not a table (CSV in UTF-8)") from error


def _take_result(
    row: Mapping[str, str | None], is_positive: bool, where: str, found: Labelled
) -> None:
    if not row["probability"]:
        found.unanswered_positives += is_positive
        found.unanswered_negatives += not is_positive
        return
    if not row.get("model_version"):
        raise LabelError(f"{where}: no model_version: it is not from `tbscreen predict`")
    logit = row.get("logit") or None
    try:
        score = Scored(is_positive, float(row["probability"]), float(logit) if logit else None)
    except ValueError as error:
        raise LabelError(f"{where}: a number can not be read") from error
    if not (0.0 <= score.probability <= 1.0 and math.isfinite(score.logit or 0.0)):
        raise LabelError(f"{where}: a number is out of range")
    found.scored.append(score)
    found.versions.add(row["model_version"] or "")


def _count(label: str, known: _Labels, found: Labelled, images: int) -> bool:
    is_positive = known.mean_tb(label)
    found.labels[label] += images
    if is_positive:
        found.positive_labels.add(label)
    return is_positive
