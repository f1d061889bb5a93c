"""A folder for each class, with images at any depth below it."""

from collections.abc import Iterator
from pathlib import Path

from tbscreen_shared.bundle.store import sha256_of
from tbscreen_training.errors import TrainingError
from tbscreen_training.sample import Sample
from tbscreen_training.sources.files import image_tree
from tbscreen_training.sources.manifest import MANIFEST


def read_folders(root: Path, name: str) -> Iterator[Sample]:
    """Yields the images of each class's folder; the folder's name is the label.

    Raises:
        TrainingError: there is no folder, or one without an image.
    """
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise TrainingError(f"{root} holds neither a folder for each class nor a {MANIFEST}")
    for folder in folders:
        files = list(image_tree(folder))
        if not files:
            raise TrainingError(f"the class {folder.name!r} is empty: {folder} holds no image")
        for path in files:
            inner = path.relative_to(root).as_posix()
            yield Sample(path, f"{name}/{inner}", name, folder.name, "", "", sha256_of(path))
