"""What is no frontal chest radiograph, sent over HTTP to the published model."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from support.radiographs import radiograph_files
from support.serving import MODELS_DIR, ROOT, Serving, running_serve
from tbscreen import Client, JobFailed
from tbscreen_shared.bundle import ModelStore
from tbscreen_shared.input_check import InputCheck


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_serve(tmp_path_factory.mktemp("serve")) as running:
        yield running


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with Client(serving.url) as made:
        yield made


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory: pytest.TempPathFactory) -> Image.Image:
    path = radiograph_files(tmp_path_factory.mktemp("radiographs"))[0]
    with Image.open(path) as image:
        return image.convert("L")


def screenshot() -> Image.Image:
    return Image.open(sorted((ROOT / "docs" / "images").glob("*.png"))[0]).convert("RGB")


def letter() -> Image.Image:
    page = Image.new("L", (1240, 1754), 245)
    draw = ImageDraw.Draw(page)
    for line in range(40):
        text = "To whom it may concern, the patient was seen today. " * 2
        draw.text((90, 90 + 40 * line), text[line : line + 70], 20, ImageFont.load_default(28))
    return page


def landscape() -> Image.Image:
    sky = Image.linear_gradient("L").resize((1600, 700))
    view = Image.new("L", (1600, 1200), 90)
    view.paste(ImageOps.flip(sky), (0, 0))
    draw = ImageDraw.Draw(view)
    draw.polygon([(0, 700), (400, 250), (700, 600), (1100, 150), (1600, 700)], fill=60)
    draw.ellipse((1250, 80, 1400, 230), fill=250)
    for tree in range(30):
        x = 55 * tree
        draw.polygon([(x, 1000), (x + 25, 700 + 7 * (tree % 5)), (x + 50, 1000)], fill=30)
    return view


def as_png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def test_the_published_model_has_a_check_of_layouts_and_of_what_is_familiar() -> None:
    path = ModelStore(MODELS_DIR).load_active().input_check_path
    assert path is not None
    assert InputCheck.read(path).familiarity is not None


@pytest.mark.parametrize("picture", [screenshot, letter, landscape])
def test_a_picture_of_something_else_gets_no_prediction(
    picture: Callable[[], Image.Image], client: Client
) -> None:
    with pytest.raises(JobFailed) as refused:
        client.predict(as_png(picture()))

    error = refused.value.job.error
    assert error is not None
    assert error.code == "not_a_chest_radiograph"
    assert refused.value.job.result is None


def test_a_radiograph_on_its_side_is_refused_with_that_reason(
    client: Client, radiograph: Image.Image
) -> None:
    turned = radiograph.transpose(Image.Transpose.ROTATE_90)

    with pytest.raises(JobFailed) as refused:
        client.predict(as_png(turned))

    error = refused.value.job.error
    assert error is not None
    assert error.code == "not_a_chest_radiograph"
    assert "on its side" in error.message


def test_an_inverted_radiograph_is_answered_like_its_negative(
    client: Client, radiograph: Image.Image
) -> None:
    upright = client.predict(as_png(radiograph))
    inverted = client.predict(as_png(ImageOps.invert(radiograph)))

    assert "inverted" not in upright.warnings
    assert "inverted" in inverted.warnings
    assert inverted.probability == pytest.approx(upright.probability, abs=0.02)


def test_radiographs_are_answered_as_they_are_and_refused_upside_down(
    client: Client, tmp_path: Path
) -> None:
    for path in radiograph_files(tmp_path)[:8]:
        # A refusal raises.
        assert "inverted" not in client.predict(path).warnings, path.name
        with Image.open(path) as image:
            turned = ImageOps.flip(image.convert("L"))
        with pytest.raises(JobFailed) as refused:
            client.predict(as_png(turned))
        error = refused.value.job.error
        assert error is not None
        assert "upside down" in error.message, path.name
