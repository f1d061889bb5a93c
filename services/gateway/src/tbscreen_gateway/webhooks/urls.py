"""A callback's URL: read once and in one way, by the WHATWG's rules.

Those rules turn what resolvers read as an address (`0x7f.1`, `2130706433`, full-width digits) into
the address itself, and a name of any script into ASCII, so that what is checked is what is called.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from pydantic import AnyUrl, ValidationError

from tbscreen_gateway.webhooks.addresses import literal_address

MAX_URL_LENGTH: Final = 2048

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}

# What the rules would drop without a word, or read as another character.
_OUT_OF_PLACE: Final = re.compile(r"[\x00-\x20\x7f\\]")

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_MAX_NAME_LENGTH: Final = 253


@dataclass(frozen=True)
class CallbackUrl:
    """Where to send, taken apart.

    Attributes:
        scheme: `https` or `http`.
        host: a name in ASCII, lower case, without a final dot; or an address, without brackets.
        port: also where the URL names none.
        target: path and query, as a request's first line has them.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_callback_url(text: str) -> CallbackUrl:
    """Returns the URL's parts.

    Raises:
        ValueError: it is not one a callback can be sent to; the message says why, and may be shown.
    """
    if _OUT_OF_PLACE.search(text):
        raise ValueError("it holds a space, a control character or a backslash")
    try:
        url = AnyUrl(text)
    except ValidationError:
        raise ValueError("it is not a URL") from None
    if url.scheme not in _DEFAULT_PORTS or not url.host:
        raise ValueError("it is not an https URL")
    if url.username is not None or url.password is not None:
        raise ValueError("it holds a user name or a password")
    if url.fragment is not None:
        raise ValueError("it has a fragment (#)")
    if not url.port:
        raise ValueError("its port is 0")
    target = (url.path or "/") + (f"?{url.query}" if url.query is not None else "")
    parsed = CallbackUrl(url.scheme, _host_of(url.host), url.port, target)
    if len(str(parsed)) > MAX_URL_LENGTH:
        raise ValueError(f"it is longer than {MAX_URL_LENGTH} characters")
    return parsed


def canonical_host(host: str) -> str:
    """Returns a name or address as `CallbackUrl.host` has it.

    Raises:
        ValueError: it is neither.
    """
    parsed = parse_callback_url(f"https://{host}")
    if str(parsed) != f"https://{parsed.authority}/" or parsed.port != _DEFAULT_PORTS["https"]:
        raise ValueError("it is more than a host")
    return parsed.host


def _host_of(written: str) -> str:
    if written.startswith("["):
        return str(IPv6Address(written[1:-1]))
    name = written.removesuffix(".")
    if literal_address(name) is None and not _is_name(name):
        raise ValueError("its host is neither a name nor an address")
    return name


def _is_name(name: str) -> bool:
    return len(name) <= _MAX_NAME_LENGTH and all(map(_LABEL.fullmatch, name.split(".")))
