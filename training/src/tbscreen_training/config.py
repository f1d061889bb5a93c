"""A run's configuration: everything that decides its outcome, stored in config.json."""

import math
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from tbscreen_shared.contracts import Frozen
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import write_atomically

INPUT_PX: Final = 384
"""Side of the network's square input, pixels."""

MAPS_PX: Final = 8
"""Side of the last feature map, cells."""

SPLITS: Final = ("train", "validation", "test")

LEFT_OUT: Final = "left_out"
"""The split of the sources that a run leaves out: neither trained on nor chosen by."""

CONFIG_FILE: Final = "config.json"

Quantisation = Literal["dynamic", "float16", "float32", "int8"]
CalibrationMethod = Literal["platt", "temperature", "identity"]
DataFormat = Literal["auto", "folders", "manifest", "nlm", "tbx11k"]
Balance = Literal["none", "class", "source"]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


def _parse_band(value: Any) -> Any:
    """Takes LOW,HIGH as text, and null, which older runs have for none."""
    if value is None or value in ("auto", "none"):
        return value or "none"
    try:
        low, high = map(float, value.split(",") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not 0.0 <= low < high <= 1.0:
        raise ValueError("auto, none, or LOW,HIGH with 0 <= LOW < HIGH <= 1")
    return low, high


BandRule = Annotated[Literal["auto", "none"] | tuple[float, float], BeforeValidator(_parse_band)]


class DataConfig(Frozen):
    """Where the radiographs are and how they are divided."""

    roots: tuple[Path, ...] = Field(min_length=1, description="folders or manifest files")
    classes: dict[str, tuple[str, ...]] = Field(
        default={}, description="model class -> labels in the data; empty: each label is a class"
    )
    format: DataFormat = Field(
        default="auto", description="folders, manifest, nlm or tbx11k; auto: recognised"
    )
    positive: str | None = Field(default=None, description="None: the class named like TB")
    leave_out: tuple[str, ...] = Field(
        default=(), description="sources that are neither trained on nor chosen by"
    )
    calibrate_on: tuple[str, ...] = Field(
        default=(),
        description="sources left out on which, beside the validation split, probabilities and "
        "thresholds are chosen",
    )
    near_duplicates: bool = Field(
        default=True, description="repeats of a film are found and kept on one side of a split"
    )
    validation: float = Field(default=0.15, gt=0.0, lt=0.5)
    test: float = Field(default=0.15, gt=0.0, lt=0.5)
    skip_unreadable: bool = False
    cache_dir: Path | None = Field(default=None, description="decoded tensors; None: in the run")

    @model_validator(mode="after")
    def _calibrates_on_what_is_left_out(self) -> "DataConfig":
        if trained_on := sorted(set(self.calibrate_on) - set(self.leave_out)):
            raise ValueError(
                f"{', '.join(trained_on)} to calibrate on must be left out (--leave-out): on what "
                "the network was fitted to, it is surer than anywhere else"
            )
        return self


class Augmentation(Frozen):
    """How a training image is varied; 0 or False switches one off.

    The defaults are those that `compare-augmentations` found to help (docs/training.md).
    """

    rotation_deg: float = Field(default=10.0, ge=0.0, le=30.0, description="up to ± degrees")
    shift: float = Field(default=0.0, ge=0.0, le=0.2, description="up to ± of the side, x and y")
    shear_deg: float = Field(default=10.0, ge=0.0, le=30.0, description="up to ± degrees")
    zoom: float = Field(default=0.0, ge=0.0, le=0.5, description="scale within 1 ± this")
    brightness: float = Field(default=0.2, ge=0.0, le=0.9, description="factor within 1 ± this")
    horizontal_flip: bool = True
    vertical_flip: bool = False
    gamma: float = Field(default=0.8, ge=0.0, le=2.0, description="exponent within 2 to the ± this")
    contrast: float = Field(default=0.4, ge=0.0, le=0.9, description="about the mean, 1 ± this")
    resolution: float = Field(
        default=0.6, ge=0.0, le=0.9, description="share of the side lost and scaled back"
    )
    blur_px: float = Field(default=1.5, ge=0.0, le=5.0, description="Gaussian, or as much sharper")
    noise: float = Field(default=10.0, ge=0.0, le=50.0, description="standard deviation, levels")
    jpeg: float = Field(default=65.0, ge=0.0, le=90.0, description="quality lost, from 95")
    border: float = Field(default=0.08, ge=0.0, le=0.3, description="share of a side filled")


class FitConfig(Frozen):
    """The head's training over the frozen network."""

    weights: str = Field(default="imagenet", description="imagenet, none, or a .weights.h5 file")
    epochs: int = Field(default=30, ge=1)
    patience: int = Field(
        default=0,
        ge=0,
        description="stop after so many epochs without a better validation loss and take the best; "
        "0: the rate decays over all epochs, and the last one is taken",
    )
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    dropout: Fraction = 0.5
    balance: Balance = Field(
        default="source", description="how images are drawn: none, class, source (and class)"
    )
    both_class_share: Fraction = Field(
        default=0.5, description="of the draws, to sources with every class; for --balance source"
    )
    blanked_share: Fraction = Field(
        default=0.15, description="of each batch: lungs blanked, to be told nothing of"
    )
    top_block: str = Field(
        default="mixed5",
        pattern=r"^mixed([5-9]|10)$",
        description="last block of InceptionV3 that is used, mixed5 to mixed10",
    )
    lung_field: bool = Field(default=True, description="reduce radiographs to their lungs")
    heads: int = Field(
        default=5,
        ge=1,
        le=32,
        description="heads that are trained from seeds of their own and averaged; one where no "
        "features are stored",
    )
    rounds: bool = Field(
        default=True,
        description="fit the head to features as the dynamic-range export computes them; "
        "off for another quantisation",
    )
    cache_features: int = Field(
        default=1, ge=0, description="stored variants of each image; 0: the whole network each time"
    )


class FineTuneConfig(Frozen):
    """The training of the network's upper blocks together with the head."""

    from_block: str = Field(
        default="none",
        pattern=r"^(none|mixed([1-9]|10))$",
        description="lowest of the blocks to train, mixed1 to mixed10; none: no fine-tuning",
    )
    epochs: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0.0, description="at first; falls to 0")

    @property
    def boundary(self) -> str | None:
        """Name of the last frozen layer, whose output feeds the trained blocks."""
        if self.from_block == "none":
            return None
        return f"mixed{int(self.from_block.removeprefix('mixed')) - 1}"


class RunConfig(Frozen):
    """config.json of a run directory."""

    data: DataConfig
    seed: int = Field(default=1, ge=0)
    augmentation: Augmentation = Augmentation()
    fit: FitConfig = FitConfig()
    fine_tune: FineTuneConfig = FineTuneConfig()
    quantisation: Quantisation = "dynamic"
    calibration: CalibrationMethod = "platt"
    indeterminate_band: BandRule = Field(
        default="auto", description="auto: from triage to confirm; none; or LOW,HIGH"
    )
    folds: dict[str, tuple[str, ...]] = Field(
        default={}, description="sources to leave out, by the name of the training without them"
    )
    label_shuffles: int = Field(
        default=8, ge=1, description="trainings on shuffled labels, for the control"
    )
    drawings: int = Field(
        default=60, ge=5, description="of each kind of what is no radiograph, for the input check"
    )
    check_from: int = Field(
        default=200,
        ge=1,
        description="radiographs from which an input check is fitted; to fewer it would fit so "
        "closely that it refused the next hospital's",
    )
    not_radiographs: Path | None = Field(
        default=None,
        description="pictures that are no chest radiographs, a folder in it for each origin",
    )
    show_source: tuple[str, ...] = Field(
        default=(), description="source whose radiographs the report may show; may be repeated"
    )
    provenance: str = "Origin and licence of data and starting weights were not stated."
    command: str = Field(default="", description="the command that made the run, without paths")

    @model_validator(mode="after")
    def _trains_blocks_that_exist(self) -> "RunConfig":
        top, lowest = self.fit.top_block, self.fine_tune.from_block
        if lowest != "none" and int(lowest.removeprefix("mixed")) > int(top.removeprefix("mixed")):
            raise ValueError(f"the network ends at {top}: {lowest} can not be fine-tuned")
        return self

    def save(self, run: Path) -> None:
        """Writes config.json into the run directory."""
        text = self.model_dump_json(indent=2) + "\n"
        write_atomically(run / CONFIG_FILE, text.encode())

    @classmethod
    def load(cls, run: Path) -> "RunConfig":
        """Reads the run directory's config.json.

        Raises:
            TrainingError: there is none, or it does not fit.
        """
        try:
            return cls.model_validate_json((run / CONFIG_FILE).read_bytes())
        except FileNotFoundError as error:
            raise TrainingError(f"{run} is no run directory: it has no {CONFIG_FILE}") from error
        except ValidationError as error:
            raise TrainingError(f"{run / CONFIG_FILE} does not fit: {error}") from error
