"""How the audit log is."""

from typing import Final

from pydantic import BaseModel, Field

from tbscreen_gateway.audit_drain import AuditDrain
from tbscreen_shared.jobs import AuditStream

_PATIENCE_S: Final = 60.0
"""Longer than a killed gateway's lease and another one's start."""


class AuditHealth(BaseModel):
    """Whether what happens is written down. `tbscreen audit verify --url` compares the log."""

    ok: bool
    seq: int | None = Field(default=None, description="number of the newest entry that is written")
    sha256: str | None = Field(default=None, description="SHA-256 of the log's last line")
    waiting: int | None = Field(default=None, description="entries that are not written yet")
    detail: str | None = Field(default=None, description="why they are not")


class AuditProbe:
    """Looks at the log. The stream tells every gateway of it, not only the one that writes.

    Args:
        stream: with a client whose time-out suits a probe.
        drain: this gateway's.
    """

    def __init__(self, stream: AuditStream, drain: AuditDrain) -> None:
        self._stream = stream
        self._drain = drain

    def check(self) -> AuditHealth:
        """Looks at the stream.

        Raises:
            RedisError: it can not be reached.
        """
        state = self._stream.state()
        detail = self._drain.problem
        if detail is None and state.oldest_s > _PATIENCE_S:
            detail = "No gateway writes the audit log."
        if detail is not None and state.waiting:
            detail = f"{detail} Entries that wait in Redis: {state.waiting}."
        return AuditHealth(
            ok=detail is None,
            seq=state.head.seq if state.head else None,
            sha256=state.head.sha256 if state.head else None,
            waiting=state.waiting,
            detail=detail,
        )

    def without_redis(self) -> AuditHealth:
        """What is known while the stream can not be reached."""
        return AuditHealth(ok=False, detail=self._drain.problem)
