"""The two sets of the US National Library of Medicine (Jaeger et al. 2014), by their file names.

    ChinaSet_AllFiles/  CXR_png/CHNCXR_0001_0.png  mask/CHNCXR_0001_0_mask.png (third-party)
    MontgomerySet/      CXR_png/MCUCXR_0001_0.png  ManualMask/{leftMask,rightMask}/MCUCXR_0001_0.png

The last figure of a name is the label: 0 normal, 1 tuberculosis. ClinicalReadings/ is not read.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tbscreen_shared.bundle.store import sha256_of
from tbscreen_training.errors import TrainingError
from tbscreen_training.sample import Sample
from tbscreen_training.sources.files import image_files, name_some
from tbscreen_training.sources.masks import LEFT, RIGHT

_NAME: Final = re.compile(r"(CHNCXR|MCUCXR)_(\d{4})_([01])\.png", re.IGNORECASE)
_IMAGES: Final = "CXR_png"
_SOURCES: Final = {"CHNCXR": "shenzhen", "MCUCXR": "montgomery"}
_LABELS: Final = {"0": "normal", "1": "tuberculosis"}
_MASK_FOLDERS: Final = ("mask", "masks", "mask/mask")
"""The third is how the archive of Shenzhen's masks unpacks (Kaggle, yoctoman/shcxr-lung-mask)."""


def find_nlm_images(root: Path) -> list[Path]:
    """Returns the folders with images of these sets: CXR_png up to two levels down, or `root`."""
    if not root.is_dir():
        return []
    found = [
        folder
        for pattern in (_IMAGES, f"*/{_IMAGES}", f"*/*/{_IMAGES}")
        for folder in sorted(root.glob(pattern))
        if folder.is_dir() and "__MACOSX" not in folder.parts and _holds_named_images(folder)
    ]
    return found or ([root] if _holds_named_images(root) else [])


def read_nlm(root: Path, name: str) -> Iterator[Sample]:
    """Yields the images of Shenzhen, Montgomery or both; the number in a name is the patient's.

    Raises:
        TrainingError: there is none, or an image's name does not fit.
    """
    folders = find_nlm_images(root)
    if not folders:
        raise TrainingError(f"{root} holds no image named like CHNCXR_0001_0.png")
    for folder in folders:
        files = list(image_files(folder))
        strange = [path.name for path in files if not _NAME.fullmatch(path.name)]
        if strange:
            raise TrainingError(
                f"{folder}: not named like CHNCXR_0001_0.png or MCUCXR_0001_0.png, so without a "
                f"label: {name_some(strange)}"
            )
        for path in files:
            prefix, number, label = _NAME.fullmatch(path.name).groups()  # type: ignore[union-attr]
            yield Sample(
                path=path,
                name=f"{name}/{path.relative_to(root).as_posix()}",
                source=_SOURCES[prefix.upper()],
                label=_LABELS[label],
                group=f"{prefix.upper()}_{number}",
                split="",
                sha256=sha256_of(path),
                mask=_find_mask(path),
            )


def _holds_named_images(folder: Path) -> bool:
    return any(_NAME.fullmatch(path.name) for path in folder.iterdir())


def _find_mask(image: Path) -> Path | None:
    beside = image.parent.parent if image.parent.name == _IMAGES else image.parent
    left = beside / "ManualMask" / LEFT / image.name
    if left.is_file() and (beside / "ManualMask" / RIGHT / image.name).is_file():
        return left
    for folder in _MASK_FOLDERS:
        for candidate in (f"{image.stem}_mask.png", image.name):
            if (beside / folder / candidate).is_file():
                return beside / folder / candidate
    return None
