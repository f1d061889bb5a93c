import csv
from pathlib import Path

import pytest
from PIL import Image

from support.evaluated_run import make_evaluated_run
from tbscreen_training.cli import main
from tbscreen_training.config import RunConfig
from tbscreen_training.evaluate import rewrite_report
from tbscreen_training.experiments import changed_settings, config_digest
from tbscreen_training.predictions import Predictions


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


def height_of(picture: Path) -> int:
    with Image.open(picture) as image:
        return image.height


def configured(**changes: object) -> RunConfig:
    return RunConfig.model_validate({"data": {"roots": ["/somewhere/else"]}} | changes)


@pytest.fixture
def run(tmp_path: Path, predictions: Predictions) -> Path:
    made = make_evaluated_run(tmp_path / "first-try", predictions)
    rewrite_report(made)
    return made.root


def test_each_run_appends_a_row_and_the_plot_is_drawn_anew(run: Path, tmp_path: Path) -> None:
    table = tmp_path / "docs" / "experiments.csv"
    log = ("log", "--run", str(run), "--table", str(table))
    assert main([*log, "--note", "as it was"]) == 0
    before = height_of(table.with_suffix(".png"))
    assert main([*log, "--note", "the same, to see"]) == 0
    rows = rows_of(table)
    assert [row["note"] for row in rows] == ["as it was", "the same, to see"]
    assert height_of(table.with_suffix(".png")) > before
    row = rows[0]
    assert (row["run"], row["seed"], row["left_out"]) == ("first-try", "1", "both both-again")
    least, mean, greatest = (
        float(row[f"left_out_plain_{name}"]) for name in ("least", "mean", "greatest")
    )
    assert least <= mean <= greatest
    assert float(row["test_auc_low"]) < float(row["test_auc"]) < float(row["test_auc_high"])
    assert float(row["shuffled"]) == pytest.approx(0.5, abs=0.15)
    assert str(tmp_path) not in table.read_text()


def test_a_run_is_not_logged_twice(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = ["log", "--run", str(run), "--table", str(tmp_path / "log.csv"), "--note", "once"]
    assert [main(log), main(log)] == [0, 1]
    assert "has this run already" in capsys.readouterr().err
    assert len(rows_of(tmp_path / "log.csv")) == 1


def test_logging_leaves_the_runs_configuration_alone(run: Path, tmp_path: Path) -> None:
    before = (run / "config.json").read_bytes()
    assert main(["log", "--run", str(run), "--table", str(tmp_path / "l.csv"), "--note", "n"]) == 0
    assert (run / "config.json").read_bytes() == before


def test_a_run_without_a_report_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "report" / "metrics.json").unlink()
    table = tmp_path / "log.csv"
    assert main(["log", "--run", str(run), "--table", str(table), "--note", "n"]) == 1
    assert not table.exists()


def test_the_digest_is_of_what_decides_the_outcome() -> None:
    usual = configured()
    for same in (
        configured(provenance="told", command="run", show_source=("a",)),
        configured(data={"roots": ["/here"], "cache_dir": "/there"}),
    ):
        assert config_digest(same) == config_digest(usual)
    weights = [configured(fit={"weights": f"{folder}/w.weights.h5"}) for folder in ("/a", "/b")]
    assert config_digest(weights[0]) == config_digest(weights[1]) != config_digest(usual)
    assert config_digest(configured(seed=2)) != config_digest(usual)


def test_only_settings_that_were_changed_are_named_and_no_folder_is() -> None:
    config = configured(
        seed=3,
        fit={"weights": "/home/me/w.weights.h5", "epochs": 7},
        data={"roots": ["/data"], "classes": {"TB": ["a"], "Normal": ["b"]}},
    )
    assert changed_settings(config).endswith("fit.weights=w.weights.h5 fit.epochs=7")
    assert "/" not in changed_settings(config)
    assert changed_settings(configured(seed=5)) == ""
