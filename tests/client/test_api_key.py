"""The client towards a gateway that needs a key."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from support.http_gateway import Fault, GatewayState
from tbscreen import AccessDenied, Client
from tbscreen.cli import app

runner = CliRunner(env={"TBSCREEN_URL": None, "TBSCREEN_API_KEY": None, "COLUMNS": "200"})
BOTH, READS, SUBMITS = "tbs_both", "tbs_reads", "tbs_submits"


@pytest.fixture
def guarded(gateway: GatewayState) -> GatewayState:
    gateway.tokens = {BOTH: {"read", "submit"}, READS: {"read"}, SUBMITS: {"submit"}}
    return gateway


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "radiographs"
    made.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (made / name).write_bytes(b"well")
    return made


def predict(gateway: GatewayState, *arguments: object, key: str | None = None) -> Any:
    command = ["predict", "--url", gateway.url, "--format", "json", *map(str, arguments)]
    return runner.invoke(app, command, env={"TBSCREEN_API_KEY": key})


def test_the_key_goes_with_each_call(guarded: GatewayState) -> None:
    with Client(guarded.url, api_key=BOTH) as client:
        assert client.predict(b"well").prediction == "Normal"
        assert client.health().workers
        client.delete("job-0")


def test_the_key_is_taken_from_the_environment(
    guarded: GatewayState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TBSCREEN_API_KEY", BOTH)
    with Client(guarded.url) as client:
        assert client.submit(b"well").id
    with Client(guarded.url, api_key=READS) as client, pytest.raises(AccessDenied):
        client.submit(b"well")


@pytest.mark.parametrize(
    ("key", "status", "code"), [("", 401, "unauthorized"), (READS, 403, "forbidden")]
)
def test_a_denial_is_told_from_other_errors_and_not_tried_again(
    guarded: GatewayState, key: str, status: int, code: str
) -> None:
    with Client(guarded.url, api_key=key) as client, pytest.raises(AccessDenied) as caught:
        client.submit(b"well")
    assert (caught.value.status, caught.value.code) == (status, code)
    assert guarded.calls == ["POST /v1/jobs"]


@pytest.mark.parametrize("key", ["tbs_a b", "tbs_é", "tbs_a\r\nX-Evil: 1", "\u200btbs_a"])
def test_what_can_be_no_key_is_refused_without_quoting_it(key: str) -> None:
    with pytest.raises(ValueError, match="API key") as caught:
        Client(api_key=key)
    assert "tbs_" not in str(caught.value)


def test_without_a_key_predict_sends_nothing_and_exits_with_four(
    guarded: GatewayState, folder: Path
) -> None:
    result = predict(guarded, folder)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "--api-key-file" in result.stderr and "TBSCREEN_API_KEY" in result.stderr
    assert guarded.calls == ["GET /health"]


def test_a_wrong_key_is_told_and_never_shown(guarded: GatewayState, folder: Path) -> None:
    result = predict(guarded, folder, key="tbs_wrong_secret")
    assert result.exit_code == 4
    assert "the detail of unauthorized" in result.stderr
    assert "secret" not in result.output
    assert guarded.uploads == []


def test_the_key_file_comes_before_the_environment(
    guarded: GatewayState, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{BOTH}\n")
    result = predict(guarded, "--api-key-file", file, folder, key="tbs_wrong")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"two words"])
def test_a_file_without_a_key_is_wrong_usage(
    guarded: GatewayState, folder: Path, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    result = predict(guarded, "--api-key-file", file, folder, key=BOTH)
    assert result.exit_code == 2
    assert "words" not in result.stderr
    assert guarded.calls == []


def test_a_key_that_may_only_read_sends_one_file_and_no_more(
    guarded: GatewayState, folder: Path
) -> None:
    result = predict(guarded, "--jobs", 1, folder, key=READS)
    assert result.exit_code == 4
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["status"] for line in lines] == ["not_sent"] * 3
    assert {line["error"]["code"] for line in lines} == {"forbidden"}
    assert guarded.calls.count("POST /v1/jobs") == 1
    assert result.stderr.count("--api-key-file") == 1


def test_a_key_that_is_revoked_on_the_way_leaves_the_job_its_id(
    guarded: GatewayState, folder: Path
) -> None:
    for _ in range(2):
        guarded.faults.append(Fault())
    guarded.faults.append(Fault(401, {}, b'{"code": "unauthorized", "detail": "Revoked."}'))
    result = predict(guarded, "--jobs", 1, folder, key=BOTH)
    assert result.exit_code == 4
    first, *rest = [json.loads(line) for line in result.stdout.splitlines()]
    assert (first["status"], first["job_id"]) == ("pending", "job-0")
    assert [line["status"] for line in rest] == ["not_sent"] * 2


@pytest.mark.parametrize("key", [None, SUBMITS, "tbs_wrong"])
def test_calibrate_exits_with_four_before_it_sends_anything(
    guarded: GatewayState, tmp_path: Path, key: str | None
) -> None:
    for label in ("tuberculosis", "normal"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.png").write_bytes(b"logit=1")
    command = ["calibrate", "--url", guarded.url, str(tmp_path)]
    result = runner.invoke(app, command, env={"TBSCREEN_API_KEY": key})
    assert result.exit_code == 4, result.output
    assert "--api-key-file" in result.stderr
    assert guarded.uploads == []


def test_calibrate_sends_the_key(
    guarded: GatewayState, tmp_path: Path, manifest: dict[str, Any]
) -> None:
    guarded.manifest = manifest
    for label in ("tuberculosis", "normal"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.png").write_bytes(b"logit=1")
    command = ["calibrate", "--url", guarded.url, str(tmp_path)]
    result = runner.invoke(app, command, env={"TBSCREEN_API_KEY": BOTH})
    assert result.exit_code == 1
    assert "too few radiographs" in result.stderr


def test_calibrate_stops_when_the_key_may_not_submit(
    guarded: GatewayState, tmp_path: Path, manifest: dict[str, Any]
) -> None:
    guarded.manifest = manifest
    for label, count in (("tuberculosis", 45), ("normal", 70)):
        (tmp_path / label).mkdir()
        for number in range(count):
            (tmp_path / label / f"{number}.png").write_bytes(b"logit=1")
    target = tmp_path / "site.json"
    command = ["calibrate", "--url", guarded.url, "--output", str(target), str(tmp_path)]
    result = runner.invoke(app, [*command, "--half-width", "0.15"], env={"TBSCREEN_API_KEY": READS})
    assert result.exit_code == 4, result.output
    assert not target.exists()
    assert guarded.uploads == []
