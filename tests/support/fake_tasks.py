"""A task queue that keeps what it is sent."""

from tbscreen_gateway.problems import Refusal
from tbscreen_shared.errors import ErrorCode


class FakeTaskQueue:
    """Refuses whatever comes after `takes` tasks, where that is told."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.takes: int | None = None

    def send(self, job_id: str) -> None:
        if self.takes is not None and len(self.sent) >= self.takes:
            raise Refusal(ErrorCode.BROKER_UNAVAILABLE, "refused")
        self.sent.append(job_id)

    def close(self) -> None:
        pass
