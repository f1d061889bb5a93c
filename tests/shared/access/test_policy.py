from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tbscreen_shared.access import (
    ApiKey,
    AuthMode,
    NoKeyError,
    Scope,
    how_others_reach,
    is_loopback,
    issue_key,
    keys_are_needed,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
VALID = issue_key("PACS", [Scope.SUBMIT], now=NOW)[0]
REVOKED = VALID.model_copy(update={"revoked_at": NOW})
EXPIRED = VALID.model_copy(update={"expires_at": NOW - timedelta(days=1)})


def ask(mode: str, reachable_at: str, keys: list[ApiKey]) -> bool:
    return keys_are_needed(
        AuthMode(mode),
        others_by=how_others_reach(reachable_at, trusted_proxies=(), allowed_hosts=()),
        keys=keys,
        keys_file=Path("/etc/keys.json"),
        now=NOW,
    )


@pytest.mark.parametrize(
    ("mode", "reachable_at", "keys", "needed"),
    [
        ("auto", "127.0.0.1", [], False),
        ("auto", "127.0.0.1", [VALID], True),
        ("auto", "0.0.0.0", [EXPIRED, VALID], True),
        ("on", "127.0.0.1", [VALID], True),
        ("off", "0.0.0.0", [], False),
        ("off", "0.0.0.0", [VALID], False),
    ],
)
def test_keys_are_needed_unless_only_this_machine_gets_in_and_none_were_made(
    mode: str, reachable_at: str, keys: list[ApiKey], needed: bool
) -> None:
    assert ask(mode, reachable_at, keys) is needed


@pytest.mark.parametrize(
    ("mode", "reachable_at", "keys", "why"),
    [
        ("auto", "0.0.0.0", [], "other machines can reach 0.0.0.0"),
        ("auto", "::", [REVOKED, EXPIRED], "other machines can reach ::"),
        ("auto", "127.0.0.1", [EXPIRED], "expired"),
        ("on", "127.0.0.1", [], "TBSCREEN_AUTH=on"),
    ],
)
def test_needed_and_none_valid_says_how_to_make_one(
    mode: str, reachable_at: str, keys: list[ApiKey], why: str
) -> None:
    with pytest.raises(NoKeyError, match=why) as caught:
        ask(mode, reachable_at, keys)
    command = "tbscreen keys create --name NAME --scope submit --scope read --file /etc/keys.json"
    assert f"`{command}`" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("", False),
        ("no host", False),
        ("x" * 300, False),
    ],
)
def test_loopback_is_told_from_what_others_reach(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("proxies", "hosts", "how"),
    [
        ((), (), None),
        ((), ("localhost", "LOCALHOST.", "127.0.0.1:8000", "[::1]:8000"), None),
        (("127.0.0.1",), (), "TBSCREEN_TRUSTED_PROXIES says that a proxy stands before it"),
        ((), ("localhost", "clinic.example:8443"), "TBSCREEN_ALLOWED_HOSTS names clinic.example"),
        ((), ("10.0.0.7",), "TBSCREEN_ALLOWED_HOSTS names 10.0.0.7"),
    ],
)
def test_on_loopback_what_was_set_for_a_proxy_tells_of_one(
    proxies: tuple[str, ...], hosts: tuple[str, ...], how: str | None
) -> None:
    found = how_others_reach("127.0.0.1", trusted_proxies=proxies, allowed_hosts=hosts)
    assert found == how or (found and how and found.startswith(how))


def test_a_name_that_only_this_machine_takes_for_its_own_is_one_others_ask_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Debian's /etc/hosts gives the machine's own name an address of loopback."""
    here = [(2, 1, 6, "", ("127.0.1.1", 0))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: here)
    found = how_others_reach("127.0.0.1", trusted_proxies=(), allowed_hosts=("clinic.example",))
    assert found is not None
