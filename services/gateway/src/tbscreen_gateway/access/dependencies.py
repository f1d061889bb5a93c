"""What a route declares: the scope it takes; and what it may ask for: who calls."""

from typing import Annotated, Final, cast

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer, SecurityScopes

from tbscreen_gateway.access.caller import Caller
from tbscreen_gateway.access.gatekeeper import SECURE_COOKIE
from tbscreen_gateway.dependencies import ServicesDep
from tbscreen_gateway.examples import problem_answers
from tbscreen_shared.access import Scope
from tbscreen_shared.errors import ErrorCode

_BEARER: Final = HTTPBearer(
    bearerFormat="tbs_ID_SECRET",
    scheme_name="ApiKey",
    description="An API key, made by the gateway's operator with `tbscreen keys create`. Not "
    "needed where the operator lets everybody in.",
    auto_error=False,
)
_COOKIE: Final = APIKeyCookie(
    name=SECURE_COOKIE,
    scheme_name="Session",
    description="A browser's session, from POST /v1/session. Over plain http its name is without "
    "`__Host-`.",
    auto_error=False,
)

ACCESS_ANSWERS: Final = problem_answers(
    ErrorCode.UNAUTHORIZED,
    ErrorCode.FORBIDDEN,
    ErrorCode.CROSS_SITE_REQUEST,
    ErrorCode.MISDIRECTED_REQUEST,
    ErrorCode.RATE_LIMITED,
    ErrorCode.BROKER_UNAVAILABLE,
)
"""What every route may answer that takes a scope."""

OPEN_ANSWERS: Final = problem_answers(ErrorCode.MISDIRECTED_REQUEST, ErrorCode.SERVER_BUSY)
"""What a route that takes none may."""

OPTIONAL_READ: Final = {"security": [{}, {"ApiKey": ["read"]}, {"Session": ["read"]}]}
"""For the OpenAPI document: who may read is answered with more."""


async def authorise(
    request: Request,
    services: ServicesDep,
    scopes: SecurityScopes,
    # For the OpenAPI document; the gatekeeper reads both itself.
    _bearer: Annotated[object, Depends(_BEARER)],
    _cookie: Annotated[object, Depends(_COOKIE)],
) -> None:
    """Lets the request through if its caller may do what takes these scopes."""
    needed = frozenset(map(Scope, scopes.scopes))
    request.scope["caller"] = await services.gatekeeper.authorise(request, needed)


def get_caller(request: Request) -> Caller:
    """Who calls a route that takes a scope."""
    return cast("Caller", request.scope["caller"])


async def find_visitor(request: Request, services: ServicesDep) -> Caller | None:
    """Who calls a route that takes no scope; None for nobody known."""
    return await services.gatekeeper.look(request)


# In a route's or a router's `dependencies`: they are asked before anything else is.
MAY_SUBMIT: Final = Security(authorise, scopes=[Scope.SUBMIT])
MAY_READ: Final = Security(authorise, scopes=[Scope.READ])
MAY_ADMINISTER: Final = Security(authorise, scopes=[Scope.ADMIN])

KEY_ONLY: Final = Depends(_BEARER)
"""For the OpenAPI document: a key, and no session in its place."""

CallerDep = Annotated[Caller, Depends(get_caller)]
VisitorDep = Annotated[Caller | None, Depends(find_visitor)]
