"""The inspection's steps in their order."""

import sys
from pathlib import Path
from typing import Final

import numpy as np

from tbscreen_shared.contracts import Frozen
from tbscreen_training.config import DataConfig
from tbscreen_training.dataset import load_dataset
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import write_atomically
from tbscreen_training.inspection.contact_sheets import write_contact_sheets
from tbscreen_training.inspection.readings import read_all
from tbscreen_training.inspection.separability import Separability, measure_separability
from tbscreen_training.inspection.table import SourceLabel, count_images, to_text
from tbscreen_training.near_duplicates import find_repeats, report_repeats
from tbscreen_training.splits import join_groups

INSPECTION: Final = "inspection.json"
REPEATS: Final = "near-duplicates.csv"


class Inspection(Frozen):
    """inspection.json.

    Attributes:
        counts: by source and label.
        near_duplicates: how many pairs show one film, which `near-duplicates.csv` lists.
        unreadable: what can not be read, and why.
        separability: how well sources and labels are told apart without anatomy.
    """

    counts: tuple[SourceLabel, ...]
    near_duplicates: int
    unreadable: tuple[str, ...]
    separability: tuple[Separability, ...]


def inspect(config: DataConfig, folder: Path) -> Inspection:
    """Prints what a data set holds, and writes it with contact sheets into `folder`.

    Raises:
        TrainingError: the data can not be listed, or no image can be read.
    """
    readings, faults = read_all(load_dataset(config).samples)
    if not readings:
        raise TrainingError("no image can be read: " + "; ".join(faults[:3]))
    samples = [reading.sample for reading in readings]
    repeats = (
        find_repeats(np.stack([reading.small for reading in readings]))
        if config.near_duplicates
        else []
    )
    report_repeats(folder / REPEATS, samples, repeats)
    joined = join_groups(samples, [(repeat.first, repeat.second) for repeat in repeats])
    group_of = {member.name: group for group, members in joined.items() for member in members}
    groups = [group_of[sample.name] for sample in samples]
    inspection = Inspection(
        counts=tuple(count_images(readings, groups)),
        near_duplicates=len(repeats),
        unreadable=tuple(faults),
        separability=tuple(measure_separability(readings, groups)),
    )
    write_contact_sheets(folder, readings)
    write_atomically(folder / INSPECTION, inspection.model_dump_json(indent=2).encode() + b"\n")
    sys.stdout.write(to_text(inspection.counts, inspection.separability))
    sys.stdout.write(f"\n{len(repeats)} near-duplicate pairs: {folder / REPEATS}\n")
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    return inspection
