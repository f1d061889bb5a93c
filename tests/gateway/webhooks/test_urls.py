import pytest

from tbscreen_gateway.webhooks.urls import MAX_URL_LENGTH, canonical_host, parse_callback_url


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://example.org", "https://example.org/"),
        ("HTTPS://Example.ORG:443/a?b=c&d", "https://example.org/a?b=c&d"),
        ("https://example.org:8443/?", "https://example.org:8443/?"),
        ("http://example.org:80/x", "http://example.org/x"),
        ("https://example.org./x", "https://example.org/x"),
        ("https://münchen.example/ä", "https://xn--mnchen-3ya.example/%C3%A4"),
        ("https://my_host/", "https://my_host/"),
        ("https://[2606:4700:0:0:0:0:0:1]:99/", "https://[2606:4700::1]:99/"),
        # What resolvers would read as an address is one at once.
        ("https://0x7f.1/", "https://127.0.0.1/"),
        ("https://0177.0.0.1/", "https://127.0.0.1/"),
        ("https://2130706433/", "https://127.0.0.1/"),
        ("https://127.1/", "https://127.0.0.1/"),
        ("https://127.0.0.1./", "https://127.0.0.1/"),
        ("https://\uff11\uff12\uff17\u3002\uff10.0.1/", "https://127.0.0.1/"),
        ("https://%31%32%37.0.0.1/", "https://127.0.0.1/"),
        ("https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/"),
        ("https://ⓛocalhost/", "https://localhost/"),
    ],
)
def test_a_url_is_read_as_what_it_means_and_stays_so(written: str, read: str) -> None:
    url = parse_callback_url(written)
    assert str(url) == read
    assert parse_callback_url(read) == url


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "not a URL"),
        ("example.org/x", "not a URL"),
        ("//example.org/x", "not a URL"),
        ("ftp://example.org/", "not an https URL"),
        ("file:///etc/passwd", "not an https URL"),
        ("gopher://example.org:6379/_x", "not an https URL"),
        ("https://", "not a URL"),
        ("https://user@example.org/", "user name"),
        ("https://:password@example.org/", "user name or a password"),
        ("https://public.example@127.0.0.1/", "user name"),
        ("https://example.org/#", "fragment"),
        ("https://example.org/#part", "fragment"),
        ("https://example.org:0/", "port is 0"),
        ("https://example.org:65536/", "not a URL"),
        ("https://exa mple.org/", "space"),
        ("https://example.org/a b", "space"),
        (" https://example.org/", "space"),
        ("https://example.org/\r\nX-Injected: 1", "control"),
        ("https://exa\tmple.org/", "control"),
        ("https:\\\\example.org\\x", "backslash"),
        ("https://example.org\\@127.0.0.1/", "backslash"),
        ("https://a..b/", "neither a name nor an address"),
        ("https://.example.org/", "neither a name nor an address"),
        ("https://example.org../", "neither a name nor an address"),
        ("https://./", "neither a name nor an address"),
        ("https://-a.example/", "neither a name nor an address"),
        ("https://*.example.org/", "neither a name nor an address"),
        ("https://a,b.example/", "neither a name nor an address"),
        (f"https://{'a' * 64}.example/", "neither a name nor an address"),
        (f"https://{'.'.join(['a' * 60] * 5)}/", "neither a name nor an address"),
        ("https://1.2.3.4.5/", "not a URL"),
        ("https://256.1.1.1/", "not a URL"),
        ("https://[fe80::1%25eth0]/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://xn--a/", "not a URL"),
        (f"https://example.org/{'a' * MAX_URL_LENGTH}", "longer than"),
        (f"https://example.org/{'ä' * 500}", "longer than"),
    ],
)
def test_what_is_no_callback_url_is_refused_with_the_reason(written: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_callback_url(written)


def test_the_parts_are_those_that_the_request_needs() -> None:
    url = parse_callback_url("https://[2606:4700::1]:8443/in?job=1")
    assert (url.host, url.port, url.target) == ("2606:4700::1", 8443, "/in?job=1")
    assert url.authority == "[2606:4700::1]:8443"


def test_hosts_are_compared_in_their_one_form() -> None:
    assert canonical_host("PACS.Clinic.LAN.") == "pacs.clinic.lan"
    assert canonical_host("[FD00::0001]") == "fd00::1"
    for written in ("a/b", "a:99", "user@a", "a?b", "10.1.2.3/16", "*.lan", ""):
        with pytest.raises(ValueError):
            canonical_host(written)
