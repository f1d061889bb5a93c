"""A run's configuration: everything that decides its outcome, stored in config.json."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from tbscreen_shared.contracts import Frozen
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import write_atomically

INPUT_PX: Final = 299
"""Side of the network's square input, pixels."""

MAPS_PX: Final = 8
"""Side of the last feature map, cells."""

SPLITS: Final = ("train", "validation", "test")

CONFIG_FILE: Final = "config.json"

Quantisation = Literal["dynamic", "float16", "float32", "int8"]
CalibrationMethod = Literal["platt", "temperature", "identity"]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class DataConfig(Frozen):
    """Where the radiographs are and how they are divided."""

    roots: tuple[Path, ...] = Field(min_length=1, description="folders or manifest files")
    classes: dict[str, tuple[str, ...]] = Field(
        default={}, description="model class -> labels in the data; empty: each label is a class"
    )
    positive: str | None = Field(default=None, description="None: the class named like TB")
    validation: float = Field(default=0.15, gt=0.0, lt=0.5)
    test: float = Field(default=0.15, gt=0.0, lt=0.5)
    skip_unreadable: bool = False
    cache_dir: Path | None = Field(default=None, description="decoded tensors; None: in the run")


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


class FitConfig(Frozen):
    """The head's training over the frozen network."""

    weights: str = Field(default="imagenet", description="imagenet, none, or a .weights.h5 file")
    epochs: int = Field(default=40, ge=1)
    patience: int = Field(default=8, ge=1, description="epochs without a better validation loss")
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    dropout: Fraction = 0.3
    class_weights: bool = True
    cache_features: int = Field(
        default=6, ge=0, description="stored variants of each image; 0: the whole network each time"
    )


class FineTuneConfig(Frozen):
    """The training of the network's upper blocks together with the head."""

    from_block: str = Field(
        default="mixed8",
        pattern=r"^(none|mixed([1-9]|10))$",
        description="lowest of the blocks to train, mixed1 to mixed10; none: no fine-tuning",
    )
    epochs: int = Field(default=10, ge=1)
    patience: int = Field(default=10, ge=1)
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
    indeterminate_band: tuple[float, float] | None = None
    provenance: str = "Origin and licence of data and starting weights were not stated."
    command: str = Field(default="", description="the command that made the run, without paths")

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
