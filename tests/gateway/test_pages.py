import re

import httpx
import pytest

from tbscreen_gateway.problems import PROBLEM_MEDIA_TYPE, TITLES
from tbscreen_gateway.routes.pages import STATIC_DIR
from tbscreen_shared.contracts import Warning
from tbscreen_shared.errors import ErrorCode

# What only a client may see of its own requests, or only a program.
_NOT_SHOWN = {"misdirected_request", "not_found", "method_not_allowed", "model_not_found"} | {
    "malformed_request",
    "heatmap_not_available",
    "idempotency_conflict",
    "callback_not_allowed",
    "callback_not_found",
    "job_not_dead",
    "job_finished",
    "upload_gone",
    "batch_not_found",
    "batch_too_large",
    "no_file_accepted",
    "unreadable_archive",
    "unreadable_entry",
}

# Text, a picture, an HTML document, a file of any kind.
_NOT_JSON = {
    *("/livez", "/metrics", "/v1/jobs/{job_id}/heatmap.png"),
    *("/v1/models/{version}/report", "/v1/models/{version}/report/{path}"),
}


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_loads_nothing_from_afar_and_holds_nothing_inline(
    client: httpx.AsyncClient, path: str
) -> None:
    page = await client.get(path)
    assert page.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources
    assert all(source.startswith(("/", "#")) and source[:2] != "//" for source in sources)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page.text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_everything_a_page_refers_to_is_there(client: httpx.AsyncClient, path: str) -> None:
    text = (await client.get(path)).text
    for source in set(re.findall(r'(?:src|href)="(/[^"#]*)"', text)):
        assert (await client.get(source)).status_code == 200, source
    ids = re.findall(r'id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for anchor in re.findall(r'href="#([^"]+)"', text):
        assert anchor in ids


async def test_modules_import_modules_that_exist_and_are_scripts(
    client: httpx.AsyncClient,
) -> None:
    for script in STATIC_DIR.glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', script.read_text()):
            answer = await client.get(f"/static/{name}")
            assert answer.status_code == 200
            assert "javascript" in answer.headers["content-type"]


async def test_scripts_are_asked_for_anew_and_sent_only_when_changed(
    client: httpx.AsyncClient,
) -> None:
    first = await client.get("/static/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/static/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


async def test_no_page_is_without_the_sentence_that_it_is_no_medical_device(
    client: httpx.AsyncClient,
) -> None:
    for path in ("/", "/docs"):
        assert "not a medical device" in (await client.get(path)).text


async def test_the_page_can_explain_every_error_and_warning(client: httpx.AsyncClient) -> None:
    texts = (await client.get("/static/texts.js")).text
    for code in [*ErrorCode, *Warning]:
        if code not in _NOT_SHOWN:
            assert f"  {code}: [" in texts, code


async def test_the_guide_shows_each_operation_each_status_and_each_code(
    client: httpx.AsyncClient,
) -> None:
    guide = (await client.get("/docs")).text
    document = (await client.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            section = guide.split(f'id="{operation["operationId"]}"')[1].split("</section>")[0]
            assert f"{method.upper()}</span> <code>{path}</code>" in section
            for status in operation["responses"]:
                assert f"<strong>{status}</strong>" in section
    for code, title in TITLES.items():
        assert f'id="{code}"' in guide
        assert title in guide


async def test_every_json_answer_and_error_has_an_example(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    without = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if status in ("204", "304") or (path in _NOT_JSON and status == "200"):
                    continue
                contents = answer.get("content", {})
                is_problem = int(status) >= 400 and path != "/readyz"
                assert not is_problem or contents.keys() == {PROBLEM_MEDIA_TYPE}
                shown = contents.values()
                if not shown or not all({"example", "examples"} & item.keys() for item in shown):
                    without.append((method, path, status))
    assert not without, without


async def test_answers_may_have_more_fields_and_uploads_may_not(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert [name for name in schemas if schemas[name].get("additionalProperties") is False] == []
    for path in ("/v1/jobs", "/v1/batches"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert content["multipart/form-data"]["schema"]["additionalProperties"] is False


async def test_uploads_are_documented_as_a_form_with_a_file(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path in ("/v1/jobs", "/predict"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert content["multipart/form-data"]["schema"]["required"] == ["file"]
    content = document["paths"]["/v1/batches"]["post"]["requestBody"]["content"]
    schema = content["multipart/form-data"]["schema"]
    assert [one["required"] for one in schema["oneOf"]] == [["file"], ["archive"]]
