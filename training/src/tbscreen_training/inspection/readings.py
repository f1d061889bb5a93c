"""What each file is: its size and format, its grey levels, its frame in small, its traces."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.errors import ImageError
from tbscreen_shared.imaging import ImageLimits, read_radiograph, to_model_input
from tbscreen_training.config import INPUT_PX
from tbscreen_training.inspection.traces import Traces, find_traces
from tbscreen_training.near_duplicates import shrink
from tbscreen_training.sample import Sample

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """One decoded radiograph.

    Attributes:
        sample: which.
        width: pixels, of the file's image.
        height: pixels, of the file's image.
        format: what the file's content is.
        mean_grey: 0-255, of the model's input.
        spread_grey: standard deviation of the model's input, levels.
        small: uint8 (128, 128), the frame as near-duplicates are found by.
        traces: what the acquisition left.
    """

    sample: Sample
    width: int
    height: int
    format: str
    mean_grey: float
    spread_grey: float
    small: NDArray[np.uint8]
    traces: Traces


def read_all(samples: Sequence[Sample]) -> tuple[list[Reading], list[str]]:
    """Decodes the samples as training does; returns the readings, and what can not be read."""
    readings: list[Reading] = []
    faults: list[str] = []
    for done, sample in enumerate(samples, start=1):
        try:
            readings.append(_read(sample))
        except (ImageError, OSError) as error:
            faults.append(f"{sample.name} can not be read: {error}")
        if done % 500 == 0 or done == len(samples):
            _log.info("read %d of %d images", done, len(samples))
    return readings, faults


def _read(sample: Sample) -> Reading:
    radiograph = read_radiograph(sample.path, limits=ImageLimits(), target_px=INPUT_PX)
    tensor = to_model_input(radiograph, height=INPUT_PX, width=INPUT_PX)
    return Reading(
        sample=sample,
        width=radiograph.width,
        height=radiograph.height,
        format=radiograph.format.value,
        mean_grey=float(tensor.mean()),
        spread_grey=float(tensor.std()),
        small=shrink(tensor),
        traces=find_traces(tensor[:, :, 0]),
    )
