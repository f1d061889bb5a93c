import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from support.evaluated_run import make_evaluated_run
from tbscreen_training.cli import main
from tbscreen_training.evaluate import Evaluation, rewrite_report
from tbscreen_training.predictions import Predictions
from tbscreen_training.report import format_figure
from tbscreen_training.run_directory import RunDirectory

Maker = Callable[..., RunDirectory]


@pytest.fixture
def make_run(tmp_path: Path, predictions: Predictions) -> Maker:
    def make(**options: tuple[str, ...]) -> RunDirectory:
        return make_evaluated_run(tmp_path / "run", predictions, **options)

    return make


@dataclass(frozen=True)
class Report:
    """What a run's tables give; tests only read it."""

    run: RunDirectory
    evaluation: Evaluation
    page: str
    card: str
    metrics: dict[str, Any]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, predictions: Predictions) -> Report:
    run = make_evaluated_run(tmp_path_factory.mktemp("report") / "run", predictions)
    evaluation = rewrite_report(run)
    return Report(
        run,
        evaluation,
        page=(run.report / "index.html").read_text(),
        card=(run.report / "model-card.md").read_text(),
        metrics=json.loads((run.report / "metrics.json").read_text()),
    )


@pytest.fixture
def three_classes(predictions: Predictions) -> Predictions:
    """Of the images that are not positive half are of a third class."""
    other = ~predictions.is_positive & (np.arange(400) // 4 % 2 == 0)
    logits = np.stack([-predictions.logits[:, 0], predictions.logits[:, 0], 2.0 * other], axis=1)
    return replace(
        predictions,
        classes=("Normal", "TB Positive", "Other"),
        labels=np.where(other, "Other", predictions.labels),
        logits=logits,
        keras_logits=logits,
    ).uncalibrated()


def test_the_report_is_three_files_and_the_page_needs_nothing_beside_it(report: Report) -> None:
    files = {path.name for path in report.run.report.iterdir()}
    assert files == {"index.html", "metrics.json", "model-card.md"}
    for loaded in re.findall(r'\b(?:src|href)="([^"]*)"', report.page):
        assert loaded.startswith(("data:image/", "#")), loaded
    assert "http" not in report.page and "<script" not in report.page
    assert "url(" not in report.page
    assert "research tool, not a medical device" in report.page.lower()
    anchors = re.findall(r'href="#([^"]+)"', report.page)
    assert anchors and all(f'id="{anchor}"' in report.page for anchor in anchors)


def test_every_figure_comes_from_the_tables_alone(report: Report) -> None:
    run, metrics = report.run, report.metrics
    assert not run.model.exists() and not (run.root / "weights").exists()
    first = {path.name: path.read_bytes() for path in run.report.iterdir()}
    rewrite_report(run)
    assert {path.name: path.read_bytes() for path in run.report.iterdir()} == first
    assert Evaluation.model_validate(metrics) == report.evaluation
    names = {"classes": tuple(metrics["classes"]), "positive": metrics["positive"]}
    rows = Predictions.load(run.predictions, **names).of_split("test").of_sources(("both",))
    controls = metrics["controls"]
    for view, auc in controls["views"]["test_both_class_sources"]["auc"].items():
        seen = rows.of_view(view)
        assert auc["value"] == pytest.approx(roc_auc_score(seen.is_positive, seen.scores))
    fold = Predictions.load(run.folds / "both" / "predictions.csv", **names).of_view("plain")
    assert metrics["leave_one_source_out"]["folds"][0]["auc"]["plain"]["value"] == pytest.approx(
        roc_auc_score(fold.is_positive, fold.scores)
    )
    shuffled = Predictions.load(run.folds / "label-shuffle" / "predictions.csv", **names)
    shuffled = shuffled.of_view("plain").of_split("test")
    assert controls["label_shuffle"]["auc"]["value"] == pytest.approx(
        roc_auc_score(shuffled.is_positive, shuffled.scores)
    )
    assert controls["label_shuffle"]["contains_half"] is True


def test_sources_left_out_come_first_and_then_the_controls(report: Report) -> None:
    headings = re.findall(r"<h2[^>]*>([^<]+)", report.page)
    assert headings[:2] == ["Sources left out", "Controls"]
    for control in ("lungs blanked", "lungs only", "border only", "shuffled", "grey histogram"):
        assert control in report.page
    for name in ("Receiver operating", "Precision and recall", "Confusion", "Reliability"):
        assert f'alt="{name}' in report.page
    for name in ("Decision curve", "Probabilities by source", "Learning curves"):
        assert f'alt="{name}' in report.page


def test_no_radiograph_is_shown_unless_its_source_is_named(report: Report) -> None:
    assert "data:image/jpeg" not in report.page
    assert "--show-source" in report.page


def test_radiographs_of_named_sources_are_shown_with_their_maps_and_without_names(
    make_run: Maker,
) -> None:
    run = make_run(show_source=("both",))
    rewrite_report(run)
    page = (run.report / "index.html").read_text()
    kinds = re.split(r"<h3>(Most confident[^<]+)</h3>", page)[1:]
    assert kinds[::2] == [
        "Most confident hits",
        "Most confident misses",
        "Most confident false alarms",
    ]
    captions = re.findall(r"<figcaption>(both, [^<]+)</figcaption>", page)
    assert 0 < page.count("data:image/jpeg") == len(captions) <= 9
    assert "set/" not in page and "set/" not in (run.report / "model-card.md").read_text()
    assert "sick, TB Positive" not in page


def test_a_radiograph_that_is_gone_is_left_out(
    make_run: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(show_source=("both",))
    for path in (run.root / "images").iterdir():
        path.unlink()
    rewrite_report(run)
    assert "data:image/jpeg" not in (run.report / "index.html").read_text()
    assert "not shown in the report" in caplog.text


def test_what_users_wrote_is_text_in_the_page(report: Report) -> None:
    assert "Drawn &lt;phantoms&gt; &amp; nothing else." in report.page
    assert "Drawn <phantoms> & nothing else." in report.card


def test_the_card_says_what_the_model_is_for_and_what_it_can_not_claim(report: Report) -> None:
    sections = re.findall(r"^## (.+)$", report.card, re.MULTILINE)
    assert sections == [
        *("Model details", "Intended use", "Factors", "Metrics"),
        *("Evaluation data and figures", "Training data", "Ethical considerations"),
        *("What it can not claim", "Caveats and recommendations"),
    ]
    assert "not a medical device" in report.card
    left_out = report.evaluation.leave_one_source_out
    assert left_out is not None
    assert f"More than {left_out.over_folds['plain'].mean:.3f}" in report.card
    assert "sick, well" in report.card, "the confounded sources are not named"


def test_the_cards_tables_have_as_many_cells_in_each_row(report: Report) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", report.card, re.MULTILINE)
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
        assert table.splitlines()[1].strip("|-") == ""


def test_without_folds_the_report_and_the_card_say_that_nothing_was_left_out(
    make_run: Maker,
) -> None:
    run = make_run()
    run.folds.rename(run.root / "elsewhere")
    evaluation = rewrite_report(run)
    assert evaluation.leave_one_source_out is None
    assert evaluation.controls.label_shuffle is None
    assert "No source was left out" in (run.report / "index.html").read_text()
    assert "no source was left out" in (run.report / "model-card.md").read_text()


def test_the_sources_a_run_left_out_itself_are_a_fold_of_its_own(
    tmp_path: Path, predictions: Predictions
) -> None:
    rows = np.arange(400)
    splits = np.where((rows < 200) & (rows % 8 < 4), "left_out", predictions.splits)
    sources = np.where(splits == "left_out", "far", predictions.sources)
    run = make_evaluated_run(tmp_path / "run", replace(predictions, splits=splits, sources=sources))
    evaluation = rewrite_report(run)
    left_out = evaluation.leave_one_source_out
    assert left_out is not None
    own = left_out.folds[0]
    assert (own.name, own.left_out, own.positive + own.other) == ("this model", ("far",), 100)
    assert own.seconds == 13.0
    assert evaluation.by_source["far"]["positive"] == own.positive
    assert "never saw: far" in (run.report / "index.html").read_text()


def test_three_classes_have_a_report_too(tmp_path: Path, three_classes: Predictions) -> None:
    run = make_evaluated_run(tmp_path / "run", three_classes)
    evaluation = rewrite_report(run)
    figures = evaluation.splits["test"]
    assert set(figures["by_class"]) == {"Normal", "TB Positive", "Other"}
    recalls = [by_class["recall"]["value"] for by_class in figures["by_class"].values()]
    assert figures["macro"]["recall"]["value"] == pytest.approx(np.mean(recalls))
    test = three_classes.of_split("test")
    assert figures["by_class"]["Other"]["auc"]["value"] == pytest.approx(
        roc_auc_score(test.labels == "Other", test.probabilities[:, 2]), abs=0.02
    )
    page = (run.report / "index.html").read_text()
    assert "TB Positive against Normal, Other" in page


def test_the_tables_of_other_steps_are_in_the_report(make_run: Maker) -> None:
    run = make_run()
    (run.root / "export-variants.csv").write_text("variant,ms\nper-channel,23.5\n")
    record = {"threshold": 0.4, "refused_by_kind": {"hand": {"n": 7, "share": {"value": 1.0}}}}
    (run.root / "input-check.json").write_text(json.dumps(record))
    rewrite_report(run)
    page = (run.report / "index.html").read_text()
    assert "per-channel" in page and "23.5" in page
    assert "refused by kind" in page and "<td>hand</td>" in page


def test_the_step_writes_the_report_anew_without_a_model(make_run: Maker) -> None:
    run = make_run()
    assert main(["report", "--run", str(run.root), "--calibration", "temperature"]) == 0
    metrics = json.loads((run.report / "metrics.json").read_text())
    assert metrics["calibration"]["method"] == "temperature"
    assert main(["report", "--run", str(run.root), "--show-source", "both"]) == 0
    assert "data:image/jpeg" in (run.report / "index.html").read_text()


def test_a_run_that_was_never_scored_is_refused(
    make_run: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    (run.controls / "scored.json").unlink()
    assert main(["report", "--run", str(run.root)]) == 1
    assert "run the step `evaluate` first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.12345, "0.123"),
        (12, "12"),
        ("a word", "a word"),
        ({"value": 0.5, "low": 0.25, "high": 0.75}, "0.500 [0.250–0.750]"),
        ({"value": 0.0, "low": -0.25, "high": 0.25}, "0.000 [-0.250 to 0.250]"),
    ],
)
def test_figures_are_written_for_readers(value: object, text: str) -> None:
    assert format_figure(value) == text
