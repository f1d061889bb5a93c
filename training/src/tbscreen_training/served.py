"""The exported model as a worker runs it: LiteRT, one image at a time, one thread."""

import os
import statistics
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from tbscreen_training.config import INPUT_PX
from tbscreen_training.dataset import Sample
from tbscreen_training.errors import TrainingError
from tbscreen_training.tensors import TensorCache

INPUT_NAME: Final = "radiograph"
LOGITS_NAME: Final = "logits"
MAPS_NAME: Final = "activation_maps"
LUNGS_NAME: Final = "lungs"
FRAME_FEATURES_NAME: Final = "frame_features"
LUNG_FEATURES_NAME: Final = "lung_features"
_TIMED_RUNS: Final = 20


@dataclass(frozen=True)
class Answer:
    """What the model says of one radiograph.

    Attributes:
        logits: float32 (K,).
        maps: float32 (K, 8, 8), ≥ 0: Grad-CAM of each logit over the frame, rows from the top.
        lungs: float32 (32, 32): share of lung in each cell of the frame; None if not exported.
        frame_features: float32 (F,), of the whole frame; None if not exported.
        lung_features: float32 (256,), the head's hidden layer; None if not exported.
    """

    logits: NDArray[np.float32]
    maps: NDArray[np.float32]
    lungs: NDArray[np.float32] | None
    frame_features: NDArray[np.float32] | None
    lung_features: NDArray[np.float32] | None


class ServedModel:
    """model.tflite in LiteRT, one interpreter for each thread that asks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._of_thread = threading.local()
        self._pool = ThreadPoolExecutor(os.cpu_count())

    def answer(self, tensor: NDArray[np.uint8]) -> Answer:
        """Runs the model on one tensor, uint8 (384, 384, 1)."""
        if not hasattr(self._of_thread, "runner"):
            interpreter = Interpreter(model_path=str(self._path), num_threads=1)
            self._of_thread.runner = interpreter.get_signature_runner()
        outputs = self._of_thread.runner(**{INPUT_NAME: tensor[np.newaxis]})

        def optional(name: str) -> NDArray[np.float32] | None:
            return outputs[name][0].copy() if name in outputs else None

        return Answer(
            outputs[LOGITS_NAME][0].copy(),
            outputs[MAPS_NAME][0].copy(),
            lungs=optional(LUNGS_NAME),
            frame_features=optional(FRAME_FEATURES_NAME),
            lung_features=optional(LUNG_FEATURES_NAME),
        )

    def answers(self, tensors: Iterable[NDArray[np.uint8]]) -> list[Answer]:
        """Runs the model on many tensors, on every processor."""
        return list(self._pool.map(self.answer, tensors))

    def logits(self, samples: Sequence[Sample], tensors: TensorCache) -> NDArray[np.float64]:
        """Returns the logits of many images (n, K)."""
        answers = self.answers(tensors.load(sample) for sample in samples)
        return np.stack([answer.logits for answer in answers]).astype(np.float64)

    def measure_ms(self) -> float:
        """Returns the median time of one image on one thread, milliseconds."""
        tensor = np.zeros((INPUT_PX, INPUT_PX, 1), np.uint8)
        self.answer(tensor)
        times = []
        for _ in range(_TIMED_RUNS):
            started = time.perf_counter()
            self.answer(tensor)
            times.append((time.perf_counter() - started) * 1000)
        return statistics.median(times)


def refuse_foreign_operations(model: bytes) -> None:
    """Checks that plain LiteRT runs the model.

    Raises:
        TrainingError: it holds Flex or custom operations, which LiteRT alone does not have.
    """
    if foreign := foreign_operations(model):
        raise TrainingError(f"the exported model holds operations that LiteRT lacks: {foreign}")


def foreign_operations(model: bytes) -> list[str]:
    """Returns the names of the Flex and custom operations that a model holds."""
    parsed = schema.Model.GetRootAs(model, 0)
    codes = [parsed.OperatorCodes(index) for index in range(parsed.OperatorCodesLength())]
    return [
        code.CustomCode().decode()
        for code in codes
        if code.BuiltinCode() == schema.BuiltinOperator.CUSTOM
    ]
