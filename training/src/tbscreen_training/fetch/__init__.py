"""Downloads public sets of radiographs: `tbscreen-training fetch`."""

from tbscreen_training.fetch.registry import DataSet, load_registry
from tbscreen_training.fetch.run import fetch

__all__ = ["DataSet", "fetch", "load_registry"]
