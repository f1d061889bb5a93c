"""The decoded radiographs: uint8 tensors on disk, made by the same function as in serving."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.errors import ImageError
from tbscreen_shared.imaging import (
    PREPROCESSING_VERSION,
    ImageLimits,
    read_radiograph,
    to_model_input,
)
from tbscreen_training.config import INPUT_PX
from tbscreen_training.dataset import Sample
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import replacing

_log = logging.getLogger(__name__)
_NAMED_AT_MOST: Final = 20


class TensorCache:
    """Tensors by the file's SHA-256 and the preprocessing's version, so a run never sees old ones.

    Args:
        root: folder, made when needed; runs may share it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root / f"preprocessing-{PREPROCESSING_VERSION}-{INPUT_PX}"

    def load(self, sample: Sample) -> NDArray[np.uint8]:
        """Returns the sample's tensor, uint8, shape (384, 384, 1), 0-255, decoding it if need be.

        Raises:
            TrainingError: the image can not be read; the message names it.
        """
        path = self._root / sample.sha256[:2] / f"{sample.sha256}.npy"
        try:
            cached: NDArray[np.uint8] = np.load(path)
            return cached
        except FileNotFoundError:
            pass
        try:
            radiograph = read_radiograph(sample.path, limits=ImageLimits(), target_px=INPUT_PX)
        except (ImageError, OSError) as error:
            raise TrainingError(f"{sample.name} can not be read: {error}") from error
        tensor = to_model_input(radiograph, height=INPUT_PX, width=INPUT_PX)
        with replacing(path) as partial, partial.open("wb") as stream:
            np.save(stream, tensor)
        return tensor

    def decode_all(self, samples: Sequence[Sample], *, skip_unreadable: bool) -> list[Sample]:
        """Decodes every sample and returns those that can be read.

        Raises:
            TrainingError: images can not be read (named) and `skip_unreadable` is False.
        """
        readable: list[Sample] = []
        faults: list[str] = []
        for done, sample in enumerate(samples, start=1):
            try:
                self.load(sample)
                readable.append(sample)
            except TrainingError as error:
                faults.append(str(error))
            if done % 500 == 0 or done == len(samples):
                _log.info("decoded %d of %d images", done, len(samples))
        if faults and not skip_unreadable:
            rest = len(faults) - _NAMED_AT_MOST
            raise TrainingError(
                "\n".join(faults[:_NAMED_AT_MOST])
                + (f"\nand {rest} more" if rest > 0 else "")
                + "\nMend or remove them, or leave them out with --skip-unreadable."
            )
        for fault in faults:
            _log.warning("left out: %s", fault)
        return readable
