import re
import time
from datetime import UTC, datetime, timedelta
from statistics import median

import pytest
from pydantic import ValidationError

from tbscreen_shared.access import ApiKey, KeyState, Scope, issue_key, recognise

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def make(name: str = "PACS") -> tuple[ApiKey, str]:
    key, token = issue_key(name, [Scope.SUBMIT, Scope.READ], now=NOW)
    return key, token.get_secret_value()


def test_a_token_has_a_prefix_for_scanners_the_keys_id_and_256_bits() -> None:
    key, token = make()
    assert re.fullmatch(rf"tbs_{key.id}_[0-9a-f]{{64}}", token)
    assert make()[1] != token


def test_what_is_kept_does_not_hold_the_secret() -> None:
    key, token = make()
    secret = token.split("_")[2]
    assert secret not in key.model_dump_json()
    assert secret not in repr(key)


def test_a_key_is_recognised_by_its_own_token_alone() -> None:
    key, token = make()
    other, other_token = make()
    keys = {key.id: key, other.id: other}
    assert recognise(token, keys) == key
    last = "0" if token[-1] != "0" else "1"
    for wrong in (
        token[:-1] + last,
        f"tbs_{key.id}_{other_token.split('_')[2]}",
        token.upper(),
        token + "0",
        f"{token}\n",
        token[4:],
        "",
        "tbs_",
        key.id,
        f"tbs_{'0' * 12}_{'0' * 64}",
        f"tbs_{key.id}_{key.secret_sha256}",
        "tbs_\u0660" + token[5:],
    ):
        assert recognise(wrong, keys) is None, wrong
    assert recognise(token, {}) is None


def test_an_unknown_id_costs_what_a_wrong_secret_costs() -> None:
    key, token = make()
    keys = {key.id: key}
    wrong = f"tbs_{key.id}_{'0' * 64}"
    unknown = f"tbs_{'0' * 12}_{token.split('_')[2]}"

    times: dict[str, list[int]] = {wrong: [], unknown: []}
    for _ in range(3000):
        for token, taken in times.items():
            started = time.perf_counter_ns()
            recognise(token, keys)
            taken.append(time.perf_counter_ns() - started)
    # Without the comparison, an unknown id costs less than half.
    assert median(times[unknown]) > 0.6 * median(times[wrong])


def test_a_key_is_valid_until_it_expires_or_is_revoked() -> None:
    key, _ = make()
    assert key.state(NOW + timedelta(days=9999)) is KeyState.VALID
    brief = key.model_copy(update={"expires_at": NOW + timedelta(hours=1)})
    assert brief.state(NOW + timedelta(minutes=59)) is KeyState.VALID
    assert brief.state(NOW + timedelta(hours=1)) is KeyState.EXPIRED
    revoked = brief.model_copy(update={"revoked_at": NOW})
    assert revoked.state(NOW) is KeyState.REVOKED


@pytest.mark.parametrize("name", ["", " ", "x" * 61, "two\nlines", "\x1b[31mred", "trailing "])
def test_a_name_is_one_plain_line(name: str) -> None:
    with pytest.raises(ValidationError):
        make(name)


def test_a_key_without_a_scope_is_none() -> None:
    with pytest.raises(ValidationError):
        issue_key("PACS", [], now=NOW)


def test_times_without_a_zone_are_refused() -> None:
    key, _ = make()
    with pytest.raises(ValidationError):
        ApiKey.model_validate({**key.model_dump(), "expires_at": datetime(2027, 1, 1)})
