"""The radiographs that tests run on: real ones where TBSCREEN_RADIOGRAPHS names a folder."""

import os
from pathlib import Path

from support.phantom import draw_phantom

_SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm", ".tif", ".tiff")


def radiograph_files(directory: Path) -> list[Path]:
    """Returns real radiographs, or draws eight phantoms into `directory`."""
    named = os.environ.get("TBSCREEN_RADIOGRAPHS")
    if named:
        found = sorted(p for p in Path(named).rglob("*") if p.suffix.lower() in _SUFFIXES)
        if not found:
            raise RuntimeError(f"TBSCREEN_RADIOGRAPHS={named} holds no radiograph")
        return found
    files = []
    for seed in range(8):
        path = directory / f"phantom-{seed}.png"
        draw_phantom(seed, positive=seed % 2 == 1).save(path)
        files.append(path)
    return files
