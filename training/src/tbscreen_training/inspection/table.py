"""The table of what there is, by source and label."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from tbscreen_shared.contracts import Frozen
from tbscreen_training.inspection.readings import Reading
from tbscreen_training.inspection.separability import Separability


class SourceLabel(Frozen):
    """The images of one source and label.

    Attributes:
        source: of the images.
        label: of the images.
        images: how many.
        groups: how many groups, near-duplicates joined.
        copies: files that are byte-identical to an earlier one of the set.
        masks: how many have a lung mask.
        sizes: smallest and largest width and height, pixels.
        formats: how many files of each format.
        mean_grey: mean of the images' means, 0-255.
        spread_grey: mean of the images' standard deviations, levels.
    """

    source: str
    label: str
    images: int
    groups: int
    copies: int
    masks: int
    sizes: tuple[int, int, int, int]
    formats: dict[str, int]
    mean_grey: float
    spread_grey: float


def count_images(readings: Sequence[Reading], groups: Sequence[str]) -> list[SourceLabel]:
    """Counts the images of each source and label; `groups` has one for each reading."""
    members: dict[tuple[str, str], list[tuple[Reading, str]]] = defaultdict(list)
    for reading, group in zip(readings, groups, strict=True):
        members[reading.sample.source, reading.sample.label].append((reading, group))
    rows = []
    for (source, label), pairs in sorted(members.items()):
        of_kind = [reading for reading, _ in pairs]
        widths = [reading.width for reading in of_kind]
        heights = [reading.height for reading in of_kind]
        rows.append(
            SourceLabel(
                source=source,
                label=label,
                images=len(of_kind),
                groups=len({group for _, group in pairs}),
                copies=len(of_kind) - len({reading.sample.sha256 for reading in of_kind}),
                masks=sum(reading.sample.mask is not None for reading in of_kind),
                sizes=(min(widths), max(widths), min(heights), max(heights)),
                formats=dict(sorted(Counter(reading.format for reading in of_kind).items())),
                mean_grey=round(float(np.mean([r.mean_grey for r in of_kind])), 1),
                spread_grey=round(float(np.mean([r.spread_grey for r in of_kind])), 1),
            )
        )
    return rows


def to_text(rows: Sequence[SourceLabel], answers: Sequence[Separability]) -> str:
    """Sets both tables for a terminal."""
    counts = [
        ["source", "label", "images", "groups", "copies", "masks", "size px", "formats", "grey"]
    ]
    for row in rows:
        narrow, wide, low, high = row.sizes
        width = str(narrow) if narrow == wide else f"{narrow}-{wide}"
        height = str(low) if low == high else f"{low}-{high}"
        formats = " ".join(f"{name} {count}" for name, count in row.formats.items())
        numbers = map(str, (row.images, row.groups, row.copies, row.masks))
        grey = f"{row.mean_grey:.0f} ± {row.spread_grey:.0f}"
        counts.append([row.source, row.label, *numbers, f"{width} x {height}", formats, grey])
    asked = [["told apart without anatomy, AUC", "images", *(answers[0].auc if answers else ())]]
    for answer in answers:
        figures = [f"{auc.value:.3f} ({auc.low:.3f}-{auc.high:.3f})" for auc in answer.auc.values()]
        asked.append([answer.what, f"{answer.of_kind} of {answer.images}", *figures])
    return _align(counts) + "\n" + (_align(asked) if answers else "")


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)
