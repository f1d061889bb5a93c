"""A task queue that keeps what it is sent."""

from tbscreen_gateway.task_queue import TaskNotSentError


class FakeTaskQueue:
    """Refuses whatever comes after `takes` tasks, where that is told."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.takes: int | None = None

    def send(self, job_id: str) -> None:
        if self.takes is not None and len(self.sent) >= self.takes:
            raise TaskNotSentError("refused")
        self.sent.append(job_id)

    def close(self) -> None:
        pass
