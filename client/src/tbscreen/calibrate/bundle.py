"""What calibrating needs to know of a bundle: a part of its manifest.json."""

import re
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class BundleError(ValueError):
    """The folder of models does not hold what is asked of it."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Interval(_Part):
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


class Calibration(_Part):
    """p = sigmoid(scale x logit + bias) where there are two classes."""

    method: str
    scale: float
    bias: float = 0.0


class OperatingPoint(_Part):
    """A threshold on the calibrated probability."""

    name: str
    threshold: float
    sensitivity: Interval
    specificity: Interval
    measured_on: str


class BundleFacts(_Part):
    """The part of a manifest that a site's threshold is made with and bound to."""

    version: str
    model_sha256: str
    labels: list[str]
    positive_label: str
    calibration: Calibration
    operating_points: list[OperatingPoint]
    default_operating_point: str
    indeterminate_band: tuple[float, float] | None = None

    @property
    def default_point(self) -> OperatingPoint:
        """The operating point that decides unless a site has its own."""
        return next(p for p in self.operating_points if p.name == self.default_operating_point)

    @property
    def has_one_logit(self) -> bool:
        """Whether there are two classes, so that a logit can be calibrated anew."""
        return len(self.labels) == 2


def active_version(models_dir: Path) -> str | None:
    """Returns the version that a folder of models names as the active one, None without one."""
    try:
        named = (models_dir / "current").read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return None
    return named.strip() or None


def read_facts(models_dir: Path, version: str) -> BundleFacts | None:
    """Reads a bundle's manifest; None where the folder has no such bundle.

    Raises:
        BundleError: the manifest can not be read or is none.
    """
    if not _VERSION.fullmatch(version):
        raise BundleError(f"{version!r} is no model's version")
    path = models_dir / version / "manifest.json"
    try:
        return BundleFacts.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path} can not be read as a model's manifest") from error
