"""What the API promises its clients, drawn from its OpenAPI document and kept in a file.

tests/gateway/test_v1_stays.py compares `tests/gateway/data/v1.json` with the gateway, and does not
write it. After an addition, from the repository's root:

    PYTHONPATH=tests .venv/bin/python -m support.api_promises

It adds what is new. Where a promise would be broken it names it and writes nothing: such a line is
changed in the file by hand, or not at all.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from tbscreen_gateway.app import create_app
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.errors import HTTP_STATUS, ErrorCode

Promises = dict[str, dict[str, list[str]]]
"""By operation, by schema and of the error codes: lines, by what they say of it."""

FILE: Final = Path(__file__).parents[1] / "gateway" / "data" / "v1.json"

_NEEDS: Final = "needs"
_CAN_ONLY_BE: Final = "can only be"
_MAY_NOT_GROW: Final = (_NEEDS, _CAN_ONLY_BE)
"""Requests that were valid stay so, and who waits for a final status knows them all."""


def read_promises() -> Promises:
    """Returns what is promised."""
    promises: Promises = json.loads(FILE.read_text(encoding="utf-8"))
    return promises


def promises_of(document: dict[str, Any]) -> Promises:
    """Returns what an OpenAPI document promises."""
    schemas = document["components"]["schemas"]
    found: Promises = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            found[name] = _promises_of_operation(operation, schemas)
            for callback in operation.get("callbacks", {}).values():
                (sent,) = (sent for methods in callback.values() for sent in methods.values())
                found[f"{name}, its callback"] = {"brings": sorted(_parts(sent))}
    for name, schema in schemas.items():
        found[f"schema {name}"] = _promises_of_schema(name, schema)
    codes = schemas["ErrorCode"]["enum"]
    found["error codes"] = {
        "have": sorted(f"{code} {HTTP_STATUS[ErrorCode(code)]}" for code in codes)
    }
    return found


def broken_promises(promised: Promises, found: Promises) -> list[str]:
    """Returns a line for each thing that is no more, or that requests need and did not need."""
    broken = []
    for name, by_aspect in promised.items():
        if name not in found:
            broken.append(f"{name} is gone")
            continue
        for aspect in sorted(by_aspect.keys() | found[name].keys()):
            before = set(by_aspect.get(aspect, ()))
            now = set(found[name].get(aspect, ()))
            gone = set() if aspect == _NEEDS else before - now
            come = now - before if aspect in _MAY_NOT_GROW else set()
            broken += [f"{name} no more {aspect} {line}" for line in sorted(gone)]
            broken += [f"{name} now {aspect} {line}" for line in sorted(come)]
    return broken


def _promises_of_operation(
    operation: dict[str, Any], schemas: dict[str, Any]
) -> dict[str, list[str]]:
    takes = list(_parts(operation))
    needs = [_place(item) for item in operation.get("parameters", ()) if item.get("required")]
    body = operation.get("requestBody", {})
    if body.get("required"):
        needs.append("a body")
    for media_type, content in body.get("content", {}).items():
        schema = content["schema"]
        schema = schemas[_name_of(schema)] if "$ref" in schema else schema
        for field, inner in schema.get("properties", {}).items():
            takes += _lines(f"{media_type} {field}", inner)
        needs += [f"{media_type} {field}" for field in schema.get("required", ())]
    return {
        "takes": sorted(takes),
        _NEEDS: sorted(needs),
        "answers": sorted(_answers(operation["responses"])),
    }


def _promises_of_schema(name: str, schema: dict[str, Any]) -> dict[str, list[str]]:
    if values := list(_values(schema)):
        return {_CAN_ONLY_BE if name.endswith("Status") else "may be": sorted(values)}
    fields = schema.get("properties", {})
    return {
        "has": sorted(line for field, inner in fields.items() for line in _lines(field, inner)),
        "always has": sorted(schema.get("required", ())),
    }


def _parts(operation: dict[str, Any]) -> Iterator[str]:
    """Yields the parameters, and what bodies there may be."""
    for item in operation.get("parameters", ()):
        yield from _lines(_place(item), item["schema"])
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"body {media_type}: {_type_of(content['schema'])}"


def _answers(responses: dict[str, Any]) -> Iterator[str]:
    for status, answer in responses.items():
        yield status
        for media_type, content in answer.get("content", {}).items():
            yield f"{status} {media_type}: {_type_of(content.get('schema', {}))}"
        for header, described in answer.get("headers", {}).items():
            yield f"{status} {header}"
            if described["required"]:
                yield f"{status} always {header}"


def _place(parameter: dict[str, Any]) -> str:
    return f"{parameter['in']} {parameter['name']}"


def _lines(name: str, schema: dict[str, Any]) -> Iterator[str]:
    """Yields the type of a field or parameter, and the values where they are listed in place."""
    yield f"{name}: {_type_of(schema)}"
    yield from (f"{name} = {value}" for value in _values(schema))


def _type_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _name_of(schema)
    if "type" not in schema:
        ways = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or ()
        return " | ".join(sorted(map(_type_of, ways))) or "anything"
    kind: str = schema["type"]
    if kind == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})]
        return f"[{', '.join(map(_type_of, items))}]"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"{kind} of {_type_of(schema['additionalProperties'])}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def _values(schema: dict[str, Any]) -> Iterator[str]:
    for value in schema.get("enum", [schema["const"]] if "const" in schema else []):
        yield str(value)
    for way in schema.get("anyOf", ()):
        yield from _values(way)


def _name_of(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def main() -> None:
    """Writes the file anew, unless that breaks a promise."""
    settings = GatewaySettings(redis_url=SecretStr("redis://127.0.0.1"))
    found = promises_of(create_app(settings).openapi())
    if FILE.exists() and (broken := broken_promises(read_promises(), found)):
        sys.exit("\n".join(broken))
    FILE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
