import hashlib
import json
from datetime import UTC, datetime

import pytest

from tbscreen_shared.audit import (
    GENESIS,
    MAX_DETAILS,
    MAX_VALUE_CHARACTERS,
    AuditEntry,
    digest,
    is_signed,
    read_line,
    write_line,
)

AT = datetime(2026, 11, 22, 9, 30, 0, 120_000, tzinfo=UTC)
KEY = b"k" * 32


def entry(**details: str | int) -> AuditEntry:
    return AuditEntry.model_validate(
        {"seq": 7, "at": AT, "event": "accepted", "job": "j", **details}
    )


def test_a_line_says_what_its_entry_says_and_is_chained_to_the_line_before() -> None:
    line = write_line(entry(sha256="a" * 64, bytes=5), GENESIS, None)
    assert json.loads(line) == {
        "seq": 7,
        "at": "2026-11-22T09:30:00.120000Z",
        "event": "accepted",
        "job": "j",
        "sha256": "a" * 64,
        "bytes": 5,
        "prev": GENESIS,
    }
    assert digest(line) == hashlib.sha256(line).hexdigest()
    read = read_line(line)
    assert (read.prev, read.mac) == (GENESIS, None)
    assert read.entry() == entry(sha256="a" * 64, bytes=5)


def test_a_signature_covers_every_byte_before_it() -> None:
    line = write_line(entry(code="worker_lost"), GENESIS, KEY)
    assert is_signed(line, KEY)
    assert not is_signed(line, b"another")
    assert not is_signed(write_line(entry(), GENESIS, None), KEY)
    for place in range(len(line)):
        changed = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
        assert not is_signed(changed, KEY), place


def test_text_that_could_end_a_line_stays_within_it() -> None:
    line = write_line(entry(note='a"}\n{"seq":8', name="Ñandú\u2028"), GENESIS, KEY)
    assert b"\n" not in line
    assert read_line(line).details["note"] == 'a"}\n{"seq":8'


@pytest.mark.parametrize(
    "details",
    [
        {"prev": GENESIS},
        {"mac": GENESIS},
        {"note": "x" * (MAX_VALUE_CHARACTERS + 1)},
        {f"note{number}": "" for number in range(MAX_DETAILS + 1)},
    ],
    ids=["prev", "mac", "long", "many"],
)
def test_an_entry_can_not_take_the_chains_fields_nor_grow_without_bound(
    details: dict[str, str],
) -> None:
    with pytest.raises(ValueError):
        entry(**details)


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b"nonsense", b"\xff\xfe", b'{"seq":1}', b"\0" * 40]
)
def test_what_is_no_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        read_line(line)
