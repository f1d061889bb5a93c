"""Contact sheets: a page of small radiographs for each source and label."""

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

from tbscreen_training.files import replacing
from tbscreen_training.inspection.readings import Reading

_COLUMNS: Final = 10
_ROWS: Final = 6
_CAPTION_PX: Final = 16
_SEED: Final = 1


def write_contact_sheets(folder: Path, readings: Sequence[Reading]) -> list[Path]:
    """Writes contact-<source>-<label>.png, up to 60 images each, the same ones each time."""
    members: dict[tuple[str, str], list[Reading]] = defaultdict(list)
    for reading in readings:
        members[reading.sample.source, reading.sample.label].append(reading)
    paths = []
    for (source, label), shown in sorted(members.items()):
        path = folder / f"contact-{_slug(source)}-{_slug(label)}.png"
        caption = f"{source}, {label}: {len(shown)} images"
        page = sorted(
            random.Random(_SEED).sample(shown, min(len(shown), _COLUMNS * _ROWS)),
            key=lambda reading: reading.sample.name,
        )
        with replacing(path) as partial:
            _draw(page, caption).save(partial, format="PNG")
        paths.append(path)
    return paths


def _draw(page: Sequence[Reading], caption: str) -> Image.Image:
    side = len(page[0].small)
    rows = -(-len(page) // _COLUMNS)
    sheet = Image.new("L", (_COLUMNS * side, _CAPTION_PX + rows * side))
    ImageDraw.Draw(sheet).text((2, 2), caption, fill=255)
    for place, reading in enumerate(page):
        row, column = divmod(place, _COLUMNS)
        sheet.paste(Image.fromarray(reading.small), (column * side, _CAPTION_PX + row * side))
    return sheet


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"
