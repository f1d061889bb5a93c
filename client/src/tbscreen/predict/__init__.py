"""`tbscreen predict`: files and folders in, one line per file out, in the order of the files."""

from tbscreen.predict.batch import Batch
from tbscreen.predict.files import Radiograph, find_radiographs
from tbscreen.predict.formats import OutputFormat, make_formatter
from tbscreen.predict.outcome import Outcome, OutcomeStatus

__all__ = [
    "Batch",
    "Outcome",
    "OutcomeStatus",
    "OutputFormat",
    "Radiograph",
    "find_radiographs",
    "make_formatter",
]
