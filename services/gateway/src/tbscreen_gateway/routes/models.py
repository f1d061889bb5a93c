"""Models: the bundles on the models volume and their evaluation reports."""

import mimetypes
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, RedirectResponse, Response

from tbscreen_gateway.dependencies import ServicesDep
from tbscreen_gateway.examples import problem_answers
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.bundle import Bundle, Manifest, ModelStore
from tbscreen_shared.errors import BundleError, ErrorCode

router = APIRouter(prefix="/v1/models", tags=["Models"])

_REPORT_SUFFIXES: Final = frozenset(
    {".html", ".css", ".png", ".svg", ".jpg", ".json", ".csv", ".txt", ".md"}
)

# A report is a document: it may carry its own style and pictures, but runs nothing.
_REPORT_CSP: Final = (
    "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # With an origin of its own, the report's pictures would be another site's.
    "sandbox allow-same-origin"
)


class ModelDetails(BaseModel):
    """A bundle: its manifest, or why it can not be used."""

    version: str
    active: bool
    manifest: Manifest | None
    problem: str | None = Field(default=None, description="why the bundle can not be used")
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


@router.get("/{version}/report", include_in_schema=False)
def redirect_to_report(version: str) -> Response:
    """The report's links are relative to its folder."""
    return RedirectResponse(f"/v1/models/{version}/report/", status_code=308)


@router.get(
    "/{version}/report/{path:path}",
    summary="Read a model's evaluation report",
    response_class=Response,
    responses={
        200: {"description": "A file of the report; the report itself for an empty path."},
        **problem_answers(
            ErrorCode.MODEL_NOT_FOUND, ErrorCode.NOT_FOUND, ErrorCode.INVALID_REQUEST
        ),
    },
)
def read_report(version: str, path: str, services: ServicesDep) -> Response:
    """Answers with a file of the bundle's report folder."""
    bundle = services.models.load(version)
    file = _report_file(bundle, path or "index.html")
    if file is None:
        raise Refusal(ErrorCode.NOT_FOUND, "The model's report holds no such file.")
    media_type = mimetypes.guess_type(file.name)[0] or "text/plain"
    return FileResponse(
        file,
        media_type=media_type,
        headers={"Content-Security-Policy": _REPORT_CSP, "Cache-Control": "no-cache"},
    )


def _describe(models: ModelStore, version: str, active: str | None) -> ModelDetails:
    try:
        bundle = models.load(version)
    except BundleError as error:
        return ModelDetails(
            version=version, active=version == active, manifest=None, problem=error.detail
        )
    has_report = _report_file(bundle, "index.html") is not None
    return ModelDetails(
        version=version,
        active=version == active,
        manifest=bundle.manifest,
        report=f"/v1/models/{version}/report/" if has_report else None,
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
