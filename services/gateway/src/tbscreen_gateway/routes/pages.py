"""Pages for people: the screening page and the API's documentation. Nothing is loaded from afar."""

import json
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from tbscreen_gateway.access.caller import Caller
from tbscreen_gateway.access.dependencies import VisitorDep
from tbscreen_gateway.api_guide import describe_api
from tbscreen_gateway.dependencies import ServicesDep
from tbscreen_gateway.health import VERSION
from tbscreen_gateway.routes.models import active_report_path
from tbscreen_gateway.services import Services
from tbscreen_shared.access import Scope

router = APIRouter(include_in_schema=False)

_PACKAGE: Final = Path(__file__).parent.parent
STATIC_DIR: Final = _PACKAGE / "static"

# blob: is the browser's own preview of a chosen file.
_PAGE_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Private: a page says who is signed in.
_HEADERS: Final = {"Content-Security-Policy": _PAGE_CSP, "Cache-Control": "private, no-cache"}


class Assets(StaticFiles):
    """The pages' scripts and styles, asked for anew each time, so that an upgrade shows at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Returns the file, or 304 where the browser has it."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _to_pretty_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


_templates: Final = Jinja2Templates(directory=_PACKAGE / "templates")
_templates.env.filters["pretty_json"] = _to_pretty_json
_templates.env.trim_blocks = True
_templates.env.lstrip_blocks = True


@router.get("/")
@router.head("/")
def show_screening_page(
    request: Request, services: ServicesDep, visitor: VisitorDep
) -> HTMLResponse:
    """The page a clinician works with; where keys are needed, it begins with signing in."""
    context = {
        **_common(services, visitor),
        "max_upload_mib": f"{services.settings.max_upload_bytes / 2**20:g}",
        "must_sign_in": visitor is None,
    }
    return _templates.TemplateResponse(request, "index.html", context, headers=_HEADERS)


@router.get("/docs")
def show_api_guide(request: Request, services: ServicesDep, visitor: VisitorDep) -> HTMLResponse:
    """The API's documentation, drawn from the OpenAPI document."""
    context = {**_common(services, visitor), "guide": describe_api(request.app.openapi())}
    return _templates.TemplateResponse(request, "docs.html", context, headers=_HEADERS)


def _common(services: Services, visitor: Caller | None) -> dict[str, Any]:
    may_read = visitor is not None and Scope.READ in visitor.scopes
    return {
        "version": VERSION,
        "report": active_report_path(services.models) if may_read else None,
        "signed_in_as": visitor.name if visitor is not None else None,
    }
