"""The OpenAPI document: FastAPI's, put right where the gateway answers otherwise."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from tbscreen_gateway.answer_headers import REQUEST_ID, Headers, sometimes
from tbscreen_gateway.problems import PROBLEM_MEDIA_TYPE


class DescribedApp(FastAPI):
    """An application that describes its answers as they are."""

    def openapi(self) -> dict[str, Any]:
        """Returns the document, the same one each time."""
        document = super().openapi()
        # Each step may be done again: of two threads that ask first, both do.
        for status, answer in _answers(document):
            answer["headers"] = {**_request_id(status), **answer.get("headers", {})}
            _use_own_media_type(answer.get("content", {}))
        for schema in document["components"]["schemas"].values():
            # A model refuses fields it does not know; who reads an answer may not, since some are
            # added within /v1.
            if schema.get("additionalProperties") is False:
                schema.pop("additionalProperties", None)
        return document


def _answers(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in document["paths"].values():
        for operation in methods.values():
            yield from operation["responses"].items()


def _request_id(status: str) -> Headers:
    # A connection too many is refused with 503 before its request is read, so that it has no id.
    return sometimes(REQUEST_ID) if status == "503" else REQUEST_ID


def _use_own_media_type(contents: dict[str, Any]) -> None:
    """FastAPI puts a model's schema under application/json, beside the problem's examples."""
    problem = contents.get(PROBLEM_MEDIA_TYPE)
    added = contents.get("application/json")
    if problem is not None and added is not None and "examples" not in added:
        problem["schema"] = added["schema"]
        contents.pop("application/json", None)
