"""Radiographs with their activation maps, for the report: the most confident of each kind.

Only of sources that the run names as allowed to be shown, small, and without their files' names.
"""

import base64
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tbscreen_training.errors import TrainingError
from tbscreen_training.predictions import PLAIN, Predictions
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.tables import load_maps

_log = logging.getLogger(__name__)

_OF_EACH_KIND: Final = 3
_SIDE_PX: Final = 200
_QUALITY: Final = 70
_OPACITY: Final = 0.55


@dataclass(frozen=True)
class MapSample:
    """One radiograph of the report.

    Attributes:
        source: of the image.
        label: true class.
        score: probability of the positive class.
        picture: data URI of a JPEG: the radiograph, and beside it the same under its map.
    """

    source: str
    label: str
    score: float
    picture: str


@dataclass(frozen=True)
class MapSamples:
    """The most confident hits, misses and false alarms of the test split."""

    title: str
    samples: Sequence[MapSample]


def choose_map_samples(
    run: RunDirectory, predictions: Predictions, threshold: float
) -> list[MapSamples]:
    """Draws the samples of the sources that may be shown; nothing where none may, or no map is."""
    maps = load_maps(run)
    if maps is None or not run.config.show_source:
        return []
    plain = predictions.of_view(PLAIN)
    may = (plain.splits == "test") & np.isin(plain.sources, run.config.show_source)
    sick, called, scores = plain.is_positive, plain.scores >= threshold, plain.scores
    kinds = (
        ("Most confident hits", may & sick & called, -scores),
        ("Most confident misses", may & sick & ~called, scores),
        ("Most confident false alarms", may & ~sick & called, -scores),
    )
    return [
        MapSamples(title, _draw(run, plain, maps, _first(chosen, order)))
        for title, chosen, order in kinds
    ]


def overlay(tensor: NDArray[np.uint8], activation_map: NDArray[np.floating]) -> Image.Image:
    """Returns the radiograph (S, S, 1), and beside it the same under its map (m, m) ≥ 0.

    The map is scaled to its own maximum, so a map of nothing shows nothing.
    """
    size = (_SIDE_PX, _SIDE_PX)
    grey = Image.fromarray(tensor[:, :, 0]).resize(size, Image.Resampling.LANCZOS).convert("RGB")
    scaled = activation_map.astype(np.float32) / max(float(activation_map.max()), 1e-9)
    smooth = Image.fromarray(scaled).resize(size, Image.Resampling.BICUBIC)
    share = np.clip(np.asarray(smooth), 0, 1)
    heat = matplotlib.colormaps["inferno"](share)[:, :, :3] * 255
    weight = (_OPACITY * share)[:, :, np.newaxis]
    mixed = np.asarray(grey) * (1 - weight) + heat * weight
    pair = np.concatenate([np.asarray(grey), np.rint(mixed).astype(np.uint8)], axis=1)
    return Image.fromarray(pair)


def _first(chosen: NDArray[np.bool_], order: NDArray[np.float64]) -> list[int]:
    places = np.flatnonzero(chosen)
    ranked: list[int] = places[np.argsort(order[places], kind="stable")].tolist()
    return ranked[:_OF_EACH_KIND]


def _draw(
    run: RunDirectory, plain: Predictions, maps: NDArray[np.float16], places: Sequence[int]
) -> list[MapSample]:
    samples = {sample.name: sample for sample in run.dataset().of_split("test")}
    tensors, drawn = run.tensors(), []
    for place in places:
        try:
            tensor = tensors.load(samples[str(plain.files[place])])
        except TrainingError as error:
            _log.warning("not shown in the report: %s", error)
            continue
        written = io.BytesIO()
        overlay(tensor, maps[place]).save(written, "JPEG", quality=_QUALITY, optimize=True)
        encoded = base64.b64encode(written.getvalue()).decode()
        drawn.append(
            MapSample(
                source=str(plain.sources[place]),
                label=str(plain.labels[place]),
                score=float(plain.scores[place]),
                picture=f"data:image/jpeg;base64,{encoded}",
            )
        )
    return drawn
