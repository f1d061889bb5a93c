"""Looks at radiographs before anything is trained on them: `tbscreen-training inspect`."""

from tbscreen_training.inspection.run import inspect

__all__ = ["inspect"]
