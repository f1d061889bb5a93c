from pathlib import Path

import pytest

from tbscreen_training.cli import main
from tbscreen_training.config import RunConfig
from tbscreen_training.flags import without_paths


def test_a_published_command_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    manifest = tmp_path / "clinic" / "manifest.csv"
    manifest.parent.mkdir()
    manifest.touch()
    command = without_paths(
        ["run", "--data", str(manifest), f"--weights={tmp_path}/w.h5", "--class", "A's B=tb/x"]
    )
    assert str(tmp_path) not in command
    assert command == "run --data clinic/manifest.csv --weights=w.h5 --class 'A'\"'\"'s B=tb/x'"


def test_a_value_out_of_range_is_refused_by_the_name_of_its_flag(
    tmp_path: Path, phantom_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(
        [
            *("run", "--data", str(phantom_folders), "--out", str(tmp_path), "--models-dir", "m"),
            *("--rotation-deg", "45", "--epochs", "none"),
        ]
    )
    assert status == 1
    errors = capsys.readouterr().err
    assert "--rotation-deg" in errors
    assert "--epochs" in errors
    assert not list(tmp_path.iterdir())


def test_split_writes_what_the_next_steps_read(tmp_path: Path, phantom_manifest: Path) -> None:
    run = tmp_path / "run"
    status = main(
        [
            *("split", "--run", str(run), "--data", str(phantom_manifest), "--seed", "7"),
            "--no-near-duplicates",
            *("--class", "TB Positive=tuberculosis", "--class", "Normal=normal,other"),
        ]
    )
    assert status == 0
    config = RunConfig.load(run)
    assert config.seed == 7
    assert config.data.classes["Normal"] == ("normal", "other")
    assert (run / "split.csv").read_text().count("\n") == 25


def test_a_run_is_not_written_over(
    tmp_path: Path, phantom_manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = ["split", "--run", str(tmp_path / "run"), "--data", str(phantom_manifest)]
    split += ["--no-near-duplicates"]
    assert main(split) == 0
    assert main(split) == 1
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("fit", "no run directory"),
        ("fine-tune", "no run directory"),
        ("export", "no run directory"),
        ("evaluate", "no run directory"),
    ],
)
def test_a_step_without_a_run_says_so(
    tmp_path: Path, step: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([step, "--run", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "run the step `fit` first"),
        (["evaluate"], "run the step `fit` first"),
        (["fine-tune", "--fine-tune-from-block", "mixed5"], "run the step `fit` first"),
        (["fine-tune", "--fine-tune-from-block", "none"], "--fine-tune-from-block"),
        (["publish", "--models-dir", "unused"], "run the step `export` first"),
        (["fit", "--weights", "absent.h5"], "no such file"),
    ],
)
def test_a_step_that_comes_too_early_names_the_missing_one(
    tmp_path: Path,
    phantom_manifest: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = str(tmp_path / "run")
    data = ["--data", str(phantom_manifest), "--no-near-duplicates"]
    assert main(["split", "--run", run, *data]) == 0
    assert main([*arguments, "--run", run]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "band"),
    [("auto", "auto"), ("none", "none"), (None, "none"), ("0.2,0.6", (0.2, 0.6))],
)
def test_the_band_is_a_rule_or_two_probabilities(
    tmp_path: Path, given: object, band: object
) -> None:
    data = {"roots": [tmp_path]}
    config = RunConfig.model_validate({"data": data, "indeterminate_band": given})
    assert config.indeterminate_band == band
    config.save(tmp_path)
    assert RunConfig.load(tmp_path).indeterminate_band == band


@pytest.mark.parametrize("text", ["0.6,0.2", "0.5", "0,2", "a,b", "0.1,0.2,0.3", "some"])
def test_a_band_that_is_none_is_refused_by_the_name_of_its_flag(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", "--data", "data", "--out", str(tmp_path), "--models-dir", "models"]
    assert main([*run, "--indeterminate-band", text]) == 1
    assert "--indeterminate-band: Value error, auto, none, or LOW,HIGH" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
