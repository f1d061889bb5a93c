"""One labelled radiograph, as every reader gives it and every step takes it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One labelled radiograph.

    Attributes:
        path: the file.
        name: how tables and reports call it: the data set's name and the path inside it.
        source: where it comes from (hospital, device, publication).
        label: as the data say it, or the model's class once mapped.
        group: what must stay on one side of a split (a patient); empty where unknown.
        split: train, validation, test or left_out; empty where not yet decided.
        sha256: of the file, hexadecimal.
        mask: of the lungs, any size, above 0 is lung; None where there is none. Read it with
            `sources.masks.open_mask`.
    """

    path: Path
    name: str
    source: str
    label: str
    group: str
    split: str
    sha256: str
    mask: Path | None = None
