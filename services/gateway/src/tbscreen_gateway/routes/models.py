"""Models: the bundles on the models volume and their evaluation reports."""

import mimetypes
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from tbscreen_gateway.access.dependencies import ACCESS_ANSWERS, MAY_READ
from tbscreen_gateway.answer_headers import PAGE
from tbscreen_gateway.dependencies import ServicesDep
from tbscreen_gateway.examples import MODEL, json_answer, problem_answers
from tbscreen_gateway.pagination import NextCursor, PageDep, link_header, paginate
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.bundle import Bundle, Manifest, ModelStore, SiteCalibration
from tbscreen_shared.errors import BundleError, ErrorCode

router = APIRouter(
    prefix="/v1/models", tags=["Models"], dependencies=[MAY_READ], responses=ACCESS_ANSWERS
)

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
    """The bundles on the volume, a page of them."""

    active: str | None = Field(description="the version that workers answer with")
    models: list[ModelDetails] = Field(description="by version")
    next_cursor: NextCursor


@router.get(
    "",
    summary="List the models",
    responses={
        200: json_answer(
            "A page of the list.",
            PAGE,
            page={"active": MODEL["version"], "models": [MODEL], "next_cursor": None},
        ),
        **problem_answers(ErrorCode.INVALID_REQUEST),
    },
)
def list_models(services: ServicesDep, page: PageDep, response: Response) -> ModelList:
    """Lists the bundles on the models volume, unusable ones with the reason."""
    active = _active_version(services.models)
    found = paginate(services.models.versions(), str, page)
    response.headers.update(link_header(router.prefix, page, found.next_cursor))
    return ModelList(
        active=active,
        models=[_describe(services.models, version, active) for version in found.elements],
        next_cursor=found.next_cursor,
    )


@router.get(
    "/{version}",
    summary="Look a model up",
    responses={
        200: json_answer("The model, with its manifest.", model=MODEL),
        **problem_answers(ErrorCode.MODEL_NOT_FOUND, ErrorCode.INVALID_REQUEST),
    },
)
def look_up(version: str, services: ServicesDep) -> ModelDetails:
    """Answers with the bundle's manifest: metrics, operating points, fingerprints, provenance."""
    details = _describe(services.models, version, _active_version(services.models))
    if details.manifest is None:
        raise Refusal(ErrorCode.MODEL_NOT_FOUND, details.problem or "There is no such model.")
    return details


@router.get(
    "/{version}/report",
    summary="Read a model's evaluation report",
    response_class=Response,
    responses={
        200: {"description": "The report: one HTML document.", "content": {"text/html": {}}},
        **problem_answers(
            ErrorCode.MODEL_NOT_FOUND, ErrorCode.NOT_FOUND, ErrorCode.INVALID_REQUEST
        ),
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


def active_report_path(models: ModelStore) -> str | None:
    """Returns where the active model's report is found, or None without a model or a report."""
    version = _active_version(models)
    try:
        return _report_path(_load(models, version)) if version else None
    except BundleError:
        return None


def _active_version(models: ModelStore) -> str | None:
    """The version that `current` names; None where it names none. `/health` says why."""
    try:
        return models.active_version()
    except (BundleError, OSError):
        return None


def _load(models: ModelStore, version: str) -> Bundle:
    """Reads a bundle's manifest; a volume's fault is a BundleError as well."""
    try:
        return models.load(version)
    except OSError as error:
        raise BundleError(f"bundle {version} can not be read: {error.strerror}") from error


def _report_path(bundle: Bundle) -> str | None:
    has_report = _report_file(bundle, _REPORT) is not None
    return f"/v1/models/{bundle.manifest.version}/report" if has_report else None


def _send_report_file(models: ModelStore, version: str, path: str) -> Response:
    file = _report_file(_load(models, version), path)
    if file is None:
        raise Refusal(ErrorCode.NOT_FOUND, "The model's report holds no such file.")
    media_type = _MEDIA_TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "text/plain"
    # Not as a FileResponse: that answers a wrong Range with an error that is no problem document.
    return Response(
        file.read_bytes(),
        media_type=media_type,
        headers={
            "Content-Security-Policy": _REPORT_CSP,
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
        },
    )


def _describe(models: ModelStore, version: str, active: str | None) -> ModelDetails:
    try:
        bundle = _load(models, version)
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
        report=_report_path(bundle),
    )


def _report_file(bundle: Bundle, path: str) -> Path | None:
    root = bundle.report_dir.resolve()
    try:
        file = (root / path).resolve()
        is_file = file.is_file()
    except (OSError, ValueError):  # e.g. a null byte, a loop of links, or a name that is too long
        return None
    if not file.is_relative_to(root) or file.suffix not in _REPORT_SUFFIXES:
        return None
    return file if is_file else None
