"""What the API's documentation shows: examples of each answer and each error."""

from collections.abc import Iterable
from typing import Any, Final

from tbscreen_gateway import answer_headers
from tbscreen_gateway.problems import PROBLEM_MEDIA_TYPE, RETRY_AFTER_S, TITLES, Problem
from tbscreen_gateway.uploads import FILE_FIELD
from tbscreen_shared.contracts import Job
from tbscreen_shared.errors import HTTP_STATUS, ErrorCode

_ID: Final = "0199e0a4-7c1e-7d52-9a53-0f2a5e6b8c11"
_MODEL_REF: Final = {"version": "2026.11.1", "sha256": "3f" * 32}

QUEUED_JOB: Final[dict[str, Any]] = {
    "id": _ID,
    "status": "queued",
    "created_at": "2026-11-22T09:30:00.120Z",
    "started_at": None,
    "finished_at": None,
    "attempts": 0,
    "queue_position": 3,
    "batch_id": None,
    "retry_of": None,
    "result": None,
    "error": None,
    "expires_at": None,
}

_FINISHED: Final = {
    **QUEUED_JOB,
    "started_at": "2026-11-22T09:30:00.180Z",
    "finished_at": "2026-11-22T09:30:00.262Z",
    "attempts": 1,
    "queue_position": None,
    "expires_at": "2026-11-23T09:30:00.262Z",
}

SUCCEEDED_JOB: Final[dict[str, Any]] = {
    **_FINISHED,
    "status": "succeeded",
    "result": {
        "prediction": "TB Positive",
        "probability": 0.83,
        "score": 83.0,
        "probabilities": {"Normal": 0.17, "TB Positive": 0.83},
        "logits": [1.59],
        "threshold": 0.41,
        "operating_point": "triage",
        "activation_map": [[0.02, 0.11], [0.64, 1.0]],
        "warnings": ["low_resolution"],
        "model": _MODEL_REF,
        "preprocessing": "1",
        "input": {"sha256": "a1" * 32, "width": 2517, "height": 2713, "format": "jpeg"},
        "timings_ms": {"queue": 60.0, "decode": 41.0, "inference": 33.0, "total": 142.0},
    },
}

FAILED_JOB: Final[dict[str, Any]] = {
    **_FINISHED,
    "status": "failed",
    "error": {"code": "unreadable_image", "message": "the image is damaged or cut short"},
}

DEAD_JOB: Final[dict[str, Any]] = {
    **_FINISHED,
    "id": "0199e0a2-13d0-7a41-8c6e-6c0d2b9f4e77",
    "status": "failed",
    "attempts": 3,
    "error": {
        "code": "worker_lost",
        "message": "the workers that took this job were lost each time; it was given up",
    },
}

CANCELED_JOB: Final[dict[str, Any]] = {
    **_FINISHED,
    "status": "canceled",
    "started_at": None,
    "attempts": 0,
}

MODEL: Final[dict[str, Any]] = {
    "version": _MODEL_REF["version"],
    "active": True,
    "manifest": {
        "schema_version": 1,
        "version": _MODEL_REF["version"],
        "created_at": "2026-11-01T08:15:00Z",
        "model_file": "model.tflite",
        "model_bytes": 10_612_368,
        "model_sha256": _MODEL_REF["sha256"],
        "labels": ["Normal", "TB Positive"],
        "positive_label": "TB Positive",
        "input": {
            "height": 384,
            "width": 384,
            "channels": 1,
            "dtype": "uint8",
            "preprocessing": "1",
        },
        "outputs": {
            "logits": "logits",
            "activation_maps": "activation_maps",
            "lungs": "lungs",
            "frame_features": "frame_features",
            "lung_features": "lung_features",
        },
        "quantisation": "dynamic",
        "calibration": {"method": "identity", "scale": 1.0, "bias": 0.0},
        "operating_points": [
            {
                "name": "triage",
                "threshold": 0.41,
                "sensitivity": {"value": 0.9, "low": 0.87, "high": 0.92},
                "specificity": {"value": 0.52, "low": 0.47, "high": 0.57},
                "measured_on": "validation split",
            }
        ],
        "default_operating_point": "triage",
        "indeterminate_band": [0.41, 0.77],
        "known_answer": {
            "file": "known-answer.png",
            "sha256": "52" * 32,
            "logits": [2.79],
            "tolerance": 0.24,
        },
        "input_check": {"file": "input-check.npz", "sha256": "9a" * 32},
        "metrics": {
            "split": "test",
            "all_sources": {"images": 80, "auc": {"value": 0.92, "low": 0.84, "high": 0.96}},
        },
        "data": {
            "files": 530,
            "sha256": "12" * 32,
            "splits": {"train": 370, "validation": 80, "test": 80},
        },
        "training": {
            "command": "tbscreen-training run --data shenzhen/manifest.csv --name first",
            "seed": 1,
        },
        "provenance": "NLM Shenzhen (Jaeger et al. 2014, public with citation).",
    },
    "problem": None,
    "site": None,
    "site_problem": None,
    "report": f"/v1/models/{_MODEL_REF['version']}/report",
}

SESSION: Final[dict[str, Any]] = {
    "key_id": "3f9c01d2ab47",
    "name": "Ward 3",
    "scopes": ["read", "submit"],
    "expires_at": "2026-11-22T21:30:00Z",
}

HEALTH_SUMMARY: Final[dict[str, Any]] = {"status": "ok", "application": "tbscreen"}

HEALTHY: Final[dict[str, Any]] = {
    **HEALTH_SUMMARY,
    "version": "0.1.0",
    "redis": {"ok": True, "latency_ms": 0.41},
    "storage": {"ok": True, "detail": None},
    "model": {
        "ok": True,
        **_MODEL_REF,
        "operating_point": "triage",
        "created_at": "2026-11-01T08:15:00Z",
        "detail": None,
        "note": None,
    },
    "access": {"ok": True, "keys_needed": True, "detail": None, "note": None},
    "audit": {"ok": True, "seq": 4711, "sha256": "c4" * 32, "waiting": 0, "detail": None},
    "workers": [
        {
            "name": "9f3c01d2ab47/7-5b0c9d21",
            "model": _MODEL_REF,
            "operating_point": "triage",
            "rejected_model": None,
            "rejected_site": None,
            "jobs_done": 1290,
            "rss_bytes": 402_653_184,
            "at": "2026-11-22T09:30:04Z",
        }
    ],
    "queue_length": 0,
    "dead_jobs": 0,
    "problems": [],
}

DEGRADED: Final[dict[str, Any]] = {
    **HEALTHY,
    "status": "degraded",
    "workers": [],
    "problems": ["No worker is running: radiographs are accepted but not read."],
}

READY: Final[dict[str, Any]] = {
    "ready": True,
    "redis": True,
    "storage": True,
    "model": True,
    "workers": 1,
}

NOT_READY: Final[dict[str, Any]] = {**READY, "ready": False, "model": False, "workers": 0}

UPLOAD_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FILE_FIELD],
                    "properties": {
                        FILE_FIELD: {
                            "type": "string",
                            "format": "binary",
                            "description": "One radiograph: PNG, JPEG, TIFF or DICOM, told by its "
                            "content. Its name is ignored.",
                        }
                    },
                    "additionalProperties": False,
                }
            }
        },
    }
}


_UNAVAILABLE: Final = 503
_ANYWHERE_UNAVAILABLE: Final = (ErrorCode.SERVER_BUSY, ErrorCode.SERVER_STOPPING)


def json_answer(
    description: str, headers: answer_headers.Headers | None = None, /, **examples: dict[str, Any]
) -> dict[str, Any]:
    """Returns an OpenAPI response in JSON, with examples by name."""
    return {
        "description": description,
        "headers": headers or {},
        "content": {
            "application/json": {
                "examples": {name: {"value": value} for name, value in examples.items()}
            }
        },
    }


def job_answer(
    description: str, headers: answer_headers.Headers, /, **examples: dict[str, Any]
) -> dict[str, Any]:
    """Returns an OpenAPI response whose body is a job."""
    return {**json_answer(description, headers, **examples), "model": Job}


def problem_answers(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """Returns OpenAPI responses for errors, one for each status, with an example for each code.

    With 503 come those that any request may be answered with.
    """
    answers: dict[int | str, dict[str, Any]] = {}
    for status in sorted({HTTP_STATUS[code] for code in codes}):
        here = [code for code in codes if HTTP_STATUS[code] == status]
        if status == _UNAVAILABLE:
            here += [code for code in _ANYWHERE_UNAVAILABLE if code not in here]
        answers[status] = {
            "model": Problem,
            "description": "; ".join(TITLES[code] for code in here) + ".",
            "content": {PROBLEM_MEDIA_TYPE: {"examples": _problem_examples(here)}},
        }
        headers: answer_headers.Headers = {}
        if any(code in RETRY_AFTER_S for code in here):
            headers |= answer_headers.RETRY_AFTER
        if ErrorCode.UNAUTHORIZED in here:
            headers |= answer_headers.CHALLENGE
        if ErrorCode.FORBIDDEN in here:
            headers |= answer_headers.sometimes(answer_headers.CHALLENGE)
        answers[status]["headers"] = headers
    return answers


def _problem_examples(codes: Iterable[ErrorCode]) -> dict[str, Any]:
    return {
        str(code): {
            "value": {
                "type": f"/docs#{code}",
                "title": TITLES[code],
                "status": HTTP_STATUS[code],
                "detail": f"{TITLES[code]}.",
                "code": str(code),
                "instance": "/v1/jobs",
                "request_id": "5f0c4b1d2e3a4f6b8c9d0e1f2a3b4c5d",
            }
        }
        for code in codes
    }
