"""Whether an audit log is whole: its chain, its numbers, its signatures, its end."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from tbscreen.audit.reading import Source
from tbscreen_shared.audit import (
    GENESIS,
    LOG_DIFFERS,
    SET_BACK,
    SIGNING_BEGAN,
    UNREADABLE_ENTRY,
    AuditLine,
    digest,
    file_number,
    is_signed,
    read_line,
)

_BACKWARDS_S: Final = 5.0
"""Entries come in Redis' order; a clock that is set right by more than this is worth a word."""


@dataclass(frozen=True)
class Finding:
    """Something wrong. `where` names file and line."""

    where: str
    what: str


@dataclass
class Verdict:
    """What a log came to.

    Attributes:
        findings: what is wrong.
        notes: what is not wrong, and should be known.
        events: how many entries of each kind.
        first_seq: number of the first entry, None for none.
        last_seq: number of the newest.
        sha256: hash of the last line: an anchor, to be kept elsewhere.
        signed: lines signed with the key; None where no key was given.
        set_back: how often the entries' numbers were set back.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    first_seq: int | None = None
    last_seq: int | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None
    sha256: str = GENESIS
    signed: int | None = None
    set_back: int = 0

    @property
    def lines(self) -> int:
        """How many there are."""
        return self.events.total()


def check_log(
    files: Sequence[Path],
    sources: Iterable[Source],
    *,
    anchors: Iterable[str] = (),
    key: bytes | None = None,
    unsigned_until: str | None = None,
) -> Verdict:
    """Reads a log from its beginning to its end and says what is wrong with it.

    Args:
        files: where the lines are from, oldest first.
        sources: the lines.
        anchors: hashes of lines, as they were noted elsewhere; each must be found.
        key: what the lines are signed with.
        unsigned_until: hash of the last line that is not signed, of a log whose key came later.

    Raises:
        LogError: a file can not be read.
    """
    checker = _Checker(set(anchors), key, unsigned_until)
    checker.check_names(files)
    for source in sources:
        checker.check(source)
    return checker.finish()


class _Checker:
    def __init__(self, anchors: set[str], key: bytes | None, unsigned_until: str | None) -> None:
        self._anchors = anchors | ({unsigned_until} if unsigned_until else set())
        self._key = key
        self._unsigned_until = unsigned_until
        self._unsigned: list[Source] = []
        self._verdict = Verdict(signed=None if key is None else 0)
        self._before: Source | None = None
        self._next_seq: int | None = None
        self._set_back_to: int | None = None

    def check_names(self, files: Sequence[Path]) -> None:
        numbers = [file_number(file) for file in files]
        for before, after in pairwise(numbers):
            if after != before + 1:
                self._find(files[numbers.index(after)].name, "files before it are missing")
        if numbers and numbers[0] > 1:
            self._verdict.notes.append(f"begins at {files[0].name}: earlier files are not here")

    def check(self, source: Source) -> None:
        verdict = self._verdict
        if not source.is_whole:
            self._find(source, "it has no end: the file was cut short, or its writer was killed")
        line: AuditLine | None = None
        try:
            line = read_line(source.text)
        except ValueError:
            self._find(source, "it is no line of an audit log")
        if line is not None:
            self._check_chain(source, line)
            self._check_seq(source, line)
            self._check_time(source, line)
            self._check_event(source, line)
        verdict.events[line.event if line else "(unreadable)"] += 1
        verdict.sha256 = digest(source.text)
        self._check_signature(source)
        self._anchors.discard(verdict.sha256)
        self._before = source

    def finish(self) -> Verdict:
        verdict = self._verdict
        for anchor in sorted(self._anchors):
            self._find(
                "the log",
                f"no line has the hash {anchor}: the log was made anew, or cut before that line",
            )
        if verdict.signed == 0 and verdict.lines:
            self._find("the log", "no line is signed with this key")
        elif self._unsigned:
            first, last = self._unsigned[0], self._unsigned[-1]
            self._find(
                first,
                f"this and all up to {last} are not signed with this key: they were put there, or "
                "are older than the key, which --unsigned-until says",
            )
        return verdict

    def _check_chain(self, source: Source, line: AuditLine) -> None:
        if self._before is None:
            if line.prev == GENESIS:
                return
            if source.is_of_first_file:
                self._find(source, "it is not the log's first line: what was before is missing")
            else:
                self._verdict.notes.append(f"begins after a line with the hash {line.prev}")
        elif line.prev != self._verdict.sha256:
            self._find(
                source,
                f"it does not follow from {self._before}: one of the two was changed or put there, "
                "or what was between them was removed",
            )

    def _check_seq(self, source: Source, line: AuditLine) -> None:
        if line.event == SET_BACK and line.seq is None:
            to = line.details.get("to")
            self._set_back_to = to if isinstance(to, int) else None
            return
        if line.seq is None:
            return
        expected = self._set_back_to or self._next_seq
        if expected is not None and line.seq > expected:
            missing = f"{expected}" if line.seq == expected + 1 else f"{expected}-{line.seq - 1}"
            self._find(source, f"before entry {line.seq}, {missing} is missing")
        elif expected is not None and line.seq < expected:
            self._find(source, f"entry {line.seq} is out of order: {expected} should be here")
        verdict = self._verdict
        if verdict.first_seq is None:
            verdict.first_seq = line.seq
            if line.seq > 1 and line.prev == GENESIS:
                verdict.notes.append(f"the log begins with entry {line.seq}")
        verdict.last_seq, self._next_seq, self._set_back_to = line.seq, line.seq + 1, None

    def _check_time(self, source: Source, line: AuditLine) -> None:
        verdict = self._verdict
        verdict.first_at = verdict.first_at or line.at
        if verdict.last_at and (verdict.last_at - line.at).total_seconds() > _BACKWARDS_S:
            verdict.notes.append(f"{source}: the clock went back from {verdict.last_at:%F %T}")
        verdict.last_at = line.at

    def _check_event(self, source: Source, line: AuditLine) -> None:
        details = line.details
        if line.seq is not None:
            return
        if line.event == SET_BACK:
            self._verdict.notes.append(
                f"{source}: Redis was set back to an older state, or lines were put before this "
                f"one; entry numbers go on from {details.get('to')} after "
                f"{details.get('ended_seq')}"
            )
            self._verdict.set_back += 1
        elif line.event == LOG_DIFFERS:
            self._find(
                source,
                f"the log had ended with entry {details.get('ended_seq')} and the hash "
                f"{details.get('ended_sha256')}: it was cut, changed or replaced before this line",
            )
        elif line.event == SIGNING_BEGAN:
            self._verdict.notes.append(
                f"{source}: lines are signed from here on; before it the log ended with entry "
                f"{details.get('ended_seq')} and the hash {details.get('ended_sha256')}"
            )
        elif line.event == UNREADABLE_ENTRY:
            self._find(source, "Redis' stream held something that tbscreen does not write")
        else:
            self._find(source, "the entry has no number")

    def _check_signature(self, source: Source) -> None:
        verdict = self._verdict
        if self._key is None or verdict.signed is None:
            return
        if is_signed(source.text, self._key):
            verdict.signed += 1
        elif self._unsigned_until is not None:
            pass
        elif verdict.signed:
            self._find(source, "it is not signed with this key")
        else:
            self._unsigned.append(source)
        if verdict.sha256 == self._unsigned_until:
            self._unsigned_until = None

    def _find(self, where: object, what: str) -> None:
        self._verdict.findings.append(Finding(str(where), what))
