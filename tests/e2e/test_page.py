"""The page, in a real browser."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Route, expect

from support.compose import ComposeStack


def test_a_dropped_radiograph_is_answered_on_the_page(
    stack: ComposeStack, browser: Browser, radiographs: list[Path], artifacts: Path
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1100})
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    outside: list[str] = []
    page.on(
        "request",
        lambda r: outside.append(r.url) if not r.url.startswith((stack.url, "blob:")) else None,
    )
    page.goto(stack.url)
    page.set_input_files("input[type=file]", radiographs[0])
    card = page.locator("article.card")
    answers = any_of("TB Positive", "Normal", "Indeterminate")
    expect(card.locator(".prediction-text")).to_have_text(answers, timeout=60_000)
    heatmap = card.locator("img.heat")
    # Over a radiograph below the threshold the map starts switched off.
    card.get_by_label("Heat map", exact=True).check()
    expect(heatmap).to_be_visible()
    expect(card.locator("img.radiograph")).to_be_visible()
    expect(page.get_by_text("not a medical device")).to_be_visible()
    page.screenshot(path=artifacts / "page.png", full_page=True)
    assert heatmap.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert complaints == []
    assert outside == [], "the page must work without a network"


def test_a_radiograph_chosen_before_the_scripts_have_come_is_read(
    stack: ComposeStack, browser: Browser, radiographs: list[Path]
) -> None:
    page = browser.new_page()
    held: list[Route] = []
    page.route("**/static/main.js", lambda route: held.append(route))
    with page.expect_request("**/static/main.js"):
        page.goto(stack.url, wait_until="commit")
    page.set_input_files("input[type=file]", radiographs[0])
    assert page.locator("article.card").count() == 0
    held[0].continue_()
    expect(page.locator(".prediction-text")).not_to_have_text("", timeout=60_000)


def test_a_file_that_is_no_image_is_explained(
    stack: ComposeStack, browser: Browser, tmp_path: Path
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("not a radiograph")
    page = browser.new_page()
    page.goto(stack.url)
    page.set_input_files("input[type=file]", text)
    expect(page.locator(".failure")).to_contain_text("PNG", timeout=30_000)


def any_of(*texts: str) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, texts)))
