import pytest
from pydantic import SecretStr

from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.webhooks.addresses import AllowedReceivers
from tbscreen_gateway.webhooks.policy import CallbackPolicy, parse_allowed
from tbscreen_shared.errors import ErrorCode


def policy(*, enabled: bool = True, http: bool = False, allow: str = "") -> CallbackPolicy:
    return CallbackPolicy(enabled=enabled, http_allowed=http, allowed=parse_allowed(allow))


def refusal_of(policy: CallbackPolicy, url: str) -> ErrorCode:
    with pytest.raises(Refusal) as refused:
        policy.check(url)
    return refused.value.code


def test_a_public_https_url_is_taken_in_its_one_form() -> None:
    assert policy().check("https://Example.org/in") == "https://example.org/in"
    assert policy().check("https://8.8.8.8:8443") == "https://8.8.8.8:8443/"


def test_without_a_secret_nothing_is() -> None:
    assert refusal_of(policy(enabled=False), "https://example.org/") == "callback_not_allowed"


def test_what_is_no_url_is_an_invalid_request() -> None:
    assert refusal_of(policy(), "nonsense") == "invalid_request"


def test_http_is_taken_only_where_the_operator_allows_it() -> None:
    assert refusal_of(policy(), "http://example.org/") == "callback_not_allowed"
    assert policy(http=True).check("http://example.org/") == "http://example.org/"


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "any.localhost", "127.0.0.1", "0x7f000001", "10.1.2.3", "0"),
        *("169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[fd00::1]"),
    ],
)
def test_a_host_that_is_plainly_not_public_is_refused_at_once(host: str) -> None:
    assert refusal_of(policy(), f"https://{host}/") == "callback_not_allowed"


def test_what_the_operator_allows_is_taken() -> None:
    allowing = policy(allow=" PACS.clinic.lan, localhost,10.1.2.3, fd00:1::/32,192.168.0.0/24 ,")
    for host in ("pacs.clinic.lan", "localhost", "10.1.2.3", "[fd00:1::5]", "192.168.0.7"):
        assert allowing.check(f"https://{host}/")
    for host in ("10.1.2.4", "[fd00:2::5]", "192.168.1.7", "x.localhost"):
        assert refusal_of(allowing, f"https://{host}/") == "callback_not_allowed"


def test_what_the_operator_has_ruled_out_is_refused_at_once() -> None:
    settings = GatewaySettings(
        redis_url=SecretStr("redis://localhost"),
        webhook_secret=SecretStr("whsec_" + "A" * 43 + "="),
        callback_allow="10.0.0.0/8",
        callback_deny="198.51.7.0/24, 10.1.1.1, inside.example.org",
    )
    for host in ("198.51.7.9", "10.1.1.1", "Inside.example.org."):
        assert refusal_of(settings.callback_policy, f"https://{host}/") == "callback_not_allowed"
    assert settings.callback_policy.check("https://10.1.1.2/")


def test_no_entry_allows_nothing_more() -> None:
    assert parse_allowed("") == parse_allowed(" , ") == AllowedReceivers()


@pytest.mark.parametrize(
    "entry", ["10.1.2.3/16", "10.0.0.0/33", "https://a", "*.lan", "a b", "a:1"]
)
def test_an_entry_that_is_nothing_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="is no host, address or network"):
        parse_allowed(f"a.example,{entry}")
