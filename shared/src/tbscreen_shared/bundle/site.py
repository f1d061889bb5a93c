"""<version>.site.json: a site's own threshold, measured on its radiographs, beside the bundle."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from tbscreen_shared.bundle.manifest import (
    SHA256_PATTERN,
    VERSION_PATTERN,
    Calibration,
    Manifest,
    OperatingPoint,
)
from tbscreen_shared.contracts import Frozen, Probability


class SiteCalibration(Frozen):
    """What `tbscreen calibrate` writes. It holds counts and figures, nothing of single images.

    A result that was decided by it shows its operating point's name, `site`.
    """

    schema_version: Literal[1] = 1
    version: str = Field(pattern=VERSION_PATTERN, description="the bundle it was measured with")
    model_sha256: str = Field(pattern=SHA256_PATTERN)
    created_at: datetime
    calibration: Calibration | None = Field(
        default=None, description="of the site's own images; None: the bundle's stays"
    )
    operating_point: OperatingPoint = Field(
        description="its threshold is on the probability after that calibration"
    )
    indeterminate_band: tuple[Probability, Probability] | None = None
    positive_images: int = Field(
        gt=0, description="with TB, those without a prediction among them: they count as missed"
    )
    negative_images: int = Field(gt=0, description="without TB, answered")
    unanswered_images: int = Field(ge=0, description="without a prediction, of both kinds")
    unanswered_positive_images: int | None = Field(
        default=None, ge=0, description="None: from a release that left them out and forgot them"
    )
    unanswered_negative_images: int | None = Field(default=None, ge=0)


def decide_by_site(manifest: Manifest, site: SiteCalibration) -> Manifest:
    """Returns the manifest as the worker applies it: the site's point is the default one."""
    # The bundle's own points go: their thresholds are on the bundle's own probabilities.
    return manifest.model_copy(
        update={
            "calibration": site.calibration or manifest.calibration,
            "operating_points": [site.operating_point],
            "default_operating_point": site.operating_point.name,
            "indeterminate_band": site.indeterminate_band,
        }
    )
