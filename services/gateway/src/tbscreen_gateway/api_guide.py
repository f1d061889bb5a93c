"""Turns the OpenAPI document into what the documentation page shows.

FastAPI's own page loads its scripts from a CDN, and a clinic's box may have no network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tbscreen_gateway.problems import RETRY_AFTER_S, TITLES
from tbscreen_shared.errors import HTTP_STATUS, ErrorCode


@dataclass(frozen=True)
class Example:
    """A body, by name."""

    name: str
    value: Any


@dataclass(frozen=True)
class Answer:
    """One status an operation may answer with."""

    status: str
    description: str
    media_type: str
    examples: list[Example]

    @property
    def is_error(self) -> bool:
        """Whether it is a problem."""
        return self.status >= "400"


@dataclass(frozen=True)
class Parameter:
    """A query parameter, header, path part or form field."""

    name: str
    place: str
    required: bool
    description: str


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    access: str
    parameters: list[Parameter]
    answers: list[Answer]


@dataclass(frozen=True)
class CodeExplained:
    """One error code."""

    code: str
    status: int
    title: str
    retry_after_s: int | None


@dataclass(frozen=True)
class ApiGuide:
    """Everything the page shows."""

    description: str
    sections: dict[str, list[Operation]]
    codes: list[CodeExplained]


def describe_api(document: dict[str, Any]) -> ApiGuide:
    """Returns the operations by tag, in the document's order, and all error codes."""
    sections: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            sections.setdefault(operation["tags"][0], []).append(
                Operation(
                    anchor=operation["operationId"],
                    method=method.upper(),
                    path=path,
                    summary=operation["summary"],
                    description=operation.get("description", ""),
                    access=_access(operation),
                    parameters=list(_parameters(operation)),
                    answers=sorted(_answers(operation), key=lambda answer: answer.status),
                )
            )
    codes = [
        CodeExplained(code, HTTP_STATUS[code], TITLES[code], RETRY_AFTER_S.get(code))
        for code in ErrorCode
    ]
    return ApiGuide(document["info"]["description"], sections, codes)


def _access(operation: dict[str, Any]) -> str:
    """Returns what the operation asks of its caller, in words; nothing where it asks nothing."""
    ways: list[dict[str, list[str]]] = operation.get("security", [])
    if not ways:
        return ""
    scope = ", ".join(ways[-1]["Session"]) if "Session" in ways[-1] else ""
    if {} in ways:
        return f"Says more to a key or a session with the scope {scope}."
    return f"Takes a key or a session with the scope {scope}." if scope else "Takes a key."


def _parameters(operation: dict[str, Any]) -> Iterator[Parameter]:
    for item in operation.get("parameters", ()):
        yield Parameter(
            item["name"], item["in"], item.get("required", False), item.get("description", "")
        )
    for body in operation.get("requestBody", {}).get("content", {}).values():
        required = body["schema"].get("required", ())
        for name, field in body["schema"]["properties"].items():
            yield Parameter(name, "form", name in required, field.get("description", ""))


def _answers(operation: dict[str, Any]) -> Iterator[Answer]:
    for status, response in operation["responses"].items():
        for media_type, content in (response.get("content") or {"": {}}).items():
            examples = [
                Example(name, example["value"])
                for name, example in content.get("examples", {}).items()
            ]
            if "example" in content:
                examples.append(Example("", content["example"]))
            yield Answer(status, response["description"], media_type, examples)
