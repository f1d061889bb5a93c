"""Model bundles on a volume: what one holds, how it is published, how a change is noticed."""

from tbscreen_shared.bundle.manifest import (
    SCHEMA_VERSION,
    Calibration,
    InputCheckFile,
    InputSpec,
    Interval,
    KnownAnswer,
    Manifest,
    OperatingPoint,
    OutputSpec,
)
from tbscreen_shared.bundle.site import SiteCalibration
from tbscreen_shared.bundle.store import Bundle, ModelStore

__all__ = [
    "SCHEMA_VERSION",
    "Bundle",
    "Calibration",
    "InputCheckFile",
    "InputSpec",
    "Interval",
    "KnownAnswer",
    "Manifest",
    "ModelStore",
    "OperatingPoint",
    "OutputSpec",
    "SiteCalibration",
]
