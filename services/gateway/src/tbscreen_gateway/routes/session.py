"""Signing in and out: how a browser, which can not send a key with everything, is known."""

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, Field
from starlette.responses import JSONResponse, Response

from tbscreen_gateway.access.dependencies import KEY_ONLY
from tbscreen_gateway.access.gatekeeper import cookie_name
from tbscreen_gateway.answer_headers import COOKIE
from tbscreen_gateway.dependencies import ServicesDep
from tbscreen_gateway.examples import SESSION, json_answer, problem_answers
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.access import Scope
from tbscreen_shared.errors import ErrorCode

router = APIRouter(
    prefix="/v1/session",
    tags=["Session"],
    responses=problem_answers(
        ErrorCode.CROSS_SITE_REQUEST, ErrorCode.MISDIRECTED_REQUEST, ErrorCode.BROKER_UNAVAILABLE
    ),
)


class SessionOpened(BaseModel):
    """Who is signed in now, until when."""

    key_id: str = Field(examples=[SESSION["key_id"]])
    name: str = Field(description="whose key it is", examples=[SESSION["name"]])
    scopes: list[Scope] = Field(description="what it may")
    expires_at: AwareDatetime


@router.post(
    "",
    status_code=201,
    summary="Sign a browser in",
    response_model=SessionOpened,
    dependencies=[KEY_ONLY],
    responses={
        201: json_answer("Signed in; the session comes as a cookie.", COOKIE, session=SESSION),
        **problem_answers(
            ErrorCode.UNAUTHORIZED,
            ErrorCode.NOT_FOUND,
            ErrorCode.RATE_LIMITED,
            ErrorCode.STORAGE_FULL,
        ),
    },
)
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Takes an API key and sets a cookie that stands for it, for 12 hours at most.

    Out of reach of scripts and of other sites' pages. It ends before, when the key does. A session
    that the request comes with ends at once; a key opens 20 a minute.
    """
    if not services.gatekeeper.keys_are_needed:
        raise Refusal(ErrorCode.NOT_FOUND, "No key is needed here, so nobody signs in.")
    signed_in = await services.gatekeeper.sign_in(request)
    caller, session = signed_in.caller, signed_in.session
    body = SessionOpened(
        key_id=session.key_id,
        name=caller.name or "",
        scopes=sorted(caller.scopes),
        expires_at=session.expires_at,
    )
    response = JSONResponse(
        body.model_dump(mode="json"), status_code=201, headers={"Cache-Control": "no-store"}
    )
    # Without an end of its own: it goes with the browser, and at the server when it expires.
    response.set_cookie(
        cookie_name(request),
        signed_in.token,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.delete(
    "",
    status_code=204,
    summary="Sign a browser out",
    responses={204: {"description": "Nobody is signed in any more.", "headers": COOKIE}},
)
async def sign_out(request: Request, services: ServicesDep) -> Response:
    """Ends the session, here and in the browser; where there is none, that is no error."""
    await services.gatekeeper.sign_out(request)
    response = Response(status_code=204)
    response.delete_cookie(
        cookie_name(request),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response
