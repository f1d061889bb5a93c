"""Fits the lung finder to radiographs with lung masks: `tbscreen-training fit-lungs`."""

import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tbscreen_training.acquisition import vary_acquisition
from tbscreen_training.augment import draw_movement, move
from tbscreen_training.config import Augmentation, DataConfig
from tbscreen_training.dataset import Sample, load_dataset
from tbscreen_training.determinism import make_deterministic
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import replacing
from tbscreen_training.lungs.finder import FRAME_PX, LUNGS_PX, build_finder
from tbscreen_training.sources.masks import read_mask
from tbscreen_training.tensors import TensorCache

_log = logging.getLogger(__name__)

_STRENGTHS: Final = Augmentation(
    rotation_deg=20.0,
    shift=0.12,
    shear_deg=10.0,
    zoom=0.35,
    brightness=0.3,
    gamma=1.2,
    contrast=0.6,
    border=0.2,
    noise=20.0,
)
"""Wider than the classifier's: a lung that is not found is a lung that is not read."""

_OPACITY_SHARE: Final = 0.5
_BLANK_SHARE: Final = 0.1
_HELD_OUT: Final = 0.15
_COARSE_PX: Final = 96
_BATCH: Final = 16


@dataclass(frozen=True)
class FinderFigures:
    """How well masks of held-out radiographs are met: intersection over union."""

    images: int
    mean_iou: float
    least_iou: float


def fit_lungs(config: DataConfig, path: Path, *, steps: int, seed: int) -> FinderFigures:
    """Fits a finder to the masks of a data set, writes its weights and logs how well it does.

    Raises:
        TrainingError: the data can not be read, or too few radiographs have a mask.
    """
    samples = load_dataset(config).samples
    with tempfile.TemporaryDirectory() as folder:
        tensors = TensorCache(config.cache_dir or Path(folder))
        figures = fit_finder(samples, tensors, path, steps=steps, seed=seed)
    _log.info(
        "intersection over union on %d held-out radiographs: mean %.3f, least %.3f",
        *(figures.images, figures.mean_iou, figures.least_iou),
    )
    return figures


def fit_finder(
    samples: Sequence[Sample], tensors: TensorCache, path: Path, *, steps: int, seed: int
) -> FinderFigures:
    """Fits a finder and writes its weights.

    Args:
        samples: radiographs; those with a mask are used.
        tensors: their decoded frames.
        path: the .weights.h5 file.
        steps: of 16 images each, of Adam with a half-cosine rate from 2e-3.
        seed: of everything random.

    Raises:
        TrainingError: fewer than 20 radiographs have a mask.
    """
    masked = [sample for sample in samples if sample.mask is not None]
    if len(masked) < 20:
        raise TrainingError(f"{len(masked)} radiographs have a lung mask; at least 20 are needed")
    make_deterministic(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(masked))
    held = order[: round(_HELD_OUT * len(masked))]
    frames = np.stack([tensors.load(sample)[:, :, 0] for sample in masked])
    masks = np.stack([load_mask(sample, FRAME_PX) for sample in masked])
    finder = build_finder(trained=False)
    finder.trainable = True
    model = keras.Model(finder.input, finder.output[0])
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)), loss=_loss
    )
    for step in range(1, steps + 1):
        chosen = rng.choice(order[len(held) :], _BATCH)
        pairs = [_vary(frames[index], masks[index], rng) for index in chosen]
        loss = model.train_on_batch(
            np.stack([pair[0] for pair in pairs])[..., None],
            np.stack([pair[1] for pair in pairs])[..., None],
        )
        if step % 100 == 0:
            _log.info("step %d of %d: loss %.4f", step, steps, float(loss))
    figures = _measure(model, frames[held], masks[held])
    with replacing(path) as partial:
        finder.save_weights(partial)
    return figures


def load_mask(sample: Sample, size: int) -> NDArray[np.uint8]:
    """Reads a sample's lung mask, uint8 (size, size), 0 or 255.

    Raises:
        TrainingError: it can not be read.
    """
    return np.where(read_mask(sample, size), 255, 0).astype(np.uint8)


def _vary(
    frame: NDArray[np.uint8], mask: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    movement = draw_movement(_STRENGTHS, (FRAME_PX, FRAME_PX), rng)
    moved, lungs = move(frame, movement), move(mask, movement)
    kind = rng.random()
    if kind < _OPACITY_SHARE:
        moved = _with_opacities(moved, lungs, rng)
    elif kind < _OPACITY_SHARE + _BLANK_SHARE and (lungs > 127).any():
        inside = lungs > 127
        moved = np.where(inside, np.uint8(moved[inside].mean()), moved)
    levels = vary_acquisition(moved, _STRENGTHS, rng).astype(np.float32)
    if rng.random() < 0.1:
        levels = 255 - levels
    shrunk = Image.fromarray(lungs).resize((LUNGS_PX, LUNGS_PX), Image.Resampling.BOX)
    share: NDArray[np.float32] = np.asarray(shrunk, np.float32) / np.float32(255)
    return levels, share


def _with_opacities(
    frame: NDArray[np.uint8], lungs: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Whitens patches of the lungs, so that a consolidated lung is found as well as a clear one."""
    small = np.asarray(Image.fromarray(lungs).resize((_COARSE_PX, _COARSE_PX)), np.float32) / 255
    rows, columns = np.nonzero(small > 0.5)
    if not len(rows):
        return frame
    y, x = np.mgrid[:_COARSE_PX, :_COARSE_PX].astype(np.float32)
    density = np.zeros_like(small)
    for _ in range(int(rng.integers(1, 4))):
        place = rng.integers(len(rows))
        radii = rng.uniform(0.03, 0.16, 2) * _COARSE_PX
        angle = rng.uniform(0, math.pi)
        dy, dx = y - rows[place], x - columns[place]
        along = dx * math.cos(angle) + dy * math.sin(angle)
        across = dy * math.cos(angle) - dx * math.sin(angle)
        distance = (along / radii[0]) ** 2 + (across / radii[1]) ** 2
        density = np.maximum(density, rng.uniform(0.3, 1.0) * np.exp(-(distance**2)))
    spread = Image.fromarray(density * small).resize((FRAME_PX, FRAME_PX))
    levels = frame + np.asarray(spread) * np.maximum(np.percentile(frame[::4, ::4], 90) - frame, 0)
    whitened: NDArray[np.uint8] = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    return whitened


def _loss(truth: Any, found: Any) -> Any:
    ops = keras.ops
    entropy = ops.mean(keras.losses.binary_crossentropy(truth, found), axis=(1, 2))
    overlap = ops.sum(truth * found, axis=(1, 2, 3))
    total = ops.sum(truth + found, axis=(1, 2, 3))
    return entropy + 1 - (2 * overlap + 1) / (total + 1)


def _measure(model: Any, frames: NDArray[np.uint8], masks: NDArray[np.uint8]) -> FinderFigures:
    found = model.predict(frames[..., None].astype(np.float32), verbose=0)[..., 0] > 0.5
    cells = FRAME_PX // LUNGS_PX
    truth = masks.reshape(len(masks), LUNGS_PX, cells, LUNGS_PX, cells).mean(axis=(2, 4)) > 127
    both = (found & truth).sum(axis=(1, 2))
    iou = both / np.maximum((found | truth).sum(axis=(1, 2)), 1)
    return FinderFigures(len(frames), float(iou.mean()), float(iou.min()))
