"""What stops a training run: always something that its user can mend."""


class TrainingError(Exception):
    """The data, the options or the run directory do not allow the step. The message says why."""
