"""Keeps each run in a CSV file, and the table made of them in the document that shows it."""

import csv
import dataclasses
import math
import os
import statistics
from pathlib import Path

from faults.catalogue import FAULTS
from faults.trial import Trial

_HEAD = (
    "fault",
    "runs",
    "offered",
    "refused",
    "accepted",
    "finished",
    "failed (typed)",
    "lost",
    "duplicates",
    "first answer (s)",
    "as before (s)",
    "longest answer (s)",
)
_TIMES = ("first_answer_s", "as_before_s", "longest_s")
_FIELDS = [field.name for field in dataclasses.fields(Trial)]


def read_trials(path: Path) -> list[dict[str, str]]:
    """Returns the runs that are on record."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def record(path: Path, trials: list[Trial]) -> list[dict[str, str]]:
    """Puts new runs in the place of earlier ones of the same faults; returns all."""
    anew = {trial.fault for trial in trials}
    kept = [row for row in read_trials(path) if row["fault"] not in anew]
    rows = kept + [_row(trial) for trial in trials]
    order = {fault.name: number for number, fault in enumerate(FAULTS)}
    rows.sort(key=lambda row: (order.get(row["fault"], len(order)), int(row["run"])))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, _FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _row(trial: Trial) -> dict[str, str]:
    row = dataclasses.asdict(trial)
    for name in ("problems", "notes"):
        row[name] = "; ".join(row[name])
    return {name: str(value) for name, value in row.items()}


def table(rows: list[dict[str, str]]) -> str:
    """Returns the runs by fault, as Markdown. Recovery: median, and the longest."""
    does = {fault.name: fault.does for fault in FAULTS}
    lines = ["| " + " | ".join(_HEAD) + " |", "|---" * len(_HEAD) + "|"]
    for name in dict.fromkeys(row["fault"] for row in rows):
        runs = [row for row in rows if row["fault"] == name]
        sums = [
            str(sum(int(run[column]) for run in runs))
            for column in (
                "offered",
                "refused",
                "accepted",
                "finished",
                "failed_typed",
                "lost",
                "duplicates",
            )
        ]
        recoveries = [_spread(runs, column) for column in _TIMES]
        cells = [f"{does.get(name, name)} (`{name}`)", str(len(runs)), *sums, *recoveries]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _caption(rows)]) + "\n"


def _caption(rows: list[dict[str, str]]) -> str:
    days = sorted({row["measured_on"] for row in rows})
    rates = sorted(float(row["rate_per_s"]) for row in rows)
    broken = sum(bool(row["problems"]) for row in rows)
    return (
        f"{len(rows)} runs, {' and '.join(days)}, on {os.cpu_count()} cores; load "
        f"{rates[0]} to {rates[-1]} radiographs/s; runs that broke a promise: {broken}."
    )


def _spread(runs: list[dict[str, str]], column: str) -> str:
    values = [float(run[column]) for run in runs]
    if any(math.isnan(value) for value in values):
        return "not in time"
    return f"{statistics.median(values):.1f}, {max(values):.1f}"


def insert(document: Path, name: str, text: str) -> None:
    """Replaces what stands between a document's marks `<!-- NAME -->` and `<!-- /NAME -->`.

    Raises:
        ValueError: the document has no such marks.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    old = document.read_text(encoding="utf-8")
    head, found_begin, rest = old.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"{document} has no place for {name}")
    document.write_text(f"{head}{begin}{text}{end}{tail}", encoding="utf-8")
