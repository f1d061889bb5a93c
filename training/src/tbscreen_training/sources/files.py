"""Which files of a data set's folder are radiographs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_SUFFIXES: Final = frozenset(("", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom"))
_NAMED_AT_MOST: Final = 5


def image_files(folder: Path) -> Iterator[Path]:
    """Yields a folder's images in order; thumbnails' databases and hidden files are none."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() in _SUFFIXES:
            yield path


def image_tree(folder: Path) -> Iterator[Path]:
    """Yields the images of a folder and of those in it, in order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() in _SUFFIXES:
            yield path


def name_some(names: Sequence[str]) -> str:
    """Returns a few names, and how many more there are."""
    rest = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
