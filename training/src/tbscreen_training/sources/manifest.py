"""A table of images: file, label, and where known source, group, split and mask."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tbscreen_shared.bundle.store import sha256_of
from tbscreen_training.config import SPLITS
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import read_csv
from tbscreen_training.sample import Sample

MANIFEST: Final = "manifest.csv"


def read_manifest(path: Path, name: str) -> Iterator[Sample]:
    """Yields the images that a manifest lists; its paths start at its folder.

    Args:
        path: the table, or the folder with a manifest.csv.
        name: of the data set.

    Raises:
        TrainingError: a column, file or mask is missing, or a split is none.
    """
    manifest = path / MANIFEST if path.is_dir() else path
    if not manifest.is_file():
        raise TrainingError(f"{path} holds no {MANIFEST}")
    rows = read_csv(manifest)
    if not rows:
        raise TrainingError(f"{manifest} lists no image")
    for column in ("file", "label"):
        if column not in rows[0]:
            raise TrainingError(f"{manifest} has no column {column!r}")
    for line, row in enumerate(rows, start=2):
        file = _existing(manifest, line, row["file"])
        split = row.get("split") or ""
        if split not in ("", *SPLITS):
            raise TrainingError(f"{manifest}, line {line}: split {split!r} is none of {SPLITS}")
        yield Sample(
            path=file,
            name=f"{name}/{row['file']}",
            source=row.get("source") or name,
            label=row["label"],
            # Patient 1 of one data set is not patient 1 of another.
            group=f"{name}/{row['group']}" if row.get("group") else "",
            split=split,
            sha256=sha256_of(file),
            mask=_existing(manifest, line, row["mask"]) if row.get("mask") else None,
        )


def _existing(manifest: Path, line: int, file: str) -> Path:
    path = manifest.parent / file
    if not path.is_file():
        raise TrainingError(f"{manifest}, line {line}: there is no file {file}")
    return path
