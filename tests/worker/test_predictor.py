import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tbscreen_shared.bundle import Bundle, InputCheckFile, OutputSpec
from tbscreen_shared.errors import BundleError
from tbscreen_shared.input_check import Familiarity, InputCheck, Kind
from tbscreen_worker import predictor as predictor_module
from tbscreen_worker.predictor import LiteRtPredictor

Write = Callable[..., Bundle]


def test_the_model_answers_with_its_logit_and_its_activation_map(tiny_bundle: Write) -> None:
    predictor = LiteRtPredictor(tiny_bundle())
    image = np.zeros((16, 16, 1), dtype=np.uint8)
    image[:8, :8] = 255

    prediction = predictor.predict(image)

    # The tiny model: 8 (mean - 0.5), and the means of 4 x 4 blocks.
    assert prediction.logits.dtype == np.float32
    np.testing.assert_allclose(prediction.logits, [-2.0], atol=1e-5)
    expected = np.zeros((1, 4, 4))
    expected[0, :2, :2] = 1.0
    np.testing.assert_allclose(prediction.activation_maps, expected, atol=1e-6)


def test_an_answer_outlives_the_next_call(tiny_bundle: Write) -> None:
    predictor = LiteRtPredictor(tiny_bundle())

    dark = predictor.predict(np.zeros((16, 16, 1), dtype=np.uint8))
    predictor.predict(np.full((16, 16, 1), 255, dtype=np.uint8))

    np.testing.assert_allclose(dark.logits, [-4.0])
    assert not dark.activation_maps.any()


def test_a_changed_model_file_is_refused(tiny_bundle: Write) -> None:
    bundle = tiny_bundle()
    data = bytearray(bundle.model_path.read_bytes())
    data[-1] ^= 1
    bundle.model_path.write_bytes(data)

    with pytest.raises(BundleError, match="not the file the manifest describes"):
        LiteRtPredictor(bundle)


def test_what_becomes_of_the_file_under_a_loaded_model_changes_no_answer(
    tiny_bundle: Write,
) -> None:
    # In a process of its own: one that maps a file which is cut off dies of SIGBUS.
    bundle = tiny_bundle()
    ran = subprocess.run(
        [sys.executable, "-c", _FILE_CHANGES_UNDER_THE_MODEL, bundle.root.parent, bundle.root.name],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (0, "same\n" * 2), ran.stderr


_FILE_CHANGES_UNDER_THE_MODEL = """
import sys
from pathlib import Path
import numpy as np
from tbscreen_shared.bundle import ModelStore
from tbscreen_worker.predictor import LiteRtPredictor

bundle = ModelStore(Path(sys.argv[1])).load(sys.argv[2])
size = bundle.model_path.stat().st_size
predictor = LiteRtPredictor(bundle)
image = np.full((16, 16, 1), 200, dtype=np.uint8)
before = predictor.predict(image).logits
with bundle.model_path.open("r+b") as model:
    for content in (b"\\xff" * size, b""):
        model.seek(0)
        model.write(content)
        model.truncate()
        model.flush()
        print("same" if (predictor.predict(image).logits == before).all() else "another answer")
"""


def test_the_bytes_that_were_checked_are_those_that_decide(
    tiny_bundle: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tiny_bundle()
    load = predictor_module.Interpreter

    def spoil_then_load(**options: Any) -> Any:
        bundle.model_path.write_bytes(b"spoilt between the check and the loading")
        return load(**options)

    monkeypatch.setattr(predictor_module, "Interpreter", spoil_then_load)
    predictor = LiteRtPredictor(bundle)
    dark = predictor.predict(np.zeros((16, 16, 1), dtype=np.uint8))
    np.testing.assert_allclose(dark.logits, [-4.0])


def test_a_file_that_is_no_model_is_refused(tiny_bundle: Write) -> None:
    junk = b"junk" * 600
    bundle = tiny_bundle(model_bytes=len(junk), model_sha256=hashlib.sha256(junk).hexdigest())
    bundle.model_path.write_bytes(junk)

    with pytest.raises(BundleError, match="can not load"):
        LiteRtPredictor(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": {"height": 16, "width": 16, "preprocessing": "0"}}, "preprocessing 0"),
        ({"outputs": {"logits": "scores"}}, "do not fit"),
        ({"outputs": {"activation_maps": "cam"}}, "do not fit"),
        ({"labels": ["Normal", "Pneumonia", "TB Positive"]}, "do not fit"),
        ({"input": {"height": 20, "width": 20, "preprocessing": "2"}}, "could not run"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    changes: dict[str, Any], message: str, tiny_bundle: Write
) -> None:
    with pytest.raises(BundleError, match=message):
        LiteRtPredictor(tiny_bundle(**changes))


@pytest.mark.parametrize("logits", [[-0.87], [float("nan")], [-0.8780634, 0.0]])
def test_a_wrong_known_answer_is_refused(logits: list[float], tiny_bundle: Write) -> None:
    known = tiny_bundle().manifest.known_answer.model_dump()

    bundle = tiny_bundle(version="other", known_answer={**known, "logits": logits})

    with pytest.raises(BundleError, match="known answer"):
        LiteRtPredictor(bundle)


def test_a_known_answer_image_that_can_not_be_read_is_refused(tiny_bundle: Write) -> None:
    junk = b"\x89PNG\r\n\x1a\n junk"
    known = tiny_bundle().manifest.known_answer.model_dump()
    known["sha256"] = hashlib.sha256(junk).hexdigest()
    bundle = tiny_bundle(version="other", known_answer=known)
    bundle.known_answer_path.write_bytes(junk)

    with pytest.raises(BundleError, match="could not run"):
        LiteRtPredictor(bundle)


def with_check(bundle: Bundle, check: InputCheck, **outputs: str) -> Bundle:
    check.write(bundle.root / "input-check.npz")
    sha256 = hashlib.sha256((bundle.root / "input-check.npz").read_bytes()).hexdigest()
    changes = {
        "input_check": InputCheckFile(sha256=sha256),
        "outputs": OutputSpec(**outputs),
    }
    return Bundle(bundle.root, bundle.manifest.model_copy(update=changes))


def familiarity_of(*parts: str) -> Familiarity:
    ones = np.ones(2, np.float32)
    return Familiarity(parts, ones, ones, np.eye(2, dtype=np.float32), ones, limit=1.0)


def test_a_bundle_without_a_check_refuses_nothing(tiny_bundle: Write) -> None:
    assert LiteRtPredictor(tiny_bundle()).input_check is None


def test_the_check_of_the_bundle_and_the_features_it_needs_are_at_hand(
    tiny_bundle: Write, input_check: InputCheck
) -> None:
    check = replace(input_check, familiarity=familiarity_of("frame_features"))
    bundle = with_check(tiny_bundle(), check, frame_features="frame_features", lungs="lungs")
    image = np.zeros((16, 16, 1), dtype=np.uint8)
    image[:8, :8] = 255

    predictor = LiteRtPredictor(bundle)
    prediction = predictor.predict(image)

    assert predictor.input_check is not None
    assert predictor.input_check.threshold == input_check.threshold
    assert set(prediction.features) == {"frame_features", "lungs"}
    np.testing.assert_allclose(prediction.features["frame_features"], [0.25, 1.0], atol=1e-6)
    assert prediction.features["lungs"].shape == (4, 4)


def test_a_changed_check_is_refused(tiny_bundle: Write, input_check: InputCheck) -> None:
    bundle = with_check(tiny_bundle(), input_check)
    replace(input_check, threshold=0.1).write(bundle.root / "input-check.npz")

    with pytest.raises(BundleError, match=r"input-check\.npz is not the file"):
        LiteRtPredictor(bundle)


def test_a_file_that_is_no_check_is_refused(tiny_bundle: Write, input_check: InputCheck) -> None:
    bundle = with_check(tiny_bundle(), input_check)
    junk = InputCheckFile(sha256=hashlib.sha256(b"junk").hexdigest())
    (bundle.root / junk.file).write_bytes(b"junk")
    manifest = bundle.manifest.model_copy(update={"input_check": junk})

    with pytest.raises(BundleError, match="no input check"):
        LiteRtPredictor(Bundle(bundle.root, manifest))


def test_a_check_that_needs_an_output_the_manifest_does_not_name_is_refused(
    tiny_bundle: Write, input_check: InputCheck
) -> None:
    check = replace(input_check, familiarity=familiarity_of("lung_features"))

    with pytest.raises(BundleError, match="lung_features"):
        LiteRtPredictor(with_check(tiny_bundle(), check, lungs="lungs"))


@pytest.mark.parametrize("field", ["mean", "spread", "bias"])
def test_a_check_of_layouts_that_fails_on_a_radiograph_is_refused(
    tiny_bundle: Write, input_check: InputCheck, field: str
) -> None:
    layout = replace(input_check.layout, **{field: np.ones(7, np.float32)})

    with pytest.raises(BundleError, match="input check does not fit the model"):
        LiteRtPredictor(with_check(tiny_bundle(), replace(input_check, layout=layout)))


@pytest.mark.parametrize("changes", [{"mean": np.zeros(3, np.float32)}, {"axes": np.eye(3)}])
def test_a_check_made_for_other_features_is_refused(
    tiny_bundle: Write, input_check: InputCheck, changes: dict[str, Any]
) -> None:
    familiarity = replace(familiarity_of("frame_features"), **changes)
    check = replace(input_check, familiarity=familiarity)

    with pytest.raises(BundleError, match="input check does not fit the model"):
        LiteRtPredictor(with_check(tiny_bundle(), check, frame_features="frame_features"))


def test_a_check_that_knows_no_frontal_view_is_refused(
    tiny_bundle: Write, input_check: InputCheck
) -> None:
    kinds = (Kind.OTHER, *input_check.layout.kinds[1:])
    blind = replace(input_check, layout=replace(input_check.layout, kinds=kinds))

    with pytest.raises(BundleError, match="no frontal view"):
        LiteRtPredictor(with_check(tiny_bundle(), blind))


def test_an_output_that_the_model_lacks_is_refused(tiny_bundle: Write) -> None:
    bundle = tiny_bundle(outputs={"lungs": "hearts"})

    with pytest.raises(BundleError, match="hearts"):
        LiteRtPredictor(bundle)
