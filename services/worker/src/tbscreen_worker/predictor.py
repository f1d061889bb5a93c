"""The model, run by LiteRT."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from tbscreen_shared.bundle import Bundle, Manifest
from tbscreen_shared.errors import BundleError, ImageError
from tbscreen_shared.imaging import (
    PREPROCESSING_VERSION,
    ImageLimits,
    read_radiograph,
    to_model_input,
)

_SIGNATURE: Final = "serving_default"
_KNOWN_ANSWER_LIMITS: Final = ImageLimits(max_pixels=4_000_000, min_side_px=1)


@dataclass(frozen=True)
class Prediction:
    """What the model says of one radiograph.

    Attributes:
        logits: float32, shape (K,).
        activation_maps: float32, shape (K, h, w), 0 and above.
    """

    logits: NDArray[np.float32]
    activation_maps: NDArray[np.float32]


class Predictor(Protocol):
    """A model that is ready to answer."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of its bundle."""

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Runs the model on an image of shape (height, width, 1), 0-255."""


class LiteRtPredictor:
    """A verified bundle's model. One thread, fixed shape; calls must not overlap."""

    def __init__(self, bundle: Bundle) -> None:
        """Checks the bundle's files, loads the model and puts the known answer to it.

        Raises:
            BundleError: the bundle is damaged, made for another preprocessing, or its model does
                not answer as its manifest says.
        """
        self.manifest: Final = bundle.manifest
        version = bundle.manifest.version
        if bundle.manifest.input.preprocessing != PREPROCESSING_VERSION:
            raise BundleError(
                f"bundle {version}: made for preprocessing {bundle.manifest.input.preprocessing}, "
                f"this worker's is {PREPROCESSING_VERSION}"
            )
        bundle.check_files()
        try:
            interpreter = Interpreter(model_path=str(bundle.model_path), num_threads=1)
            self._runner = interpreter.get_signature_runner(_SIGNATURE)
            (self._input_name,) = self._runner.get_input_details()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"bundle {version}: LiteRT can not load the model") from error
        self._check_outputs()
        self._check_known_answer(bundle)

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Runs the model on an image of shape (height, width, 1), 0-255."""
        outputs = self._runner(**{self._input_name: image[np.newaxis]})
        names = self.manifest.outputs
        return Prediction(outputs[names.logits][0], outputs[names.activation_maps][0])

    def _check_outputs(self) -> None:
        manifest = self.manifest
        details = self._runner.get_output_details()
        shapes = {name: tuple(detail["shape"]) for name, detail in details.items()}
        logits = shapes.get(manifest.outputs.logits, ())
        maps = shapes.get(manifest.outputs.activation_maps, ())
        allowed = {(1, len(manifest.labels))} | ({(1, 1)} if len(manifest.labels) == 2 else set())
        if logits not in allowed or len(maps) != 4 or maps[:2] != logits:
            raise BundleError(
                f"bundle {manifest.version}: the model's outputs {shapes} do not fit "
                f"{len(manifest.labels)} labels"
            )

    def _check_known_answer(self, bundle: Bundle) -> None:
        manifest, known = self.manifest, self.manifest.known_answer
        try:
            radiograph = read_radiograph(bundle.known_answer_path, limits=_KNOWN_ANSWER_LIMITS)
            image = to_model_input(
                radiograph, height=manifest.input.height, width=manifest.input.width
            )
            answer = self.predict(image).logits
        except (ImageError, ValueError, RuntimeError) as error:
            raise BundleError(
                f"bundle {manifest.version}: the known-answer test could not run"
            ) from error
        expected = np.asarray(known.logits, dtype=np.float32)
        # Written so that NaN fails it.
        if (
            answer.shape != expected.shape
            or not (np.abs(answer - expected) <= known.tolerance).all()
        ):
            raise BundleError(
                f"bundle {manifest.version}: known answer {known.logits}, got {answer.tolist()}"
            )
