"""What no page of another site may do through somebody's browser, whether keys are needed or not.

A page anywhere may post a form to a gateway on loopback (cross-site request forgery), or let its
own name point to 127.0.0.1 and then pass for the gateway's own page (DNS rebinding).
"""

import ipaddress
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from tbscreen_gateway.problems import Refusal, refusal_response
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.access import is_loopback
from tbscreen_shared.errors import ErrorCode

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# Orchestrators ask by whatever address they have, and the answer holds nothing.
_PROBES: Final = frozenset({"/livez", "/readyz"})

_LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")


class BrowserGuard:
    """Refuses what another site's page sends. Programs, which are no browsers, pass.

    Pure ASGI, and before any body is read.

    Args:
        app: the application.
        hosts: the hosts that may be asked for, of `allowed_hosts`; None for any.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or refuses it."""
        refusal = self._judge(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal_response(scope, refusal)(scope, receive, send)

    def _judge(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        is_ours = self._hosts is None or _host_of(headers.get("host", "")) in self._hosts
        if not is_ours and scope["path"] not in _PROBES:
            return Refusal(
                ErrorCode.MISDIRECTED_REQUEST,
                "The gateway is not known by the name in the Host header. Its operator can add "
                "names with TBSCREEN_ALLOWED_HOSTS.",
            )
        if scope["method"] not in _SAFE_METHODS and _is_cross_site(headers):
            return Refusal(
                ErrorCode.CROSS_SITE_REQUEST, "A browser sent this from a page of another origin."
            )
        return None


def allowed_hosts(settings: GatewaySettings) -> frozenset[str] | None:
    """Returns the hosts that requests may ask for, without ports; None for any.

    Where only this machine reaches the gateway, they are its own names: what else a browser sends
    here was rebound. Beyond it, they are known to the operator alone.
    """
    if not settings.allowed_hosts and not is_loopback(settings.reachable_at):
        return None
    own = (*_LOOPBACK_HOSTS, settings.host, settings.reachable_at)
    return frozenset(map(_host_of, (*own, *settings.allowed_hosts)))


def _is_cross_site(headers: Headers) -> bool:
    """Tells whether a browser sent it from a page of another origin.

    Browsers tell in Sec-Fetch-Site, which pages can not set (Fetch Metadata); they leave it away
    over plain http beyond loopback, and older ones always do. Then Origin tells (RFC 6454).
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    # Without the scheme: where a proxy ends TLS, only the browser knows it.
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _host_of(authority: str) -> str:
    """Returns the host of `host[:port]`, in one form for each."""
    host = authority.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.removesuffix(".")
