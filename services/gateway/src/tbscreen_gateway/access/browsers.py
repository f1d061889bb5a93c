"""What no page of another site may do through somebody's browser, whether keys are needed or not.

A page anywhere may post a form to a gateway on loopback (cross-site request forgery), or let its
own name point to 127.0.0.1 and then pass for the gateway's own page (DNS rebinding).
"""

import ipaddress
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from tbscreen_gateway.problems import Refusal, refusal_response
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.access import AuthMode, host_of, is_loopback
from tbscreen_shared.errors import ErrorCode

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# Orchestrators ask by whatever address they have, and the answer holds nothing.
_PROBES: Final = frozenset({"/livez", "/readyz"})

_LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class KnownHosts:
    """The hosts that requests may ask for, without ports.

    Attributes:
        names: these, names or addresses.
        any_address: and every address. A page that was rebound asks by its own name.
        any_name: and everything else.
    """

    names: frozenset[str] = frozenset()
    any_address: bool = False
    any_name: bool = False

    def __contains__(self, host: str) -> bool:
        return self.any_name or host in self.names or (self.any_address and _is_address(host))


class BrowserGuard:
    """Refuses what another site's page sends. Programs, which are no browsers, pass.

    Pure ASGI, and before any body is read.

    Args:
        app: the application.
        hosts: the hosts that may be asked for.
    """

    def __init__(self, app: ASGIApp, hosts: KnownHosts) -> None:
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
        is_ours = host_of(headers.get("host", "")) in self._hosts
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


def known_hosts(settings: GatewaySettings) -> KnownHosts:
    """Returns the hosts that requests may ask for.

    Where only this machine reaches the gateway, they are its own names: what else a browser sends
    here was rebound. Beyond it, they are known to the operator alone; until they are named, any is
    answered where a rebound page would lack a key, and addresses where nobody needs one.
    """
    own = (*_LOOPBACK_HOSTS, settings.host, settings.reachable_at)
    names = frozenset(map(host_of, (*own, *settings.allowed_hosts)))
    if settings.allowed_hosts or is_loopback(settings.reachable_at):
        return KnownHosts(names)
    if settings.auth is AuthMode.OFF:
        return KnownHosts(names, any_address=True)
    return KnownHosts(any_name=True)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
