"""Audit logs as the gateway's own code writes them, and the command that looks at them."""

from pathlib import Path

from typer.testing import CliRunner, Result

from support.audit_entries import many
from tbscreen.cli import app
from tbscreen_gateway.audit_log import AuditLog
from tbscreen_shared.audit import Head


def audit(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def write_log(directory: Path, count: int = 10, **options: object) -> Head:
    log = AuditLog(directory, **options)  # type: ignore[arg-type]  # AuditLog's own
    assert log.try_lock()
    log.begin(None)
    for seq in range(1, count + 1):
        log.append(many([seq]))
    log.close()
    return log.head


def go_on(
    directory: Path, acknowledged: Head | None, seqs: list[int], *, key: bytes | None = None
) -> Head:
    log = AuditLog(directory, key=key)
    assert log.try_lock()
    log.begin(acknowledged)
    log.append(many(seqs))
    log.close()
    return log.head
