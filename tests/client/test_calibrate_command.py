import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from support.http_gateway import Fault, GatewayState
from support.ports import free_port
from tbscreen.cli import app

runner = CliRunner(
    env={"TBSCREEN_URL": None, "TBSCREEN_MODELS_DIR": None, "TBSCREEN_API_KEY": None}
)


@pytest.fixture
def models_dir(tmp_path: Path, manifest: dict[str, Any]) -> Path:
    made = tmp_path / "models"
    (made / "v1").mkdir(parents=True)
    (made / "v1" / "manifest.json").write_text(json.dumps(manifest))
    return made


@pytest.fixture
def radiographs(tmp_path: Path) -> Path:
    """45 files with TB and 70 without, named like patients, with a logit that the gateway gives."""
    rng, made = random.Random(2), tmp_path / "site"
    for label, count, centre in (("tuberculosis", 45, 2.5), ("normal", 70, -0.5)):
        (made / label).mkdir(parents=True)
        for number in range(count):
            content = f"logit={rng.gauss(centre, 1):.4f}".encode()
            (made / label / f"doe-{label}-{number}.png").write_bytes(content)
    return made


def calibrate(gateway: GatewayState, *arguments: object) -> Any:
    return runner.invoke(app, ["calibrate", "--url", gateway.url, *map(str, arguments)])


def test_labelled_radiographs_become_a_threshold_beside_the_model(
    gateway: GatewayState, models_dir: Path, radiographs: Path
) -> None:
    done = calibrate(gateway, radiographs, "--models-dir", models_dir, "--half-width", 0.1)
    assert done.exit_code == 0, done.output
    text = (models_dir / "v1.site.json").read_text()
    site = json.loads(text)
    assert (site["version"], site["model_sha256"]) == ("v1", "0" * 64)
    assert (site["positive_images"], site["negative_images"]) == (45, 70)
    assert site["operating_point"]["name"] == "site"
    assert f"{site['operating_point']['threshold']:.3f}" in done.stdout
    assert "doe" not in text
    assert set(gateway.file_names) == {"radiograph"}
    assert {path.name for path in models_dir.iterdir()} == {"v1", "v1.site.json"}


def test_too_few_radiographs_are_refused_before_any_is_sent(
    gateway: GatewayState, models_dir: Path, radiographs: Path
) -> None:
    done = calibrate(gateway, radiographs, "--models-dir", models_dir)
    assert done.exit_code == 1
    assert "245 without (there are 70)" in done.stderr
    assert gateway.uploads == []
    assert not (models_dir / "v1.site.json").exists()


def test_without_radiographs_it_says_how_many_it_takes(
    gateway: GatewayState, models_dir: Path
) -> None:
    (models_dir / "current").write_text("v1\n")
    done = calibrate(gateway, "--models-dir", models_dir)
    assert done.exit_code == 0
    assert "41 radiographs with TB" in done.stdout
    assert "245 without" in done.stdout
    assert gateway.calls == []


def test_the_models_facts_come_from_the_gateway_where_the_folder_is_elsewhere(
    gateway: GatewayState, manifest: dict[str, Any], radiographs: Path, tmp_path: Path
) -> None:
    gateway.manifest = manifest
    target = tmp_path / "site.json"
    options = ("--models-dir", tmp_path / "none", "--half-width", 0.1, "--output", target)
    done = calibrate(gateway, radiographs, *options)
    assert done.exit_code == 0, done.output
    assert json.loads(target.read_text())["version"] == "v1"


def test_a_table_of_results_needs_no_gateway(
    gateway: GatewayState, models_dir: Path, radiographs: Path, tmp_path: Path
) -> None:
    rows = ["probability,model_version,logit,label"]
    for path in sorted(radiographs.rglob("*.png")):
        logit = path.read_text().removeprefix("logit=")
        rows.append(f"0.5,v1,{logit},{path.parent.name}")
    (tmp_path / "results.csv").write_text("\n".join(rows))
    options = ("--models-dir", models_dir, "--half-width", 0.1)
    from_table = calibrate(gateway, tmp_path / "results.csv", *options)
    assert from_table.exit_code == 0, from_table.output
    assert gateway.calls == []
    first = json.loads((models_dir / "v1.site.json").read_text())
    assert calibrate(gateway, radiographs, *options).exit_code == 0
    second = json.loads((models_dir / "v1.site.json").read_text())
    assert first["operating_point"] == second["operating_point"]


def test_radiographs_without_an_answer_are_counted_by_truth_and_those_with_tb_missed(
    gateway: GatewayState, models_dir: Path, radiographs: Path
) -> None:
    for label, count in (("normal", 3), ("tuberculosis", 2)):
        for number in range(count):
            (radiographs / label / f"bad-{number}.png").write_bytes(b"bad")
    done = calibrate(gateway, radiographs, "--models-dir", models_dir, "--half-width", 0.15)
    assert done.exit_code == 0, done.output
    assert "3 radiographs without TB were not answered and are left out: unreadable" in done.stderr
    assert "2 radiographs with TB were not answered and count as missed: unreadable" in done.stderr
    assert "unanswered 2 with TB, 3 without" in done.stdout
    site = json.loads((models_dir / "v1.site.json").read_text())
    assert (site["positive_images"], site["negative_images"]) == (47, 70)
    assert (site["unanswered_positive_images"], site["unanswered_negative_images"]) == (2, 3)
    # ceil(0.9 x 48) = 44
    assert site["operating_point"]["sensitivity"]["value"] == pytest.approx(44 / 48)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--models-dir", "nowhere"), "does not hold the model v1.*--output"),
        (("--output", "nowhere/site.json"), "nowhere can not be written to: No such file"),
        (("--output", "file/site.json"), "file can not be written to: Not a directory"),
        (("--output", "folder"), "folder is a folder"),
    ],
)
def test_what_could_not_be_used_afterwards_is_refused_before_any_is_sent(
    gateway: GatewayState,
    manifest: dict[str, Any],
    radiographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, str],
    reason: str,
) -> None:
    gateway.manifest = manifest
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    done = calibrate(gateway, radiographs, "--half-width", 0.1, *options)
    assert done.exit_code == 1
    assert re.search(reason, done.stderr)
    assert gateway.uploads == []


def test_another_models_answers_are_refused(
    gateway: GatewayState, models_dir: Path, manifest: dict[str, Any], radiographs: Path
) -> None:
    changed = manifest | {"model_sha256": "1" * 64}
    (models_dir / "v1" / "manifest.json").write_text(json.dumps(changed))
    done = calibrate(gateway, radiographs, "--models-dir", models_dir, "--half-width", 0.1)
    assert done.exit_code == 1
    assert "the model changed" in done.stderr
    assert not (models_dir / "v1.site.json").exists()


def test_results_of_two_models_are_refused(
    gateway: GatewayState, models_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.csv").write_text(
        "probability,model_version,logit,label\n0.5,v1,0,tb\n0.5,v2,0,normal\n"
    )
    done = calibrate(gateway, tmp_path / "r.csv", "--models-dir", models_dir)
    assert done.exit_code == 1
    assert "v1, v2" in done.stderr


def test_a_gateway_that_is_lost_on_the_way_writes_nothing(
    gateway: GatewayState,
    models_dir: Path,
    radiographs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tbscreen.gateway_options.RETRY_FOR_S", 0.0)
    gateway.faults.extend([Fault(), *[Fault(drop="before")] * 200])
    done = calibrate(gateway, radiographs, "--models-dir", models_dir, "--half-width", 0.1)
    assert done.exit_code == 3
    assert not (models_dir / "v1.site.json").exists()


def test_a_gateway_that_does_not_answer_is_told(radiographs: Path, models_dir: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    arguments = [str(radiographs), "--url", url, "--models-dir", str(models_dir)]
    done = runner.invoke(app, ["calibrate", *arguments])
    assert done.exit_code == 3
    assert "tbscreen serve" in done.stderr


def test_a_bound_above_its_target_is_wrong_usage(gateway: GatewayState) -> None:
    assert calibrate(gateway, "--sensitivity", 0.8, "--sensitivity-low", 0.9).exit_code == 2
