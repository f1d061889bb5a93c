"""What the check learns from and is measured on, each reduced to its layout."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tbscreen_shared.errors import ImageError
from tbscreen_shared.imaging import ImageLimits, read_radiograph, to_model_input
from tbscreen_shared.input_check import Kind, layout_of
from tbscreen_training.config import INPUT_PX
from tbscreen_training.errors import TrainingError
from tbscreen_training.input_check import drawn_bodies, drawn_pages, turned
from tbscreen_training.sample import Sample
from tbscreen_training.tensors import TensorCache

_VARIANTS: Final = 2
_REDUCED_PX: Final = 192
"""Variants are made of a reduced frame, in a quarter of the time; the layout sees 64 pixels."""

DRAWINGS: Final = {
    "document": drawn_pages.document,
    "table": drawn_pages.table,
    "chart": drawn_pages.chart,
    "screen": drawn_pages.screen,
    "sketch": drawn_pages.sketch,
    "leaves": drawn_pages.dead_leaves,
    "clouds": drawn_pages.clouds,
    "noise": drawn_pages.noise,
    "pattern": drawn_pages.pattern,
    "blank": drawn_pages.blank,
    "gradient": drawn_pages.gradient,
    "hand": drawn_bodies.hand,
    "limb": drawn_bodies.limb,
    "skull": drawn_bodies.skull,
    "abdomen": drawn_bodies.abdomen,
    "slice": drawn_bodies.slice_of_body,
    "lateral": drawn_bodies.lateral_chest,
}
RADIOGRAPH: Final = "radiograph"
PICTURE: Final = "picture"
_LATERAL: Final = "lateral"
_PARTS: Final = 5


@dataclass(frozen=True)
class Examples:
    """Images by rows.

    Attributes:
        layouts: (n, LAYOUT_FEATURES).
        kinds: (n,) what each shows.
        names: (n,) what a table calls it: `radiograph`, a transformation, a drawing, `picture`.
        origins: (n,) a radiograph's source, in parts where there is but one; otherwise the kind of
            drawing or the pictures' folder.
        is_radiograph: (n,) whether it was made from a radiograph.
        is_fitted: (n,) whether it may be learned from.
        is_measured: (n,) whether it counts in the figures.
    """

    layouts: NDArray[np.float32]
    kinds: NDArray[np.str_]
    names: NDArray[np.str_]
    origins: NDArray[np.str_]
    is_radiograph: NDArray[np.bool_]
    is_fitted: NDArray[np.bool_]
    is_measured: NDArray[np.bool_]


@dataclass(frozen=True)
class _Example:
    layout: NDArray[np.float32]
    kind: Kind
    name: str
    origin: str
    is_radiograph: bool = False
    is_fitted: bool = True
    is_measured: bool = True


def gather(
    samples: Sequence[Sample],
    tensors: TensorCache,
    *,
    drawings: int,
    pictures: Path | None,
    seed: int,
) -> Examples:
    """Makes every example.

    Args:
        samples: frontal chest radiographs.
        tensors: their decoded frames.
        drawings: how many of each kind to draw.
        pictures: folder of what is no chest radiograph, a folder in it for each origin.
        seed: of everything drawn.

    Raises:
        TrainingError: `pictures` has no folder of pictures, or one that can not be read.
    """
    origin_of = origins_of(samples)
    rows = [
        *(_pictures(pictures, seed) if pictures else ()),
        *(
            row
            for sample, origin in zip(samples, origin_of, strict=True)
            for row in _of_radiograph(sample, origin, tensors, seed)
        ),
        *_drawn(drawings, seed),
    ]
    return Examples(
        layouts=np.stack([row.layout for row in rows]),
        kinds=np.array([row.kind.value for row in rows]),
        names=np.array([row.name for row in rows]),
        origins=np.array([row.origin for row in rows]),
        is_radiograph=np.array([row.is_radiograph for row in rows]),
        is_fitted=np.array([row.is_fitted for row in rows]),
        is_measured=np.array([row.is_measured for row in rows]),
    )


def origins_of(samples: Sequence[Sample]) -> list[str]:
    """Returns what each radiograph is held out with: its source, or a fifth of the only source."""
    if len({sample.source for sample in samples}) > 1:
        return [sample.source for sample in samples]
    groups = sorted({sample.group for sample in samples})
    part_of = {group: place % _PARTS + 1 for place, group in enumerate(groups)}
    return [f"{sample.source}, part {part_of[sample.group]}" for sample in samples]


def _of_radiograph(
    sample: Sample, origin: str, tensors: TensorCache, seed: int
) -> Iterator[_Example]:
    rng = np.random.default_rng([seed, int(sample.sha256[:12], 16)])
    frame = tensors.load(sample)
    example = partial(_Example, origin=origin, is_radiograph=True)
    yield example(layout_of(frame), Kind.FRONTAL, RADIOGRAPH)
    whole = Image.fromarray(frame[:, :, 0])
    pixels = np.asarray(whole.resize((_REDUCED_PX, _REDUCED_PX), Image.Resampling.BOX))
    for _ in range(_VARIANTS):
        varied = turned.vary(pixels, rng)
        yield example(_layout(varied), Kind.FRONTAL, "varied", is_measured=False)
        kind, turn = list(turned.REFUSED.items())[int(rng.integers(len(turned.REFUSED)))]
        yield example(_layout(turn(varied, rng)), kind, kind.value, is_measured=False)
    for kind, turn in turned.REFUSED.items():
        yield example(_layout(turn(pixels, rng)), kind, kind.value)
    for name, turn in turned.READ_ALL_THE_SAME.items():
        yield example(_layout(turn(pixels, rng)), Kind.FRONTAL, name, is_fitted=False)


def _drawn(count: int, seed: int) -> Iterator[_Example]:
    for place, (name, draw) in enumerate(DRAWINGS.items()):
        kind = Kind.LATERAL if name == _LATERAL else Kind.OTHER
        for number in range(count):
            rng = np.random.default_rng([seed, place, number])
            pixels = np.asarray(draw(rng))
            yield from _with_a_variant(_layout(pixels), pixels, kind, name, f"drawn {name}", rng)


def _pictures(root: Path, seed: int) -> Iterator[_Example]:
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not folders:
        raise TrainingError(f"{root} holds no folder of pictures: one is needed for each origin")
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                picture = read_radiograph(path, limits=ImageLimits(), target_px=INPUT_PX)
            except (ImageError, OSError) as error:
                raise TrainingError(f"{path} can not be read: {error}") from error
            frame = to_model_input(picture, height=INPUT_PX, width=INPUT_PX)
            yield from _with_a_variant(
                layout_of(frame),
                frame[:, :, 0],
                Kind.OTHER,
                PICTURE,
                f"pictures {folder.name}",
                np.random.default_rng([seed, zlib.crc32(path.name.encode())]),
            )


def _with_a_variant(
    layout: NDArray[np.float32],
    pixels: NDArray[np.uint8],
    kind: Kind,
    name: str,
    origin: str,
    rng: np.random.Generator,
) -> Iterator[_Example]:
    """Gives the example and one varied like a radiograph: black frames must not tell the two."""
    yield _Example(layout, kind, name, origin)
    small = Image.fromarray(pixels).resize((_REDUCED_PX, _REDUCED_PX), Image.Resampling.BOX)
    varied = turned.vary(np.asarray(small), rng)
    yield _Example(_layout(varied), kind, name, origin, is_measured=False)


def _layout(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return layout_of(pixels[:, :, np.newaxis])
