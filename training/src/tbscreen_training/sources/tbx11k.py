"""TBX11K (Liu et al. 2020) as its archive unpacks.

    TBX11K/imgs/health/h0001.png  imgs/sick/s0001.png  imgs/tb/tb0001.png
           imgs/test/ (labels unpublished)  lists/*.txt  annotations/{json,xml}/
           imgs/extra/da+db/{train,val}/{n,p}1.png, {nx,px}1.jpg  imgs/extra/mc+shenzhen/

tb/ holds latent tuberculosis too (139 of its 800 by the publisher's boxes, and 30 with both). The
publisher's lists of training and validation images are not followed: near-duplicates lie on both
sides of them, and a group never straddles a split here.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tbscreen_shared.bundle.store import sha256_of
from tbscreen_training.errors import TrainingError
from tbscreen_training.sample import Sample
from tbscreen_training.sources.files import image_tree, name_some

_log = logging.getLogger(__name__)

_LABELS: Final = {"health": "normal", "sick": "other", "tb": "tuberculosis"}
_UNLABELLED: Final = "test"
_COPIES: Final = "mc+shenzhen"
_DELHI: Final = "da+db"
_DELHI_NAME: Final = re.compile(r"(n|p)x?\d+\.(png|jpe?g)", re.IGNORECASE)
_DELHI_LABELS: Final = {"n": "normal", "p": "tuberculosis"}


def find_tbx11k_images(root: Path) -> Path | None:
    """Returns the folder imgs: in `root`, in a folder of it, or `root` itself."""
    if not root.is_dir():
        return None
    for folder in (root / "imgs", *sorted(root.glob("*/imgs")), root):
        if all((folder / label).is_dir() for label in _LABELS):
            return folder
    return None


def read_tbx11k(root: Path, name: str) -> Iterator[Sample]:
    """Yields the labelled images: health is normal, sick is other, tb is tuberculosis.

    The two Delhi sets among the extras are sources of their own. What is left out is counted in
    the log: the unlabelled test images and the extras' copies of the NLM sets.

    Raises:
        TrainingError: `root` has not this layout, or an image has no known place in it.
    """
    imgs = find_tbx11k_images(root)
    if imgs is None:
        raise TrainingError(f"{root} has no folder imgs with health, sick and tb, as TBX11K has")
    left_out: Counter[str] = Counter()
    strange: list[str] = []
    for path in image_tree(imgs):
        place = path.relative_to(imgs).parts
        if place[0] == _UNLABELLED or place[:2] == ("extra", _COPIES):
            left_out["/".join(place[:-1][:2])] += 1
            continue
        source, label = _read_place(place)
        if not label:
            strange.append("/".join(place))
            continue
        inner = path.relative_to(root).as_posix()
        yield Sample(path, f"{name}/{inner}", source, label, "", "", sha256_of(path))
    if strange:
        raise TrainingError(f"{imgs}: images that TBX11K does not have: {name_some(strange)}")
    for folder, count in sorted(left_out.items()):
        _log.info("%s: %d images of %s are left out", name, count, folder)


def _read_place(place: tuple[str, ...]) -> tuple[str, str]:
    """Returns source and label; the label is empty where the place is not known."""
    if place[:2] == ("extra", _DELHI):
        match = _DELHI_NAME.fullmatch(place[-1])
        # The first machine's images are PNG, the second's JPEG.
        machine = "da" if place[-1].lower().endswith(".png") else "db"
        return f"tbx11k_{machine}", _DELHI_LABELS[match[1].lower()] if match else ""
    return "tbx11k", _LABELS.get(place[0], "") if len(place) > 1 else ""
