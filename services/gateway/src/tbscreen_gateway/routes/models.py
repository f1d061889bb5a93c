"""Models: the bundles on the models volume and their evaluation reports."""

import mimetypes
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, Response

from tbscreen_gateway.dependencies import ServicesDep
from tbscreen_gateway.examples import problem_answers
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.bundle import Bundle, Manifest, ModelStore, SiteCalibration
from tbscreen_shared.errors import BundleError, ErrorCode

router = APIRouter(prefix="/v1/models", tags=["Models"])

_REPORT: Final = "index.html"
_MEDIA_TYPES: Final = {".md": "text/markdown; charset=utf-8"}
_REPORT_SUFFIXES: Final = frozenset(
    {".html", ".css", ".png", ".svg", ".jpg", ".json", ".csv", ".txt", ".md"}
)

# A report is one document with its style and pictures in it: it loads nothing and runs nothing, and
# the sandbox takes its origin away.
_REPORT_CSP: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox"
)


class ModelDetails(BaseModel):
    """A bundle: its manifest, or why it can not be used."""

    version: str
    active: bool
    manifest: Manifest | None
    problem: str | None = Field(default=None, description="why the bundle can not be used")
    site: SiteCalibration | None = Field(
        default=None,
        description="the site's own threshold, which decides in place of the manifest's",
    )
    site_problem: str | None = Field(
        default=None, description="why a site's own threshold is not applied"
    )
    report: str | None = Field(default=None, description="where its evaluation report is found")


class ModelList(BaseModel):
    """Every bundle on the volume."""

    active: str | None = Field(description="the version that workers answer with")
    models: list[ModelDetails]


@router.get("", summary="List the models")
def list_models(services: ServicesDep) -> ModelList:
    """Lists the bundles on the models volume, unusable ones with the reason."""
    active = services.models.active_version()
    return ModelList(
        active=active,
        models=[
            _describe(services.models, version, active) for version in services.models.versions()
        ],
    )


@router.get(
    "/{version}",
    summary="Look a model up",
    responses=problem_answers(ErrorCode.MODEL_NOT_FOUND, ErrorCode.INVALID_REQUEST),
)
def look_up(version: str, services: ServicesDep) -> ModelDetails:
    """Answers with the bundle's manifest: metrics, operating points, fingerprints, provenance."""
    details = _describe(services.models, version, services.models.active_version())
    if details.manifest is None:
        raise Refusal(ErrorCode.MODEL_NOT_FOUND, details.problem or "There is no such model.")
    return details


@router.get(
    "/{version}/report",
    summary="Read a model's evaluation report",
    response_class=Response,
    responses={
        200: {"description": "The report: one HTML document.", "content": {"text/html": {}}},
        **problem_answers(ErrorCode.MODEL_NOT_FOUND, ErrorCode.NOT_FOUND),
    },
)
def read_report(version: str, services: ServicesDep) -> Response:
    """Answers with the bundle's evaluation report; everything in it is in the one document."""
    return _send_report_file(services.models, version, _REPORT)


@router.get(
    "/{version}/report/{path:path}",
    summary="Read a file of a model's report",
    response_class=Response,
    responses={
        200: {"description": "A file of the report; the report itself for an empty path."},
        **problem_answers(
            ErrorCode.MODEL_NOT_FOUND, ErrorCode.NOT_FOUND, ErrorCode.INVALID_REQUEST
        ),
    },
)
def read_report_file(version: str, path: str, services: ServicesDep) -> Response:
    """Answers with metrics.json, model-card.md or another file of the bundle's report folder."""
    return _send_report_file(services.models, version, path or _REPORT)


def report_path(models: ModelStore, version: str | None) -> str | None:
    """Returns where a version's report is found, or None if it has none."""
    if version is None:
        return None
    try:
        bundle = models.load(version)
    except BundleError:
        return None
    return f"/v1/models/{version}/report" if _report_file(bundle, _REPORT) else None


def _send_report_file(models: ModelStore, version: str, path: str) -> Response:
    file = _report_file(models.load(version), path)
    if file is None:
        raise Refusal(ErrorCode.NOT_FOUND, "The model's report holds no such file.")
    media_type = _MEDIA_TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "text/plain"
    return FileResponse(
        file,
        media_type=media_type,
        headers={
            "Content-Security-Policy": _REPORT_CSP,
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
        },
    )


def _describe(models: ModelStore, version: str, active: str | None) -> ModelDetails:
    try:
        bundle = models.load(version)
    except BundleError as error:
        return ModelDetails(
            version=version, active=version == active, manifest=None, problem=error.detail
        )
    return ModelDetails(
        version=version,
        active=version == active,
        manifest=bundle.manifest,
        site=bundle.site,
        site_problem=bundle.site_problem,
        report=report_path(models, version),
    )


def _report_file(bundle: Bundle, path: str) -> Path | None:
    root = bundle.report_dir.resolve()
    try:
        file = (root / path).resolve()
    except (OSError, ValueError):  # e.g. a null byte, or a loop of links
        return None
    if not file.is_relative_to(root) or file.suffix not in _REPORT_SUFFIXES:
        return None
    return file if file.is_file() else None
