"""What became of one file."""

from dataclasses import dataclass
from enum import StrEnum

from tbscreen.models import Result


class OutcomeStatus(StrEnum):
    """`pending` files were accepted: their job id leads to the answer; `not_sent` ones were not."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PENDING = "pending"
    NOT_SENT = "not_sent"


@dataclass(frozen=True)
class Outcome:
    """One line of the output.

    Attributes:
        file: name of the file, as it was given.
        status: what became of it.
        job_id: the gateway's job, where one was made.
        result: the answer, if it succeeded.
        error_code: why not; for a file that succeeded, why its heat map is missing.
        error_message: the same for people.
        heatmap: path of the heat map that was written.
    """

    file: str
    status: OutcomeStatus
    job_id: str | None = None
    result: Result | None = None
    error_code: str | None = None
    error_message: str | None = None
    heatmap: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the file was answered with all that was asked for."""
        return self.status is OutcomeStatus.SUCCEEDED and self.error_code is None
