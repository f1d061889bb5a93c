"""`tbscreen audit` on logs that the gateway's own code wrote, and that somebody harmed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.audit_entries import BEGINNING, waiting
from support.audit_logs import audit, go_on, write_log
from support.http_gateway import running_gateway
from support.ports import free_port
from tbscreen_gateway.audit_log import AuditLog
from tbscreen_shared.audit import digest, write_line


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def file(directory: Path) -> Path:
    write_log(directory)
    return directory / "audit-000001.jsonl"


def lines_of(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def test_a_whole_log_is_whole_and_its_hash_is_printed(directory: Path) -> None:
    head = write_log(directory)
    result = audit("verify", directory)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "10 lines from 2026-11-22 09:30 to 2026-11-22 09:30 UTC: 10 accepted",
        f"last entry 10, hash {head.sha256}",
        "whole",
    ]


def swap(lines: list[bytes]) -> None:
    lines[4], lines[5] = lines[5], lines[4]


def renumber(lines: list[bytes]) -> None:
    del lines[4]
    for place in range(4, len(lines)):
        lines[place] = lines[place].replace(b'"seq":%d,' % (place + 2), b'"seq":%d,' % (place + 1))


def insert(lines: list[bytes]) -> None:
    entry = waiting(5, event="erased").entry
    assert entry is not None
    lines.insert(4, write_line(entry, digest(lines[3].rstrip()), None) + b"\n")


def change(old: bytes, new: bytes) -> Callable[[list[bytes]], None]:
    def harm(lines: list[bytes]) -> None:
        assert old in lines[4]
        lines[4] = lines[4].replace(old, new)

    return harm


HARMS: dict[str, tuple[Callable[[list[bytes]], None], list[str]]] = {
    "a changed value": (
        change(b"job-5", b"job-7"),
        ["line 6: it does not follow from audit-000001.jsonl, line 5"],
    ),
    "a changed number": (
        change(b'"seq":5', b'"seq":50'),
        [
            "line 5: before entry 50, 5-49 is missing",
            "line 6: it does not follow from",
            "line 6: entry 6 is out of order: 51 should be here",
        ],
    ),
    "a changed chain": (
        change(b'"prev":"', b'"prev":"0'),
        ["line 5: it is no line of an audit log", "line 6: it does not follow from"],
    ),
    "a changed byte between values": (change(b'"event"', b'"Event"'), ["line 5: it is no line"]),
    "white space added": (change(b"}\n", b"} \n"), ["line 6: it does not follow from"]),
    "a removed line": (
        lambda lines: lines.__delitem__(4),
        ["line 5: it does not follow from", "line 5: before entry 6, 5 is missing"],
    ),
    "several removed lines": (
        lambda lines: lines.__delitem__(slice(3, 6)),
        ["line 4: it does not follow from", "line 4: before entry 7, 4-6 is missing"],
    ),
    "lines removed at the beginning": (
        lambda lines: lines.__delitem__(slice(0, 2)),
        ["line 1: it is not the log's first line"],
    ),
    "swapped lines": (
        swap,
        ["line 5: it does not follow from", "line 6: entry 5 is out of order: 7 should be here"],
    ),
    "an inserted line": (
        insert,
        ["line 6: it does not follow from", "line 6: entry 5 is out of order: 6 should be here"],
    ),
    "a repeated line": (
        lambda lines: lines.insert(5, lines[4]),
        ["line 6: it does not follow from", "line 6: entry 5 is out of order: 6 should be here"],
    ),
    "a removed line and new numbers": (renumber, ["line 5: it does not follow from"]),
    "a line cut short": (
        lambda lines: lines.__setitem__(-1, lines[-1][:40]),
        ["line 10: it has no end", "line 10: it is no line of an audit log"],
    ),
    "a last line feed cut off": (
        lambda lines: lines.__setitem__(-1, lines[-1].rstrip()),
        ["line 10: it has no end"],
    ),
    "an empty line": (lambda lines: lines.insert(5, b"\n"), ["line 6: it is no line"]),
    "binary rubbish": (
        lambda lines: lines.__setitem__(4, b"\0\xff\x1b[31m\n"),
        ["line 5: it is no line", "line 6: before entry 6, 5 is missing"],
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_harm_is_found_where_it_was_done(file: Path, harm: str) -> None:
    do, findings = HARMS[harm]
    lines = lines_of(file)
    do(lines)
    file.write_bytes(b"".join(lines))
    result = audit("verify", file.parent)
    assert result.exit_code == 1
    for finding in findings:
        assert f"audit-000001.jsonl, {finding}" in result.stdout
    assert "NOT WHOLE" in result.stdout.splitlines()[-1]


def test_every_single_byte_matters(directory: Path) -> None:
    anchor = write_log(directory, count=3).sha256
    file = directory / "audit-000001.jsonl"
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        assert audit("verify", file, "--anchor", anchor).exit_code == 1, place


def test_a_cut_end_shows_by_an_anchor_by_the_gateway_and_by_what_is_written_next(
    directory: Path,
) -> None:
    head = write_log(directory)
    file = directory / "audit-000001.jsonl"
    file.write_bytes(b"".join(lines_of(file)[:7]))
    assert audit("verify", directory).exit_code == 0, "the chain alone can not tell"
    found = audit("verify", directory, "--anchor", head.sha256)
    assert found.exit_code == 1
    assert f"no line has the hash {head.sha256}" in found.stdout
    with running_gateway() as gateway:
        gateway.audit_sha256 = head.sha256
        assert audit("verify", directory, "--url", gateway.url).exit_code == 1
        gateway.audit_sha256 = digest(lines_of(file)[-1].rstrip())
        assert audit("verify", directory, "--url", gateway.url).exit_code == 0
    go_on(directory, head, [11])
    later = audit("verify", directory)
    assert later.exit_code == 1
    assert "the log had ended with entry 10" in later.stdout
    assert "before entry 11, 8-10 is missing" in later.stdout


def test_the_chain_goes_over_the_files_ends(directory: Path) -> None:
    write_log(directory, max_file_bytes=700)
    files = sorted(directory.glob("audit-*.jsonl"))
    assert len(files) > 3
    assert audit("verify", directory).exit_code == 0
    one = audit("verify", files[1])
    assert one.exit_code == 0
    assert "note: begins after a line with the hash" in one.stdout
    files[0].rename(directory / "kept-elsewhere")
    archived = audit("verify", directory)
    assert archived.exit_code == 0
    assert "note: begins at audit-000002.jsonl: earlier files are not here" in archived.stdout
    files[2].unlink()
    missing = audit("verify", directory)
    assert missing.exit_code == 1
    assert "audit-000004.jsonl: files before it are missing" in missing.stdout
    assert "audit-000004.jsonl, line 1: it does not follow from" in missing.stdout


def test_a_redis_that_was_set_back_stands_in_the_verdict(directory: Path) -> None:
    head = write_log(directory)
    log = AuditLog(directory)
    assert log.try_lock()
    log.begin(head)
    log.append([waiting(8, event="erased"), waiting(9, event="erased")])
    result = audit("verify", directory)
    assert result.exit_code == 0
    assert "entry numbers go on from 8 after 10" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("whole, but numbers were set back 1 time:")


def test_show_prints_what_is_asked_for(file: Path) -> None:
    def shown(*arguments: str) -> list[int]:
        result = audit("show", file, "--format", "json", *arguments)
        assert result.exit_code == 0
        return [json.loads(line)["seq"] for line in result.stdout.splitlines()]

    assert shown() == list(range(1, 11))
    assert shown("--job", "job-3") == [3]
    assert shown("--event", "erased") == []
    assert shown("--since", f"{BEGINNING:%Y-%m-%dT%H:%M}:08") == [8, 9, 10]
    assert shown("--until", f"{BEGINNING:%Y-%m-%d %H:%M}:03") == [1, 2]
    assert audit("show", file, "--format", "json").stdout.encode() == file.read_bytes()
    header, row, *_ = audit("show", file).stdout.splitlines()
    assert header.split()[:2] == ["SEQ", "TIME"]
    assert row.split()[:4] == ["1", "2026-11-22", "09:30:01.000", "accepted"]
    assert row.endswith(f"sha256={1:064x}")


def test_what_a_terminal_would_obey_is_not_printed(directory: Path) -> None:
    directory.mkdir()
    entry = waiting(1).entry
    assert entry is not None
    hostile = entry.model_copy(update={"job": "\x1b[2J"})
    (directory / "audit-000001.jsonl").write_bytes(write_line(hostile, "0" * 64, None) + b"\n")
    assert "\x1b" not in audit("show", directory).stdout


def test_without_a_log_it_says_so(tmp_path: Path) -> None:
    for command in ("verify", "show"):
        result = audit(command, tmp_path)
        assert (result.exit_code, result.stderr) == (
            2,
            f"tbscreen: {tmp_path} holds no audit log\n",
        )
        assert audit(command, tmp_path / "nowhere").exit_code == 2


def test_wrong_usage_and_an_absent_gateway_have_codes_of_their_own(file: Path) -> None:
    assert audit("verify", file, "--anchor", "nonsense").exit_code == 2
    assert audit("verify", file, "--url", "ftp://x").exit_code == 2
    assert audit("verify", file, "--url", f"http://127.0.0.1:{free_port()}").exit_code == 3
    with running_gateway() as gateway:
        silent = audit("verify", file, "--url", gateway.url)
    assert (silent.exit_code, silent.stderr) == (
        3,
        "tbscreen: the gateway does not say how the log ends\n",
    )
