"""Divides the samples into train, validation and test, by group, alike in every stratum."""

import json
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tbscreen_training.config import LEFT_OUT, SPLITS, DataConfig
from tbscreen_training.dataset import Dataset, Sample
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import read_csv, write_atomically, write_csv

_log = logging.getLogger(__name__)

SPLIT_FILE: Final = "split.csv"
CLASSES_FILE: Final = "classes.json"
_COLUMNS: Final = ["file", "path", "source", "group", "label", "split", "sha256", "mask"]


def divide(
    dataset: Dataset,
    config: DataConfig,
    *,
    seed: int,
    repeats: Iterable[tuple[int, int]] = (),
) -> Dataset:
    """Gives each sample a split; a group never straddles two.

    Samples that share a group, are byte-identical or repeat one film form one group. Splits that
    the manifest names are kept. The rest goes, largest group first, to whichever split lacks most
    of the group's strata (source and label). The sources to leave out get the split `left_out`;
    a sample of another source in a group with one of theirs is dropped, since a model trained on
    it would have seen what was left out.

    Args:
        dataset: all samples.
        config: the splits' shares, and which sources to leave out.
        seed: decides who goes where.
        repeats: places in `dataset.samples` of two that show one film.

    Raises:
        TrainingError: the manifest puts one group into two splits, a class is missing in a
            split, there is no such source to leave out, or those to calibrate on hold one kind.
    """
    known = {sample.source for sample in dataset.samples}
    unknown = sorted(set(config.leave_out) - known)
    if unknown:
        raise TrainingError(f"there is no source {unknown} to leave out of {sorted(known)}")
    groups = join_groups(dataset.samples, repeats)
    left_out = _take_left_out(groups, config.leave_out)
    chosen = _assign(groups, config, seed)
    samples = left_out + [
        replace(sample, group=group, split=chosen[group])
        for group, members in groups.items()
        for sample in members
    ]
    divided = Dataset(
        tuple(sorted(samples, key=lambda sample: sample.name)), dataset.labels, dataset.positive
    )
    _check_classes(divided)
    _check_hospitals(divided, config.calibrate_on)
    return divided


def write_splits(run: Path, dataset: Dataset) -> None:
    """Writes split.csv and classes.json into the run directory."""
    classes = {"labels": dataset.labels, "positive": dataset.positive}
    write_atomically(run / CLASSES_FILE, json.dumps(classes).encode())
    rows = (
        {
            "file": sample.name,
            "path": sample.path,
            "source": sample.source,
            "group": sample.group,
            "label": sample.label,
            "split": sample.split,
            "sha256": sample.sha256,
            "mask": sample.mask or "",
        }
        for sample in dataset.samples
    )
    write_csv(run / SPLIT_FILE, _COLUMNS, rows)


def read_splits(run: Path) -> Dataset:
    """Reads split.csv and classes.json.

    Raises:
        TrainingError: the run has not been split, or its table puts a group into two splits.
    """
    path = run / SPLIT_FILE
    if not path.is_file():
        raise TrainingError(f"{run} has no {SPLIT_FILE}: run the step `split` first")
    samples = tuple(
        Sample(
            path=Path(row["path"]),
            name=row["file"],
            source=row["source"],
            label=row["label"],
            group=row["group"],
            split=row["split"],
            sha256=row["sha256"],
            mask=Path(row["mask"]) if row.get("mask") else None,
        )
        for row in read_csv(path)
    )
    _refuse_straddling(join_groups(samples))
    classes = json.loads((run / CLASSES_FILE).read_bytes())
    return Dataset(samples, tuple(classes["labels"]), classes["positive"])


def join_groups(
    samples: Sequence[Sample], repeats: Iterable[tuple[int, int]] = ()
) -> dict[str, list[Sample]]:
    """Returns the samples by group: of one given group, byte-identical, or of one film.

    Args:
        samples: all of them.
        repeats: places of two samples that show one film.
    """
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for sample in samples:
        if sample.group:
            parent[find(f"file {sample.sha256}")] = find(f"group {sample.group}")
    for first, second in repeats:
        one, other = (find(f"file {samples[place].sha256}") for place in (first, second))
        parent[one] = other
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[find(f"file {sample.sha256}")].append(sample)
    return {_group_name(members): members for members in groups.values()}


def _group_name(members: list[Sample]) -> str:
    named = sorted({sample.group for sample in members if sample.group})
    return named[0] if named else f"file-{members[0].sha256[:12]}"


def _take_left_out(groups: dict[str, list[Sample]], sources: tuple[str, ...]) -> list[Sample]:
    """Takes the groups with a sample of these sources out of `groups`; returns the samples."""
    taken: list[Sample] = []
    for group in [g for g, members in groups.items() if {s.source for s in members} & {*sources}]:
        for sample in groups.pop(group):
            if sample.source in sources:
                taken.append(replace(sample, group=group, split=LEFT_OUT))
            else:
                _log.warning(
                    "dropped: %s shares a group with an image of a left-out source", sample.name
                )
    return taken


def _check_hospitals(dataset: Dataset, hospitals: Sequence[str]) -> None:
    kinds = {s.label == dataset.positive for s in dataset.samples if s.source in hospitals}
    if hospitals and len(kinds) < 2:
        raise TrainingError(
            f"{', '.join(hospitals)} to calibrate on hold one kind of radiograph alone: "
            "probabilities and thresholds need both"
        )


def _refuse_straddling(groups: dict[str, list[Sample]]) -> None:
    for group, members in groups.items():
        by_split = {sample.split: sample.name for sample in members if sample.split}
        if len(by_split) > 1:
            sides = ", ".join(f"{name} in {split}" for split, name in sorted(by_split.items()))
            raise TrainingError(f"the group {group} is on both sides of a split: {sides}")


def _assign(groups: dict[str, list[Sample]], config: DataConfig, seed: int) -> dict[str, str]:
    _refuse_straddling(groups)
    shares = {
        "train": 1.0 - config.validation - config.test,
        "validation": config.validation,
        "test": config.test,
    }
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: len(groups[group]), reverse=True)
    strata = {
        group: Counter((sample.source, sample.label) for sample in groups[group]) for group in order
    }
    total = sum(strata.values(), Counter[tuple[str, str]]())
    filled = {split: Counter[tuple[str, str]]() for split in SPLITS}
    given = {g: next((s.split for s in groups[g] if s.split), "") for g in order}
    chosen: dict[str, str] = {}
    for group in sorted(order, key=lambda group: not given[group]):

        def fullness(split: str, members: Counter[tuple[str, str]] = strata[group]) -> float:
            return sum(
                count * filled[split][stratum] / (shares[split] * total[stratum])
                for stratum, count in members.items()
            )

        chosen[group] = given[group] or min(SPLITS, key=fullness)
        filled[chosen[group]].update(strata[group])
    return chosen


def _check_classes(dataset: Dataset) -> None:
    for split in SPLITS:
        present = {sample.label for sample in dataset.of_split(split)}
        missing = [label for label in dataset.labels if label not in present]
        if missing:
            raise TrainingError(
                f"the {split} split has no image of {missing}: each class needs at least three "
                "groups, one for each of train, validation and test"
            )
