"""Around every request: its id, its log line, its metrics, and the answer when all else fails."""

import asyncio
import logging
import re
import time
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.problems import METHODS, stopping_problem, unexpected_problem
from tbscreen_shared.logging import bound_contextvars

logger = logging.getLogger("tbscreen.access")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

# Probes come every few seconds and say nothing while all is well.
_QUIET_ROUTES: Final = frozenset({"/livez", "/readyz", "/metrics", "/static"})

# What the page may do beside showing itself: full screen, for a radiograph.
_PERMISSIONS: Final = ", ".join(
    f"{feature}=()"
    for feature in (
        *("accelerometer", "autoplay", "camera", "display-capture", "geolocation"),
        *("gyroscope", "hid", "idle-detection", "local-fonts", "magnetometer", "microphone"),
        *("midi", "payment", "publickey-credentials-get", "screen-wake-lock", "serial", "usb"),
    )
)

_SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Permissions-Policy": _PERMISSIONS,
}

# Where the answer comes by https. This host alone: others of its domain may have none.
_HTTPS_ONLY: Final = {"Strict-Transport-Security": "max-age=31536000"}

CLIENT_CLOSED_REQUEST: Final = 499
"""nginx's status for a client that left before its answer; only logs and metrics see it."""


class RequestObserver:
    """The outermost middleware. Pure ASGI: it neither buffers bodies nor hides a disconnect."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        started = time.perf_counter()
        status = CLIENT_CLOSED_REQUEST
        is_https = scope.get("scheme") == "https"
        security_headers = _SECURITY_HEADERS | _HTTPS_ONLY if is_https else _SECURITY_HEADERS

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in security_headers.items():
                    headers.setdefault(name, value)
            await send(message)

        with bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_observed)
            except ClientDisconnect:
                pass
            except asyncio.CancelledError:
                # The server stops, and its grace is over.
                if status != CLIENT_CLOSED_REQUEST:
                    raise  # half an answer is out: the server must cut the connection
                await stopping_problem(scope)(scope, receive, send_observed)
            except Exception:  # whatever a route raises is answered as problem+json
                logger.exception("unexpected error")
                if status != CLIENT_CLOSED_REQUEST:
                    raise  # half an answer is out: the server must cut the connection
                await unexpected_problem(scope)(scope, receive, send_observed)
            self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, duration_s: float) -> None:
        # Any word may be a method, and each new label value is kept for ever.
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = _route(scope)
        self._metrics.request_duration.labels(method, route, status).observe(duration_s)
        if "problem_code" in scope:
            self._metrics.problems.labels(scope["problem_code"]).inc()
        level = logging.WARNING if status >= 500 else logging.INFO
        if route in _QUIET_ROUTES and status < 500:
            level = logging.DEBUG
        # The route, not the path: a path may hold anything, a file's name included.
        fields = {"method": method, "route": route, "status": status}
        fields["duration_ms"] = round(duration_s * 1000, 1)
        # Set where it was accepted as one: a path parameter may hold anything.
        if "job_id" in scope:
            fields["job_id"] = scope["job_id"]
        if scope.get("key_id"):
            fields["key_id"] = scope["key_id"]
        if "problem_code" in scope:
            fields["code"] = scope["problem_code"]
        if "batch_id" in scope:
            fields["batch_id"] = scope["batch_id"]
        logger.log(level, "request", extra=fields)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    route = scope.get("route")
    if route is not None and getattr(route, "path", None):
        return str(route.path)
    return "/static" if scope["path"].startswith("/static/") else "unmatched"
