"""Entries and verdicts as text for people."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tbscreen.audit.checks import Verdict
from tbscreen.audit.reading import LogError, Source
from tbscreen_shared.audit import AuditLine, read_line

TABLE_HEADER: Final = f"{'SEQ':>8}  {'TIME (UTC)':<23}  {'EVENT':<18}  {'JOB':<36}  DETAILS"

_UNKNOWN: Final = "-"


@dataclass(frozen=True)
class Wanted:
    """Which entries; None wants all."""

    job: str | None = None
    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, line: AuditLine) -> bool:
        """Tells whether an entry is wanted."""
        return (
            (self.job is None or self.job in (line.job, line.details.get("retry_of")))
            and (self.event is None or line.event == self.event)
            and (self.since is None or line.at >= self.since)
            and (self.until is None or line.at < self.until)
        )


def select(sources: Iterable[Source], wanted: Wanted) -> Iterator[tuple[Source, AuditLine]]:
    """Yields the wanted entries.

    Raises:
        LogError: a line can not be read.
    """
    for source in sources:
        try:
            line = read_line(source.text)
        except ValueError as error:
            raise LogError(f"{source}: it is no line of an audit log; see `verify`") from error
        if line in wanted:
            yield source, line


def to_row(line: AuditLine) -> str:
    """Returns an entry as a row below `TABLE_HEADER`."""
    seq = _UNKNOWN if line.seq is None else str(line.seq)
    details = " ".join(f"{name}={value}" for name, value in line.details.items())
    row = (
        f"{seq:>8}  {line.at:%Y-%m-%d %H:%M:%S}.{line.at.microsecond // 1000:03}  "
        f"{line.event:<18}  {line.job or _UNKNOWN:<36}  {details}"
    )
    # Whoever can write the file can write what a terminal would obey.
    return "".join(letter if letter.isprintable() else "?" for letter in row).rstrip()


def describe(verdict: Verdict) -> str:
    """Returns what a check came to, with the anchor for the next one."""
    span = ""
    if verdict.first_at and verdict.last_at:
        span = f" from {verdict.first_at:%Y-%m-%d %H:%M} to {verdict.last_at:%Y-%m-%d %H:%M} UTC"
    signed = "" if verdict.signed is None else f", {verdict.signed} signed with the key"
    events = ", ".join(f"{count} {event}" for event, count in verdict.events.most_common())
    findings = len(verdict.findings)
    outcome = "whole" if not findings else f"NOT WHOLE: {findings} finding{'s'[: findings > 1]}"
    if verdict.set_back and not findings:
        outcome = (
            f"{outcome}, but numbers were set back {verdict.set_back} time"
            f"{'s'[: verdict.set_back > 1]}: right only if Redis was restored then"
        )
    return (
        f"{verdict.lines} lines{span}{signed}: {events}\n"
        f"last entry {verdict.last_seq}, hash {verdict.sha256}\n{outcome}"
    )
