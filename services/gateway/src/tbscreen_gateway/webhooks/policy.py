"""Whether a callback may be asked for, told before the upload is read."""

from dataclasses import dataclass
from ipaddress import ip_network

from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.webhooks.addresses import AllowedReceivers, IPNetwork, literal_address
from tbscreen_gateway.webhooks.urls import CallbackUrl, canonical_host, parse_callback_url
from tbscreen_shared.errors import ErrorCode


@dataclass(frozen=True)
class CallbackPolicy:
    """What the operator has set.

    Attributes:
        enabled: there is a secret to sign with.
        http_allowed: also without TLS.
        allowed: receivers beside the public ones.
    """

    enabled: bool
    http_allowed: bool
    allowed: AllowedReceivers

    def check(self, text: str) -> str:
        """Returns the URL in its one form.

        A name is not resolved here: only the answer at the time of sending counts, and the caller
        is not told which names the gateway's network knows.

        Raises:
            Refusal: `invalid_request` for what is no such URL, else `callback_not_allowed`.
        """
        if not self.enabled:
            raise _not_allowed("This gateway sends no callbacks: it has no secret to sign with.")
        try:
            url = parse_callback_url(text)
        except ValueError as error:
            raise Refusal(ErrorCode.INVALID_REQUEST, f"The callback_url: {error}.") from error
        if url.scheme == "http" and not self.http_allowed:
            raise _not_allowed("The callback_url must be an https URL.")
        if not self._may_be_public(url):
            raise _not_allowed("The callback_url's host is not a public one.")
        return str(url)

    def _may_be_public(self, url: CallbackUrl) -> bool:
        address = literal_address(url.host)
        if address is not None:
            return self.allowed.permit(url.host, address)
        is_loopback = url.host == "localhost" or url.host.endswith(".localhost")
        if self.allowed.deny(url.host):
            return False
        return not is_loopback or url.host in self.allowed.hosts


def parse_allowed(text: str, denied: str = "") -> AllowedReceivers:
    """Returns what TBSCREEN_CALLBACK_ALLOW says, and TBSCREEN_CALLBACK_DENY.

    Args:
        text: names, addresses and networks (`10.1.0.0/16`), separated by commas.
        denied: likewise.

    Raises:
        ValueError: an entry is none of these.
    """
    return AllowedReceivers(*_parse(text), *_parse(denied))


def _parse(text: str) -> tuple[frozenset[str], tuple[IPNetwork, ...]]:
    hosts: set[str] = set()
    networks: list[IPNetwork] = []
    for entry in filter(None, (item.strip() for item in text.split(","))):
        try:
            networks.append(ip_network(entry))
        except ValueError:
            try:
                hosts.add(canonical_host(entry))
            except ValueError:
                raise ValueError(f"{entry!r} is no host, address or network") from None
    return frozenset(hosts), tuple(networks)


def _not_allowed(detail: str) -> Refusal:
    return Refusal(ErrorCode.CALLBACK_NOT_ALLOWED, detail)
