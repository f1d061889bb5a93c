"""What the API's documentation shows of batches."""

from typing import Any, Final

from tbscreen_gateway import answer_headers
from tbscreen_gateway.batches.form import ARCHIVE_FIELD
from tbscreen_gateway.batches.sheet import COLUMNS, SHEET_MEDIA_TYPE
from tbscreen_gateway.batches.views import Batch
from tbscreen_gateway.examples import json_answer
from tbscreen_gateway.uploads import FILE_FIELD

_ID: Final = "0199e0a4-9b3f-7a10-8c55-1d2e3f405162"
_JOB_ID: Final = "0199e0a4-9b40-7f21-b0a7-93c1d2e4f506"

_REFUSED_ITEM: Final[dict[str, Any]] = {
    "index": 1,
    "sha256": None,
    "status": "refused",
    "job_id": None,
    "prediction": None,
    "probability": None,
    "score": None,
    "error": {
        "code": "unsupported_media_type",
        "message": "The file is no PNG, JPEG, TIFF or DICOM; its content is looked at, "
        "not its name.",
    },
    "links": None,
}

_QUEUED_ITEM: Final[dict[str, Any]] = {
    "index": 0,
    "sha256": "a1" * 32,
    "status": "queued",
    "job_id": _JOB_ID,
    "prediction": None,
    "probability": None,
    "score": None,
    "error": None,
    "links": {"job": f"/v1/jobs/{_JOB_ID}", "heatmap": None},
}

_NO_COUNTS: Final = dict.fromkeys(
    ("queued", "started", "succeeded", "failed", "canceled", "refused", "expired"), 0
)

QUEUED_BATCH: Final[dict[str, Any]] = {
    "id": _ID,
    "created_at": "2026-11-22T09:30:00.120Z",
    "finished": False,
    "total": 2,
    "skipped": 1,
    "counts": {**_NO_COUNTS, "queued": 1, "refused": 1},
    "items": [_QUEUED_ITEM, _REFUSED_ITEM],
    "next_cursor": None,
    "links": {"batch": f"/v1/batches/{_ID}", "csv": f"/v1/batches/{_ID}.csv"},
}

FINISHED_BATCH: Final[dict[str, Any]] = {
    **QUEUED_BATCH,
    "finished": True,
    "counts": {**_NO_COUNTS, "succeeded": 1, "refused": 1},
    "items": [
        {
            **_QUEUED_ITEM,
            "status": "succeeded",
            "prediction": "TB Positive",
            "probability": 0.83,
            "score": 83.0,
            "links": {
                "job": f"/v1/jobs/{_JOB_ID}",
                "heatmap": f"/v1/jobs/{_JOB_ID}/heatmap.png",
            },
        },
        _REFUSED_ITEM,
    ],
}

CANCELED_BATCH: Final[dict[str, Any]] = {
    **QUEUED_BATCH,
    "finished": True,
    "counts": {**_NO_COUNTS, "canceled": 1, "refused": 1},
    "items": [{**_QUEUED_ITEM, "status": "canceled"}, _REFUSED_ITEM],
}

_SHEET: Final = (
    ",".join(COLUMNS)
    + f"\r\n0,{'a1' * 32},{_JOB_ID},succeeded,TB Positive,0.83,83.0,0.41,triage,low_resolution,"
    f"2026.11.1,{'3f' * 32},,\r\n"
    "1,,,refused,,,,,,,,,unsupported_media_type,The file is no PNG or the like.\r\n"
)

SHEET_ANSWER: Final[dict[str, Any]] = {
    "description": "One row for each file, by index. Columns: "
    + "; ".join(f"{name}: {meaning}" for name, meaning in COLUMNS.items())
    + ".",
    "content": {SHEET_MEDIA_TYPE: {"schema": {"type": "string"}, "example": _SHEET}},
}

BATCH_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        FILE_FIELD: {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "The radiographs: PNG, JPEG, TIFF or DICOM, told by "
                            "their content. Their names are ignored.",
                        },
                        ARCHIVE_FIELD: {
                            "type": "string",
                            "format": "binary",
                            "description": "In place of files: one zip of them, stored or "
                            "deflated, not encrypted. Archives in it are not opened.",
                        },
                    },
                    "oneOf": [{"required": [FILE_FIELD]}, {"required": [ARCHIVE_FIELD]}],
                    "additionalProperties": False,
                }
            }
        },
    }
}


def batch_answer(
    description: str, headers: answer_headers.Headers, /, **examples: dict[str, Any]
) -> dict[str, Any]:
    """Returns an OpenAPI response whose body is a batch."""
    all_headers = {**headers, **answer_headers.PAGE}
    return {**json_answer(description, all_headers, **examples), "model": Batch}
