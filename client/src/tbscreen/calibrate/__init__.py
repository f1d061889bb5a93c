"""`tbscreen calibrate`: a site's labelled radiographs in, the site's own threshold out."""

from tbscreen.calibrate.bundle import BundleFacts
from tbscreen.calibrate.errors import SiteError
from tbscreen.calibrate.labelled import Labelled, LabelledImage, read_sources
from tbscreen.calibrate.site import (
    Needs,
    Scored,
    Targets,
    Unanswered,
    calibrate_site,
    images_needed,
)
from tbscreen.calibrate.site_file import SiteFile, check_target, write_site_file

__all__ = [
    "BundleFacts",
    "Labelled",
    "LabelledImage",
    "Needs",
    "Scored",
    "SiteError",
    "SiteFile",
    "Targets",
    "Unanswered",
    "calibrate_site",
    "check_target",
    "images_needed",
    "read_sources",
    "write_site_file",
]
