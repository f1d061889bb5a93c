"""<version>.site.json, which holds a site's own threshold.

Its schema is `tbscreen_shared.bundle.SiteCalibration`; a test holds the two together.
"""

import json
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tbscreen.calibrate.bundle import Calibration, OperatingPoint
from tbscreen.calibrate.errors import SiteError


class SiteFile(BaseModel):
    """<version>.site.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    version: str
    model_sha256: str
    created_at: datetime
    calibration: Calibration | None
    operating_point: OperatingPoint
    indeterminate_band: tuple[float, float] | None
    positive_images: int
    negative_images: int
    unanswered_images: int
    unanswered_positive_images: int
    unanswered_negative_images: int


def check_target(path: Path) -> None:
    """Checks that `write_site_file` will be able to write there, before anything is screened.

    Raises:
        SiteError: it will not.
    """
    try:
        # Tried, not asked for: a read-only file system or a full disk refuses its owner as well.
        with tempfile.TemporaryFile(prefix=".site-", dir=path.parent):
            pass
    except OSError as error:
        raise SiteError(f"{path.parent} can not be written to: {error.strerror}") from error
    if path.is_dir():
        raise SiteError(f"{path} is a folder")


def write_site_file(path: Path, site: SiteFile) -> None:
    """Writes the file whole or not at all; workers that look at it take it within a second.

    Raises:
        OSError: the folder can not be written.
    """
    handle, name = tempfile.mkstemp(prefix=".site-", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(site.model_dump(mode="json"), stream, indent=2)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        # Workers run as another user.
        partial.chmod(0o644)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
