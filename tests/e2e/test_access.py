"""A gateway of the stack that needs keys, made with the stack's own command."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from support.compose import ComposeStack
from support.guarded_gateway import Guarded, guarded_gateway, keys


@pytest.fixture(scope="module")
def guarded(stack: ComposeStack) -> Iterator[Guarded]:
    with guarded_gateway(stack) as gateway:
        yield gateway


def test_published_beyond_this_machine_without_a_key_it_does_not_start(stack: ComposeStack) -> None:
    none = ("--env", "TBSCREEN_API_KEYS_FILE=/var/lib/tbscreen/keys/none.json")
    reachable = ("--env", "TBSCREEN_PUBLISHED_ON=0.0.0.0")
    with pytest.raises(RuntimeError, match="docker compose run --rm admin keys create"):
        stack.compose("run", "--rm", "-T", "--no-deps", *none, *reachable, "gateway")


def test_a_clinician_signs_in_reads_a_radiograph_and_signs_out(
    guarded: Guarded, browser: Browser, radiographs: list[Path]
) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(guarded.url)
    key = page.get_by_label("API key")
    key.fill(f"tbs_{'0' * 12}_{'0' * 64}")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#sign-in-problem")).to_have_text("The API key is not valid.")
    key.fill(guarded.token)
    key.press("Enter")
    expect(page.locator("#account-name")).to_have_text("Ward 3")
    page.set_input_files("input[type=file]", radiographs[0])
    expect(page.locator(".prediction-text")).not_to_have_text("", timeout=60_000)
    # Whose session ends in mid-work signs in again and loses nothing.
    page.context.clear_cookies()
    page.set_input_files("input[type=file]", radiographs[0])
    expect(page.locator(".failure h4").last).to_have_text("You are not signed in")
    key.fill(guarded.token)
    key.press("Enter")
    expect(page.locator("#sign-in")).to_be_hidden()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".prediction-text").last).not_to_have_text("", timeout=60_000)
    assert page.locator("article.card").count() == 2
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.locator("article.card").count() == 0
    assert complaints == []


def test_a_page_of_another_site_submits_nothing(guarded: Guarded, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(
        f"data:text/html,<form method=post action='{guarded.url}/v1/jobs'"
        " enctype=multipart/form-data><input name=file value=x></form>"
        "<script>document.forms[0].submit()</script>"
    )
    expect(page.locator("body")).to_contain_text("cross_site_request")


def test_a_key_that_is_revoked_opens_nothing_from_then_on(
    stack: ComposeStack, guarded: Guarded
) -> None:
    headers = {"Authorization": f"Bearer {guarded.token}"}
    assert httpx.get(f"{guarded.url}/v1/models", headers=headers).status_code == 200
    keys(stack, "revoke", guarded.key_id)
    assert httpx.get(f"{guarded.url}/v1/models", headers=headers).status_code == 401
