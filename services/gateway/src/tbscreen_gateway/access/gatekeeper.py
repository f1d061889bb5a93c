"""Tells from a request who sends it, by its key or by its session."""

import ipaddress
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from tbscreen_gateway.access.caller import UNCHECKED, Caller
from tbscreen_gateway.access.key_ring import KeyRing
from tbscreen_gateway.access.sessions import Session, SessionStore
from tbscreen_gateway.access.wrong_keys import WrongKeys
from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.rate_limits import RateLimiter
from tbscreen_shared.access import ApiKey, KeyState, Scope
from tbscreen_shared.errors import ErrorCode
from tbscreen_shared.jobs import AuditStream, Requester

logger = logging.getLogger(__name__)

COOKIE: Final = "tbscreen_session"
SECURE_COOKIE: Final = f"__Host-{COOKIE}"
"""Its name under https: browsers then take it from this very host and over https alone."""

_WORTHLESS: Final[dict[KeyState | None, str]] = {
    KeyState.EXPIRED: "The API key has expired.",
    KeyState.REVOKED: "The API key was revoked.",
}


@dataclass(frozen=True)
class SignedIn:
    """A new session, and the token that finds it again."""

    caller: Caller
    session: Session
    token: str


class Gatekeeper:
    """Knows who sends a request.

    Args:
        keys: the keys that open.
        sessions: where signed-in browsers are kept.
        wrong_keys: where those are counted and told.
        audit: where sign-ins are recorded.
        failures: how many wrong keys one address may try. A right key is never held up by them:
            behind a proxy all may come from one address.
        sign_ins: how many sessions one key may open. Each is kept until it ends, and told.
        keys_are_needed: whether requests need one; if not, everybody may everything.
    """

    def __init__(
        self,
        keys: KeyRing,
        sessions: SessionStore,
        failures: RateLimiter,
        sign_ins: RateLimiter,
        wrong_keys: WrongKeys,
        audit: AuditStream,
        *,
        keys_are_needed: bool,
    ) -> None:
        self._keys = keys
        self._sessions = sessions
        self._failures = failures
        self._sign_ins = sign_ins
        self._wrong_keys = wrong_keys
        self._audit = audit
        self.keys_are_needed = keys_are_needed

    async def find(self, request: Request) -> Caller | None:
        """Returns who sends the request; None for nobody known.

        A key comes before a session. A session whose key is no longer valid is none.

        Raises:
            Refusal: `unauthorized`, where it comes with a key that is not valid; `rate_limited`,
                where too many such came from its address.
            RedisError: it comes with a session, and the sessions can not be reached.
        """
        if not self.keys_are_needed:
            return UNCHECKED
        token = _bearer_token(request)
        if token is not None:
            return _note(request, Caller.with_key(await self._check_key(request, token)))
        cookie = request.cookies.get(cookie_name(request))
        session = await run_in_threadpool(self._sessions.find, cookie) if cookie else None
        key = self._keys.find_valid(session.key_id) if session is not None else None
        return _note(request, Caller.with_key(key)) if key is not None else None

    async def look(self, request: Request) -> Caller | None:
        """Like `find`, for answers that must not fail for want of Redis."""
        try:
            return await self.find(request)
        except RedisError:
            return None

    async def authorise(self, request: Request, scopes: frozenset[Scope]) -> Caller:
        """Returns who sends the request, if they may do what takes `scopes`.

        Raises:
            Refusal: `unauthorized` or `forbidden`.
            RedisError: see `find`.
        """
        caller = await self.find(request)
        if caller is None:
            raise _unauthorised("Send an API key: Authorization: Bearer tbs_…", given=False)
        missing = " ".join(sorted(scopes - caller.scopes))
        if missing:
            raise Refusal(
                ErrorCode.FORBIDDEN,
                f"The API key lacks the scope {missing}.",
                headers={
                    "WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{missing}"'
                },
            )
        return caller

    async def sign_in(self, request: Request) -> SignedIn:
        """Starts a session with the key that the request comes with, in place of its session.

        Raises:
            Refusal: `unauthorized`: with none, or with one that is not valid; a session is none,
                or it would never end. `rate_limited`: after too many sign-ins with this key.
            RedisError: the sessions can not be reached.
        """
        token = _bearer_token(request)
        if token is None:
            raise _unauthorised("Send the API key to sign in with.", given=False)
        key = await self._check_key(request, token)
        await run_in_threadpool(self._sign_ins.charge, key.id)
        session_token, session = await run_in_threadpool(self._sessions.open, key)
        await self.sign_out(request)
        by = Requester(key.id, request.scope.get("request_id", ""))
        with suppress(RedisError):
            await run_in_threadpool(self._audit.record, "session_opened", by)
        return SignedIn(_note(request, Caller.with_key(key)), session, session_token)

    async def sign_out(self, request: Request) -> None:
        """Ends the session that the request comes with, if it comes with one.

        Raises:
            RedisError: the sessions can not be reached; it goes on.
        """
        cookie = request.cookies.get(cookie_name(request))
        if cookie:
            await run_in_threadpool(self._sessions.close, cookie)

    async def _check_key(self, request: Request, token: str) -> ApiKey:
        """Returns the valid key that the token is of. Every wrong key is known here, and only here.

        Raises:
            Refusal: `unauthorized`, or `rate_limited` after too many wrong keys of its address.
        """
        key = self._keys.recognise(token)
        state = key.state(datetime.now(UTC)) if key is not None else None
        if key is not None and state is KeyState.VALID:
            return key
        client = _client_address(request)
        by = Requester(key.id if key else "", request.scope.get("request_id", ""))
        # Before the address is charged, which may end this.
        await self._wrong_keys.note(by, state or "unknown", client)
        with suppress(RedisError):
            await run_in_threadpool(self._failures.charge, client)
        logger.warning("a wrong API key", extra={"client": client, "reason": state or "unknown"})
        raise _unauthorised(_WORTHLESS.get(state, "The API key is not valid."), given=True)


def cookie_name(request: Request) -> str:
    """Returns the name of the session's cookie."""
    return SECURE_COOKIE if request.url.scheme == "https" else COOKIE


def _client_address(request: Request) -> str:
    """Returns the address that the request came from, or `unknown`.

    Behind a proxy it is what a header says, which may be anything, a name or a date of birth; and
    the zone that may follow an IPv6 address may be anything as well.
    """
    try:
        said = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_address(said.packed))


def _note(request: Request, caller: Caller) -> Caller:
    # For the request's line in the log.
    request.scope["key_id"] = caller.key_id
    return caller


def _bearer_token(request: Request) -> str | None:
    # Another scheme is somebody else's, such as a proxy's own Basic.
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _unauthorised(detail: str, *, given: bool) -> Refusal:
    challenge = 'Bearer error="invalid_token"' if given else "Bearer"
    return Refusal(ErrorCode.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})
