"""Writes outcomes as lines: a table for people, JSON Lines and CSV for programs."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from tbscreen.predict.outcome import Outcome

CSV_COLUMNS: Final = (
    "file",
    "status",
    "prediction",
    "probability",
    "score",
    "threshold",
    "operating_point",
    "warnings",
    "model_version",
    "job_id",
    "heatmap",
    "error_code",
    "error_message",
    "logit",
)

_WIDEST_NAME: Final = 60


class OutputFormat(StrEnum):
    """`json` is JSON Lines: one object per line, so that it can be read while it grows."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Formatter = Callable[[Outcome], str]


def make_formatter(
    output_format: OutputFormat, names: Sequence[str]
) -> tuple[str | None, Formatter]:
    """Returns the header line, if the format has one, and what turns an outcome into a line.

    Args:
        output_format: which format.
        names: all files' names, which set the width of the table's first column.
    """
    if output_format is OutputFormat.JSON:
        return None, _to_json
    if output_format is OutputFormat.CSV:
        return _csv_line(CSV_COLUMNS), _to_csv
    width = min(_WIDEST_NAME, max(len("FILE"), *(len(_printable(name)) for name in names)))

    def to_row(outcome: Outcome) -> str:
        return _to_row(outcome, width)

    return f"{'FILE':<{width}}  {'PREDICTION':<13}  {'SCORE':>5}  NOTE", to_row


def _to_row(outcome: Outcome, width: int) -> str:
    name = _printable(outcome.file)
    if len(name) > width:
        name = "…" + name[1 - width :]
    result = outcome.result
    notes = list(result.warnings) if result else []
    if outcome.error_code:
        notes.append(f"{outcome.error_code}: {outcome.error_message}")
    if result is None and outcome.job_id:
        notes.append(f"job {outcome.job_id}")
    answer = result.prediction if result else outcome.status.value.replace("_", " ")
    score = f"{result.score:.1f}" if result else "-"
    return f"{name:<{width}}  {answer:<13}  {score:>5}  {'; '.join(notes)}".rstrip()


def _to_json(outcome: Outcome) -> str:
    error = None
    if outcome.error_code:
        error = {"code": outcome.error_code, "message": outcome.error_message}
    record = {
        "file": outcome.file,
        "status": outcome.status,
        "job_id": outcome.job_id,
        "result": outcome.result.model_dump(mode="json") if outcome.result else None,
        "heatmap": outcome.heatmap,
        "error": error,
    }
    return json.dumps(record, ensure_ascii=False)


def _to_csv(outcome: Outcome) -> str:
    result = outcome.result
    answer: list[object] = [""] * 6
    if result:
        answer = [
            result.prediction,
            result.probability,
            result.score,
            result.threshold,
            result.operating_point,
            ";".join(result.warnings),
        ]
    return _csv_line(
        [
            outcome.file,
            outcome.status,
            *answer,
            result.model.version if result else "",
            outcome.job_id,
            outcome.heatmap,
            outcome.error_code,
            outcome.error_message,
            # Of a model of two classes: what `tbscreen calibrate` can calibrate anew.
            result.logits[0] if result and len(result.logits) == 1 else "",
        ]
    )


def _csv_line(values: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(values)
    return buffer.getvalue()


def _printable(name: str) -> str:
    # A file's name may hold control characters, which a terminal would obey.
    return "".join(letter if letter.isprintable() else "?" for letter in name)
