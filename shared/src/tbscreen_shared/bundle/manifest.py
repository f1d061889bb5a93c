"""manifest.json: everything a worker must know to use a model, and a reader to judge it."""

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from tbscreen_shared.contracts import Frozen, Probability

SCHEMA_VERSION: Final = 1
VERSION_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SHA256_PATTERN: Final = r"^[0-9a-f]{64}$"


class InputSpec(Frozen):
    """The model's one input: uint8 grey, shape (1, height, width, 1), 0-255.

    Scaling to the network's range and repeating the channel are part of the graph, so the same
    tensor leaves the preprocessing in training and in serving.
    """

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    channels: Literal[1] = 1
    dtype: Literal["uint8"] = "uint8"
    preprocessing: str = Field(description="version of tbscreen_shared.imaging's preprocessing")


class OutputSpec(Frozen):
    """The names of the graph's outputs in its serving signature.

    `logits` is float32 of shape (1, K): K = 1 for two classes (sigmoid of the positive class), else
    one per label (softmax). `activation_maps` is float32 of shape (1, K, h, w), ≥ 0: Grad-CAM of
    each logit.

    The others are None where a model lacks them. `lungs` is float32 (1, h, w), 0-1: the share of
    lung in each cell of the whole radiograph. `frame_features` (1, F) describe the whole radiograph
    and `lung_features` (1, L) the lungs, as the network sees them.
    """

    logits: str = "logits"
    activation_maps: str = "activation_maps"
    lungs: str | None = None
    frame_features: str | None = None
    lung_features: str | None = None


class Calibration(Frozen):
    """p = activation(scale x logits + bias): Platt scaling; temperature scaling where bias is 0."""

    method: Literal["identity", "temperature", "platt"]
    scale: float = Field(gt=0)
    bias: float = 0.0


class Interval(Frozen):
    """A figure with its 95 % interval."""

    value: Probability
    low: Probability
    high: Probability


class OperatingPoint(Frozen):
    """A named threshold on the calibrated probability of the positive class."""

    name: str
    threshold: Probability
    sensitivity: Interval
    specificity: Interval
    measured_on: str = Field(description="which set the figures come from")


class KnownAnswer(Frozen):
    """An input stored in the bundle and what the model must answer for it."""

    file: str = Field(description="grey PNG of exactly the input's size")
    sha256: str = Field(pattern=SHA256_PATTERN)
    logits: list[float]
    tolerance: float = Field(gt=0, description="largest absolute difference of a logit")


class InputCheckFile(Frozen):
    """The input check that a bundle carries (tbscreen_shared.input_check)."""

    file: str = "input-check.npz"
    sha256: str = Field(pattern=SHA256_PATTERN)


class Manifest(Frozen):
    """manifest.json."""

    schema_version: Literal[1] = SCHEMA_VERSION
    version: str = Field(pattern=VERSION_PATTERN)
    created_at: datetime
    model_file: str = "model.tflite"
    model_bytes: int = Field(gt=0)
    model_sha256: str = Field(pattern=SHA256_PATTERN)
    labels: list[str] = Field(min_length=2)
    positive_label: str
    input: InputSpec
    outputs: OutputSpec = OutputSpec()
    quantisation: Literal["dynamic", "float16", "float32", "int8"]
    calibration: Calibration
    operating_points: list[OperatingPoint] = Field(min_length=1)
    default_operating_point: str
    indeterminate_band: tuple[Probability, Probability] | None = Field(
        default=None, description="[low, high): probabilities in it are answered Indeterminate"
    )
    known_answer: KnownAnswer
    input_check: InputCheckFile | None = Field(
        default=None, description="None: any image is answered"
    )
    metrics: dict[str, Any] = Field(description="summary of report/metrics.json")
    data: dict[str, Any] = Field(description="fingerprint: files, labels, sources, splits")
    training: dict[str, Any] = Field(description="command, seed, git revision, library versions")
    provenance: str = Field(description="licence and origin of data and starting weights")

    @model_validator(mode="after")
    def _is_consistent(self) -> "Manifest":
        if self.positive_label not in self.labels:
            raise ValueError(f"positive label {self.positive_label!r} is not among the labels")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels repeat")
        names = [point.name for point in self.operating_points]
        if self.default_operating_point not in names:
            raise ValueError(f"default operating point is not one of {names}")
        return self

    def operating_point(self, name: str | None = None) -> OperatingPoint:
        """Returns the named operating point, the default one for None.

        Raises:
            KeyError: there is none of that name.
        """
        wanted = name or self.default_operating_point
        for point in self.operating_points:
            if point.name == wanted:
                return point
        raise KeyError(wanted)
