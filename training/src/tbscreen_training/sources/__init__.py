"""Readers of the layouts that labelled radiographs come in, each to samples with the raw labels.

A layout is recognised by its folders and file names, or named with --format.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tbscreen_training.config import DataFormat
from tbscreen_training.errors import TrainingError
from tbscreen_training.sample import Sample
from tbscreen_training.sources.folders import read_folders
from tbscreen_training.sources.manifest import MANIFEST, read_manifest
from tbscreen_training.sources.nlm import find_nlm_images, read_nlm
from tbscreen_training.sources.tbx11k import find_tbx11k_images, read_tbx11k

__all__ = ["read_samples", "recognise"]

_READERS: Final[dict[DataFormat, Callable[[Path, str], Iterator[Sample]]]] = {
    "folders": read_folders,
    "manifest": read_manifest,
    "nlm": read_nlm,
    "tbx11k": read_tbx11k,
}


def read_samples(root: Path, name: str, data_format: DataFormat) -> Iterator[Sample]:
    """Lists the samples of one data set.

    Args:
        root: its folder, or a manifest.
        name: of the data set, the first part of each sample's name.
        data_format: its layout; `auto` recognises it.

    Raises:
        TrainingError: there is no such path, or it does not have the layout.
    """
    if not root.exists():
        raise TrainingError(f"{root}: no such folder or manifest")
    return _READERS[recognise(root) if data_format == "auto" else data_format](root, name)


def recognise(root: Path) -> DataFormat:
    """Tells a data set's layout: a manifest, then a publisher's layout, else a folder per class."""
    if root.is_file() or (root / MANIFEST).is_file():
        return "manifest"
    if find_nlm_images(root):
        return "nlm"
    if find_tbx11k_images(root):
        return "tbx11k"
    return "folders"
