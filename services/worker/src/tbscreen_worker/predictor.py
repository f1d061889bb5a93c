"""The model, run by LiteRT."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
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
from tbscreen_shared.input_check import InputCheck

_SIGNATURE: Final = "serving_default"
_KNOWN_ANSWER_LIMITS: Final = ImageLimits(max_pixels=4_000_000, min_side_px=1)
_DOES_NOT_FIT: Final = (ArithmeticError, LookupError, TypeError, ValueError)
"""What NumPy raises over arrays whose shapes or types do not go together."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one radiograph.

    Attributes:
        logits: float32, shape (K,).
        activation_maps: float32, shape (K, h, w), 0 and above.
        features: what the network found on its way, by the output's name in the manifest's
            `outputs`: lungs, frame_features, lung_features; empty for a model that gives none.
    """

    logits: NDArray[np.float32]
    activation_maps: NDArray[np.float32]
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class Predictor(Protocol):
    """A model that is ready to answer."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of its bundle, with the site's own threshold where there is one."""

    @property
    def input_check(self) -> InputCheck | None:
        """What its bundle refuses to be asked; None for a bundle that answers any image."""

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Runs the model on an image of shape (height, width, 1), 0-255."""


class LiteRtPredictor:
    """A verified bundle's model. One thread, fixed shape; calls must not overlap."""

    def __init__(self, bundle: Bundle) -> None:
        """Checks the bundle's files, loads the model and puts the known answer to it.

        Raises:
            BundleError: the bundle is damaged, made for another preprocessing, its model does not
                answer as its manifest says, or its input check does not fit the model.
            OSError: a file can not be read.
        """
        self.manifest: Final = bundle.decides_by
        version = bundle.manifest.version
        if bundle.manifest.input.preprocessing != PREPROCESSING_VERSION:
            raise BundleError(
                f"bundle {version}: made for preprocessing {bundle.manifest.input.preprocessing}, "
                f"this worker's is {PREPROCESSING_VERSION}"
            )
        # The very bytes that were checked: of a file that LiteRT maps, a byte that changes later
        # changes answers, and one that is cut off kills the process.
        files = bundle.read_files()
        self.input_check: Final = _input_check_of(bundle, files.input_check)
        try:
            interpreter = Interpreter(model_content=files.model, num_threads=1)
            self._runner = interpreter.get_signature_runner(_SIGNATURE)
            (self._input_name,) = self._runner.get_input_details()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"bundle {version}: LiteRT can not load the model") from error
        self._features: Final = _features_of(bundle.manifest)
        self._check_outputs()
        known_image, answer = self._answer_known(bundle)
        self._check_known_answer(answer)
        self._try_input_check(known_image, answer)

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Runs the model on an image of shape (height, width, 1), 0-255."""
        outputs = self._runner(**{self._input_name: image[np.newaxis]})
        names = self.manifest.outputs
        return Prediction(
            outputs[names.logits][0],
            outputs[names.activation_maps][0],
            {feature: outputs[name][0] for feature, name in self._features.items()},
        )

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
        missing = sorted(set(self._features.values()) - shapes.keys())
        if missing:
            raise BundleError(f"bundle {manifest.version}: the model gives no {missing}")

    def _answer_known(self, bundle: Bundle) -> tuple[NDArray[np.uint8], Prediction]:
        manifest = self.manifest
        try:
            radiograph = read_radiograph(bundle.known_answer_path, limits=_KNOWN_ANSWER_LIMITS)
            image = to_model_input(
                radiograph, height=manifest.input.height, width=manifest.input.width
            )
            return image, self.predict(image)
        except (ImageError, RuntimeError, *_DOES_NOT_FIT) as error:
            raise BundleError(
                f"bundle {manifest.version}: the known-answer test could not run"
            ) from error

    def _check_known_answer(self, prediction: Prediction) -> None:
        manifest, known = self.manifest, self.manifest.known_answer
        answer = prediction.logits
        expected = np.asarray(known.logits, dtype=np.float32)
        # Written so that NaN fails it.
        if (
            answer.shape != expected.shape
            or not (np.abs(answer - expected) <= known.tolerance).all()
        ):
            raise BundleError(
                f"bundle {manifest.version}: known answer {known.logits}, got {answer.tolist()}"
            )

    def _try_input_check(self, image: NDArray[np.uint8], prediction: Prediction) -> None:
        """Asks the check what every job asks it: what fails here would fail each of them."""
        check = self.input_check
        if check is None:
            return
        try:
            check.judge(image)
            if check.familiarity is not None:
                check.familiarity.is_foreign(prediction.features)
        except _DOES_NOT_FIT as error:
            raise BundleError(
                f"bundle {self.manifest.version}: the input check does not fit the model: {error}"
            ) from error


def _features_of(manifest: Manifest) -> dict[str, str]:
    """The outputs beside the answer that the manifest names, by their field in it."""
    names = manifest.outputs.model_dump(exclude={"logits", "activation_maps"}, exclude_none=True)
    return dict(names)


def _input_check_of(bundle: Bundle, data: bytes | None) -> InputCheck | None:
    if data is None:
        return None
    version = bundle.manifest.version
    try:
        check = InputCheck.read(BytesIO(data))
    except ValueError as error:
        raise BundleError(f"bundle {version}: {error}") from error
    if check.familiarity is not None:
        missing = sorted(set(check.familiarity.parts) - _features_of(bundle.manifest).keys())
        if missing:
            raise BundleError(f"bundle {version}: the input check needs the outputs {missing}")
    return check
