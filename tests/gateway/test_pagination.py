import httpx
import pytest

from tbscreen_gateway.pagination import PageRequest, get_page_request, link_header, paginate
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.errors import ErrorCode


def pages(elements: list[str], limit: int) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page = paginate(elements, str, get_page_request(limit, cursor))
        found.append(list(page.elements))
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_following_the_cursors_leads_through_everything_once() -> None:
    assert pages(list("abcde"), 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert pages(list("abcd"), 2) == [["a", "b"], ["c", "d"]]
    assert pages([], 2) == [[]]
    assert pages(["Ünïcode/1", "Ünïcode/2"], 1) == [["Ünïcode/1"], ["Ünïcode/2"]]


def test_what_comes_and_goes_meanwhile_neither_hides_nor_repeats_another() -> None:
    first = paginate(list("abcdef"), str, PageRequest(3))
    second = paginate(list("a0bcCdef"), str, get_page_request(3, first.next_cursor))
    assert second.elements == ["d", "e", "f"]
    assert paginate(list("def"), str, get_page_request(3, first.next_cursor)).elements == [
        *("d", "e", "f")
    ]


@pytest.mark.parametrize("cursor", ["ÿ", "a", "!!!!", "_w", " "])
def test_a_cursor_that_no_page_has_said_is_refused(cursor: str) -> None:
    with pytest.raises(Refusal) as caught:
        get_page_request(10, cursor)
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert caught.value.errors is not None
    assert caught.value.errors[0].location == "query.cursor"


def test_the_link_leads_to_the_next_page_and_the_last_page_has_none() -> None:
    assert link_header("/v1/models", PageRequest(7), "YQ") == {
        "Link": '</v1/models?limit=7&cursor=YQ>; rel="next"'
    }
    assert link_header("/v1/models", PageRequest(7), None) == {}


async def test_each_answer_with_a_page_is_documented_with_its_link(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/openapi.json")).json()
    paged = {
        f"#/components/schemas/{name}"
        for name, schema in document["components"]["schemas"].items()
        if "next_cursor" in schema.get("properties", {})
    }
    found = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get("application/json", {})
                if content.get("schema", {}).get("$ref") in paged:
                    assert "Link" in answer.get("headers", {}), (method, path, status)
                    found.add((method, path))
    assert {("get", "/v1/models"), ("get", "/v1/dead-jobs"), ("post", "/v1/batches")} <= found
