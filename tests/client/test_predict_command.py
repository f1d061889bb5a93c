import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from support.http_gateway import PNG, Fault, GatewayState
from support.ports import free_port
from tbscreen import gateway_options
from tbscreen.cli import app
from tbscreen.predict.formats import CSV_COLUMNS

runner = CliRunner(env={"TBSCREEN_URL": None, "TBSCREEN_API_KEY": None})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "radiographs"
    made.mkdir()
    for name, content in (("a.png", b"sick small"), ("b.png", b"bad"), ("c.png", b"well")):
        (made / name).write_bytes(content)
    return made


def predict(gateway: GatewayState, *arguments: object) -> Any:
    return runner.invoke(app, ["predict", "--url", gateway.url, *map(str, arguments)])


def test_table_has_one_line_per_file_errors_included(gateway: GatewayState, folder: Path) -> None:
    result = predict(gateway, folder)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["FILE", "PREDICTION", "SCORE", "NOTE"]
    assert lines[1].endswith("a.png  TB Positive     90.0  low_resolution; inverted")
    assert "failed" in lines[2]
    assert "unreadable_image: can not be read; job job-" in lines[2]
    assert lines[3].endswith("c.png  Normal          10.0")
    assert len(lines) == 4


def test_csv_columns_are_stable(gateway: GatewayState, folder: Path) -> None:
    result = predict(gateway, folder, "--format", "csv", "--jobs", 1)
    header, *rows = csv.reader(io.StringIO(result.stdout))
    assert header == [
        "file",
        "status",
        "prediction",
        "probability",
        "score",
        "threshold",
        "operating_point",
        "warnings",
        "model_version",
        "job_id",
        "heatmap",
        "error_code",
        "error_message",
        "logit",
    ]
    assert dict(zip(CSV_COLUMNS, rows[0], strict=True)) == {
        "file": str(folder / "a.png"),
        "status": "succeeded",
        "prediction": "TB Positive",
        "probability": "0.9",
        "score": "90.0",
        "threshold": "0.5",
        "operating_point": "balanced",
        "warnings": "low_resolution;inverted",
        "model_version": "v1",
        "job_id": "job-0",
        "heatmap": "",
        "error_code": "",
        "error_message": "",
        "logit": "2.2",
    }
    assert rows[1][1:3] == ["failed", ""]
    assert rows[1][-3:] == ["unreadable_image", "can not be read", ""]


def test_json_has_one_object_per_line_with_all_that_was_answered(
    gateway: GatewayState, folder: Path
) -> None:
    result = predict(gateway, folder, "--format", "json")
    sick, bad, well = map(json.loads, result.stdout.splitlines())
    assert sick["result"]["activation_map"] == [[0.0, 1.0], [0.5, 0.0]]
    assert sick["result"]["a_field_from_the_future"] == 7
    assert sick["error"] is None
    assert bad["error"] == {"code": "unreadable_image", "message": "can not be read"}
    assert bad["result"] is None
    assert [line["status"] for line in (sick, bad, well)] == ["succeeded", "failed", "succeeded"]


def test_all_answered_exits_with_zero(gateway: GatewayState, folder: Path) -> None:
    assert predict(gateway, folder / "a.png", folder / "c.png").exit_code == 0


def test_results_go_to_the_output_file(gateway: GatewayState, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "results.csv"
    result = predict(gateway, folder / "c.png", "--format", "csv", "--output", target)
    assert (result.exit_code, result.stdout) == (0, "")
    assert target.read_text().splitlines()[0] == ",".join(CSV_COLUMNS)
    assert len(target.read_text().splitlines()) == 2


def test_output_that_can_not_be_written_is_named_and_nothing_is_sent(
    gateway: GatewayState, folder: Path, tmp_path: Path
) -> None:
    result = predict(gateway, folder, "--output", tmp_path / "none" / "x.csv")
    assert result.exit_code == 1
    assert "can not write the results" in result.stderr
    assert gateway.uploads == []


def test_heat_maps_are_saved_where_there_is_an_answer(
    gateway: GatewayState, folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "maps"
    result = predict(gateway, folder, "--heatmaps", target, "--format", "json")
    assert sorted(path.name for path in target.iterdir()) == [
        "a.png.heatmap.png",
        "c.png.heatmap.png",
    ]
    first = json.loads(result.stdout.splitlines()[0])
    assert Path(first["heatmap"]).read_bytes() == PNG + first["job_id"].encode()


def test_missing_heat_map_keeps_the_answer_and_is_counted(
    gateway: GatewayState, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "maps" / "c.png.heatmap.png").mkdir(parents=True)
    result = predict(gateway, folder / "c.png", "--heatmaps", tmp_path / "maps", "--format", "json")
    line = json.loads(result.stdout)
    assert line["result"]["prediction"] == "Normal"
    assert line["error"]["code"] == "no_heatmap"
    assert result.exit_code == 1


def test_refused_and_unreadable_files_do_not_stop_the_others(
    gateway: GatewayState, folder: Path
) -> None:
    (folder / "b.png").unlink()
    (folder / "b.png").symlink_to("/proc/self/mem")
    result = predict(gateway, folder, "--format", "json", "--jobs", 1)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["status"] for line in lines] == ["succeeded", "not_sent", "succeeded"]
    assert lines[1]["error"]["code"] == "unreadable_file"
    assert result.exit_code == 1


def test_unanswered_file_keeps_its_job_id(gateway: GatewayState, folder: Path) -> None:
    (folder / "b.png").write_bytes(b"slow")
    result = predict(gateway, folder, "--format", "json", "--wait", 1)
    line = json.loads(result.stdout.splitlines()[1])
    assert (line["status"], line["error"]["code"]) == ("pending", "timeout")
    assert gateway.jobs[line["job_id"]]["status"] == "queued"
    assert result.exit_code == 1


def test_at_most_jobs_files_are_with_the_gateway(gateway: GatewayState, tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(b"slow")
    predict(gateway, tmp_path, "--jobs", 3, "--wait", 1)
    assert gateway.busiest == 3


def test_unreachable_gateway_exits_with_three_at_once(folder: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = runner.invoke(app, ["predict", "--url", url, str(folder)])
    assert result.exit_code == 3
    assert result.stdout == ""
    assert f"no gateway answers at {url}" in result.stderr


def test_address_comes_from_the_environment(gateway: GatewayState, folder: Path) -> None:
    result = runner.invoke(
        app, ["predict", str(folder / "c.png")], env={"TBSCREEN_URL": gateway.url}
    )
    assert result.exit_code == 0


def test_problems_of_the_gateway_are_told(gateway: GatewayState, folder: Path) -> None:
    gateway.workers = 0
    result = predict(gateway, folder / "c.png")
    assert "the gateway says: No worker is running." in result.stderr
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png"], "no such file or folder"),
        (["."], "no PNG, JPEG, TIFF or DICOM file"),
        ([], "Missing argument"),
        (["--url", "nowhere", __file__], "not an http:// or https:// address"),
    ],
)
def test_wrong_usage_exits_with_two(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["predict", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.stderr


def test_control_characters_of_a_name_do_not_reach_the_terminal(
    gateway: GatewayState, tmp_path: Path
) -> None:
    path = tmp_path / "x\x1b[31m\n.png"
    path.write_bytes(b"well")
    result = predict(gateway, path)
    assert "x?[31m?.png" in result.stdout
    assert "\x1b" not in result.stdout


def test_long_name_keeps_its_end(gateway: GatewayState, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 100 + "-end.png")
    path.write_bytes(b"well")
    row = predict(gateway, path).stdout.splitlines()[1]
    assert row.startswith("…x")
    assert row[:60].endswith("-end.png")


def test_help_tells_the_exit_codes() -> None:
    result = runner.invoke(app, ["predict", "--help"], env={"COLUMNS": "120"})
    for line in ("0: every file was answered", "3: the gateway can not be reached"):
        assert line in result.stdout


def test_gateway_lost_on_the_way_spares_the_rest_the_wait(
    gateway: GatewayState, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_options, "RETRY_FOR_S", 0.3)
    gateway.faults.append(Fault(200, {}, b'{"status": "ok", "workers": [{"name": "w"}]}'))
    gateway.faults.extend([Fault(drop="before")] * 30)
    result = predict(gateway, folder, "--format", "json", "--jobs", 1)
    assert result.exit_code == 3
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line["error"]["code"] for line in lines} == {"gateway_unreachable"}
    tried = len(gateway.calls)
    assert [line["status"] for line in lines] == ["not_sent"] * 3
    assert 2 <= tried <= 5
