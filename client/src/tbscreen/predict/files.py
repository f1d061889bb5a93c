"""Finds the radiographs that a command line names."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom"})
_MAGIC: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")
_DICOM_PREAMBLE_BYTES: Final = 128


@dataclass(frozen=True)
class Radiograph:
    """A file to screen.

    Attributes:
        path: where it lies.
        name: how it is printed: the path as it was given, always printable as UTF-8.
        heatmap: path, relative to the folder of heat maps, that no other file of the batch has.
    """

    path: Path
    name: str
    heatmap: Path


def find_radiographs(paths: Sequence[Path], *, recursive: bool) -> list[Radiograph]:
    """Returns the files that `paths` name, folders walked in alphabetical order.

    A file that is named is taken as it is. In a folder, a file is taken if its suffix or its
    content is that of a PNG, JPEG, TIFF or DICOM file: files from a scanner's disc often have no
    suffix. Hidden files and a disc's DICOMDIR are passed over.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a folder holds no radiograph, or a path is neither file nor folder.
    """
    radiographs: list[Radiograph] = []
    taken: set[Path] = set()
    for given in paths:
        found = [given] if given.is_file() else list(_walk(given, recursive=recursive))
        for path in found:
            relative = Path(path.name) if path == given else path.relative_to(given)
            heatmap = _unused(relative.with_name(f"{relative.name}.heatmap.png"), taken)
            taken.add(heatmap)
            name = os.fsencode(path).decode("utf-8", "replace")
            radiographs.append(Radiograph(path, name, heatmap))
    return radiographs


def _walk(folder: Path, *, recursive: bool) -> Iterator[Path]:
    if not folder.exists():
        raise FileNotFoundError(f"no such file or folder: {folder}")
    if not folder.is_dir():
        raise ValueError(f"neither a file nor a folder: {folder}")
    empty = True
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and recursive)
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and name.upper() != "DICOMDIR" and _is_radiograph(path):
                empty = False
                yield path
    if empty:
        raise ValueError(f"no PNG, JPEG, TIFF or DICOM file in {folder}")


def _is_radiograph(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(_DICOM_PREAMBLE_BYTES + 4)
    except OSError:
        return False
    return head.startswith(_MAGIC) or head[_DICOM_PREAMBLE_BYTES:] == b"DICM"


def _unused(path: Path, taken: set[Path]) -> Path:
    candidate, number = path, 2
    while candidate in taken:
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate
