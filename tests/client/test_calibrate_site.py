import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tbscreen.calibrate import (
    BundleFacts,
    Scored,
    SiteError,
    Targets,
    Unanswered,
    calibrate_site,
)
from tbscreen.calibrate.labelled import LabelError, read_sources
from tbscreen.calibrate.platt import sigmoid

TARGETS = Targets(sensitivity=0.9, sensitivity_low=0.8, half_width=0.1)
NONE = Unanswered()
MakeFacts = Callable[..., BundleFacts]


@pytest.fixture
def facts(manifest: dict[str, Any]) -> MakeFacts:
    return lambda **changes: BundleFacts.model_validate(manifest | changes)


def draw(positives: int, negatives: int, *, seed: int = 0, apart: float = 2.5) -> list[Scored]:
    rng = random.Random(seed)
    return [
        Scored(sick, sigmoid(logit), logit)
        for sick in [True] * positives + [False] * negatives
        for logit in [rng.gauss(apart if sick else 0.0, 1.0)]
    ]


def test_the_threshold_keeps_the_promised_rank_of_positives(facts: MakeFacts) -> None:
    scored = draw(60, 90)
    site = calibrate_site(facts(), scored, TARGETS, unanswered=Unanswered(0, 3))
    point = site.operating_point
    called = [score.probability >= point.threshold for score in scored]
    # ceil(0.9 x 61) = 55
    assert sum(called[:60]) == 55
    assert point.sensitivity.value == pytest.approx(55 / 61)
    assert point.specificity.value == called[60:].count(False) / 90
    assert (site.positive_images, site.negative_images, site.unanswered_images) == (60, 90, 3)
    assert site.calibration is None


def test_an_unanswered_tb_image_takes_up_rank_like_one_that_no_threshold_finds(
    facts: MakeFacts,
) -> None:
    scored = draw(60, 90)
    lowest = [Scored(True, 0.0, -1e6)] * 4
    missed = calibrate_site(facts(), scored, TARGETS, unanswered=Unanswered(4, 2))
    counted = calibrate_site(facts(), [*scored, *lowest], TARGETS, unanswered=NONE)
    without = calibrate_site(facts(), scored, TARGETS, unanswered=NONE)
    point = missed.operating_point
    assert point.sensitivity == counted.operating_point.sensitivity
    assert point.threshold == counted.operating_point.threshold
    # ceil(0.9 x 65) = 59 of the 60 that were answered, in place of 55
    assert point.sensitivity.value == pytest.approx(59 / 65)
    assert sum(s.is_positive and s.probability >= point.threshold for s in scored) == 59
    assert point.threshold < without.operating_point.threshold
    assert (missed.positive_images, missed.negative_images) == (64, 90)
    told = (missed.unanswered_positive_images, missed.unanswered_negative_images)
    assert (missed.unanswered_images, *told) == (6, 4, 2)
    assert "64 with TB (4 of them unanswered: missed)" in point.measured_on
    assert "90 without (2 more unanswered: left out)" in point.measured_on


def test_unanswered_images_without_tb_move_neither_threshold_nor_figures(facts: MakeFacts) -> None:
    scored = draw(60, 90)
    some = calibrate_site(facts(), scored, TARGETS, unanswered=Unanswered(0, 30)).operating_point
    none = calibrate_site(facts(), scored, TARGETS, unanswered=NONE).operating_point
    assert (some.threshold, some.sensitivity, some.specificity) == (
        none.threshold,
        none.sensitivity,
        none.specificity,
    )


def test_more_unanswered_tb_images_than_may_be_missed_are_refused(facts: MakeFacts) -> None:
    # ceil(0.9 x 61) = 55 of 60: five may be missed.
    calibrate_site(facts(), draw(55, 90), TARGETS, unanswered=Unanswered(5, 0))
    with pytest.raises(SiteError, match="only 54 of 60 TB images were answered"):
        calibrate_site(facts(), draw(54, 90), TARGETS, unanswered=Unanswered(6, 0))


def test_any_higher_threshold_would_break_the_promise(facts: MakeFacts) -> None:
    scored = draw(60, 90)
    threshold = calibrate_site(facts(), scored, TARGETS, unanswered=NONE).operating_point.threshold
    above = min(s.probability for s in scored if s.is_positive and s.probability > threshold)
    assert sum(s.is_positive and s.probability > above for s in scored) == 54


def test_enough_images_fit_the_sites_own_calibration(facts: MakeFacts) -> None:
    scored = draw(150, 150)
    site = calibrate_site(facts(), scored, TARGETS, unanswered=NONE)
    assert site.calibration is not None
    # Two normal distributions 2.5 apart with variance 1: the posterior's slope is 2.5.
    assert site.calibration.scale == pytest.approx(2.5, rel=0.25)
    expected = sum(
        sigmoid(site.calibration.scale * score.logit + site.calibration.bias)
        for score in scored
        if score.logit is not None
    )
    assert expected == pytest.approx(150, abs=1)


def test_a_former_calibration_in_the_answers_does_not_matter(facts: MakeFacts) -> None:
    scored = draw(60, 90)
    shifted = [Scored(s.is_positive, sigmoid((s.logit or 0) - 3), s.logit) for s in scored]
    first = calibrate_site(facts(), scored, TARGETS, unanswered=NONE)
    second = calibrate_site(facts(), shifted, TARGETS, unanswered=NONE)
    assert first.operating_point == second.operating_point


def test_more_classes_keep_their_calibration(facts: MakeFacts) -> None:
    three = facts(labels=["Normal", "Other", "TB Positive"])
    scored = [Scored(s.is_positive, s.probability, None) for s in draw(150, 150)]
    site = calibrate_site(three, scored, TARGETS, unanswered=NONE)
    assert site.calibration is None
    assert site.operating_point.sensitivity.value >= 0.9


def test_the_band_reaches_to_the_sites_own_rule_in_threshold(facts: MakeFacts) -> None:
    scored = draw(60, 90, apart=1.5)
    wide = Targets(0.9, 0.8, 0.2)
    site = calibrate_site(facts(indeterminate_band=(0.2, 0.6)), scored, wide, unanswered=NONE)
    assert site.indeterminate_band is not None
    low, high = site.indeterminate_band
    assert low == site.operating_point.threshold
    # ceil(0.95 x 91) = 87
    assert sum(not s.is_positive and s.probability < high for s in scored) == 87
    without = calibrate_site(facts(indeterminate_band=None), scored, wide, unanswered=NONE)
    assert without.indeterminate_band is None


def test_too_few_answers_are_refused_with_the_number_it_takes(facts: MakeFacts) -> None:
    with pytest.raises(SiteError, match="there are 40 TB images; it takes 41"):
        calibrate_site(facts(), draw(40, 300), TARGETS, unanswered=NONE)
    with pytest.raises(SiteError, match=r"30 images without TB .* it takes \d+ to know it"):
        calibrate_site(facts(), draw(41, 30), Targets(0.9, 0.8, 0.05), unanswered=NONE)
    with pytest.raises(SiteError, match="no image without TB"):
        calibrate_site(facts(), draw(41, 0), TARGETS, unanswered=NONE)


@pytest.mark.parametrize("images", [90, 150])
def test_labels_the_wrong_way_round_are_refused(facts: MakeFacts, images: int) -> None:
    scored = [Scored(not s.is_positive, s.probability, s.logit) for s in draw(images, images)]
    with pytest.raises(SiteError, match="re the labels right"):
        calibrate_site(facts(), scored, TARGETS, unanswered=NONE)


def test_folders_are_labels(tmp_path: Path) -> None:
    for name in ("Tuberculosis/a.png", "normal/deep/b.png", "other/c.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    found = read_sources([tmp_path], ())
    assert {i.file.path.name: i.is_positive for i in found.images} == {
        "a.png": True,
        "b.png": False,
        "c.png": False,
    }
    assert (found.positives, found.negatives) == (1, 2)
    assert read_sources([tmp_path], ["OTHER"]).positive_labels == {"other"}


def test_a_table_of_results_needs_no_radiograph(tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    table.write_text(
        "file,status,probability,model_version,logit,label\n"
        "gone.png,succeeded,0.8,v1,1.5,TB\n"
        "lost.png,failed,,,,normal\n"
        "refused.png,failed,,,,TB\n"
        "late.png,pending,,,,tb\n"
        "well.png,succeeded,0.1,v1,-2.0,normal\n"
    )
    found = read_sources([table], ())
    assert found.scored == [Scored(True, 0.8, 1.5), Scored(False, 0.1, -2.0)]
    assert (found.unanswered_positives, found.unanswered_negatives) == (2, 1)
    assert (found.positives, found.negatives) == (3, 1)
    assert (found.versions, found.images) == ({"v1"}, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\na.png\n", "needs the column label"),
        ("label,other\ntb,1\n", "needs the column label"),
        ("file,label\nmissing.png,tb\n", "line 2: there is no such file"),
        ("file,label\n,tb\n", "line 2: no file"),
        ("file,label\nt.csv,\n", "line 2: no label"),
        ("file,label\nt.csv,normal\nt.csv,0\n", "none of the labels means TB"),
        ("file,label\nt.csv,tb\nt.csv,MTB+\n", r"the label 'MTB\+' may mean TB or not.*--positive"),
        ("file,label\nt.csv,tb\nt.csv,TB\n", "all of the labels mean TB"),
        ("probability,label\n0.5,tb\n", "no model_version"),
        ("probability,label,model_version\nhalf,tb,v1\n", "a number can not be read"),
        ("probability,label,model_version\n1.5,tb,v1\n", "out of range"),
        ("probability,label,model_version,logit\n0.5,tb,v1,nan\n", "out of range"),
    ],
)
def test_a_table_that_is_not_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(LabelError, match=message):
        read_sources([tmp_path / "t.csv"], ())


@pytest.mark.parametrize("word", ["Normal", "negative", "No TB", "non-TB", "HEALTHY", "0", "Other"])
def test_usual_words_for_no_tb_need_no_flag(tmp_path: Path, word: str) -> None:
    (tmp_path / "t.csv").write_text(f"file,label\nt.csv,{word}\nt.csv,Tuberculosis\n")
    found = read_sources([tmp_path / "t.csv"], ())
    assert (found.positives, found.negatives) == (1, 1)


def test_a_folder_with_an_unknown_label_is_refused_unless_those_with_tb_are_named(
    tmp_path: Path,
) -> None:
    for name in ("tb", "doubtful", "normal"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(LabelError, match=r"'doubtful'.*--positive"):
        read_sources([tmp_path], ())
    found = read_sources([tmp_path], ["TB"])
    assert (found.positives, found.negatives) == (1, 2)
    assert read_sources([tmp_path], ["tb", "Doubtful"]).positives == 2


def test_an_image_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(LabelError, match="not a table"):
        read_sources([tmp_path / "a.png"], ())


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no folder for each label"):
        read_sources([tmp_path], ())
