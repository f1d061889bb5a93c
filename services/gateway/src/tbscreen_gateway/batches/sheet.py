"""A batch as a spreadsheet: comma-separated values (RFC 4180), one row for each file."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from tbscreen_gateway.batches.views import job_ids_of, status_of, with_briefs
from tbscreen_shared.jobs import BatchEntry, BatchRecord, BatchStore, JobBrief

SHEET_MEDIA_TYPE: Final = "text/csv; charset=utf-8"

COLUMNS: Final[dict[str, str]] = {
    "index": "place among the files that were sent, from 0",
    "sha256": "of the file's bytes; empty where it was refused",
    "job_id": "the file's job; empty where it was refused",
    "status": "queued, started, succeeded, failed, canceled, refused or expired",
    "prediction": "TB Positive, Normal or Indeterminate",
    "probability": "calibrated probability of the positive class, 0 to 1",
    "score": "100 × probability",
    "threshold": "probability at or above which it is positive",
    "operating_point": "the threshold's name",
    "warnings": "codes, separated by spaces",
    "model_version": "the model that answered",
    "model_sha256": "its checksum",
    "error_code": "why it was refused or failed",
    "error_message": "the same, for people",
}

_ROWS_AT_ONCE: Final = 100

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes a cell for a formula by."""


def stream_sheet(batches: BatchStore, record: BatchRecord) -> Iterator[str]:
    """Yields the sheet in pieces of some rows, each read from Redis in one go.

    Raises:
        RedisError: the job store can not be reached; the sheet then ends without its rest.
    """
    yield _to_csv([list(COLUMNS)])
    entries = iter(record.entries)
    while block := list(islice(entries, _ROWS_AT_ONCE)):
        _, briefs = batches.look((), in_full=job_ids_of(block))
        yield _to_csv([_row(entry, brief) for entry, brief in with_briefs(block, briefs)])


def _row(entry: BatchEntry, brief: JobBrief | None) -> list[str]:
    result = brief.result if brief else None
    error = entry.error or (brief.error if brief else None)
    cells: dict[str, object] = {
        "index": entry.index,
        "sha256": entry.sha256,
        "job_id": entry.job_id,
        "status": status_of(entry, brief.status if brief else None),
    }
    if result is not None:
        cells |= {
            "prediction": result.prediction,
            "probability": result.probability,
            "score": result.score,
            "threshold": result.threshold,
            "operating_point": result.operating_point,
            "warnings": " ".join(result.warnings),
            "model_version": result.model.version,
            "model_sha256": result.model.sha256,
        }
    if error is not None:
        cells |= {"error_code": error.code, "error_message": error.message}
    return [_cell(cells.get(column)) for column in COLUMNS]


def _cell(value: object) -> str:
    """Returns a cell that a spreadsheet takes for text or a number, never for a formula.

    Labels, versions and names of operating points come from whoever made the model.
    """
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA_STARTS) else text


def _to_csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
