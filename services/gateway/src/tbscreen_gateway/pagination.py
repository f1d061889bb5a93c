"""Lists that can grow come in pages: `?limit=`, `?cursor=`, and where the next one is found.

A cursor names the last element of the page before, so that elements which come or go meanwhile
neither hide nor repeat another.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import Field

from tbscreen_gateway.problems import FieldProblem, Refusal
from tbscreen_shared.errors import ErrorCode

_DEFAULT_LIMIT: Final = 100
_MAX_LIMIT: Final = 1000
_MAX_CURSOR_CHARACTERS: Final = 256

_Element = TypeVar("_Element")

NextCursor = Annotated[
    str | None,
    Field(description="ask with ?cursor= for the next page; null on the last one"),
]


@dataclass(frozen=True)
class PageRequest:
    """Which part of a list is asked for.

    Attributes:
        limit: how many elements at most.
        after: the key of the element before the page; empty for the first page.
    """

    limit: int = _DEFAULT_LIMIT
    after: str = ""


@dataclass(frozen=True)
class Page(Generic[_Element]):
    """A part of a list, and the cursor of the next one."""

    elements: Sequence[_Element]
    next_cursor: str | None


def get_page_request(
    limit: Annotated[
        int, Query(ge=1, le=_MAX_LIMIT, description="Elements on a page.", examples=[100])
    ] = _DEFAULT_LIMIT,
    cursor: Annotated[
        str | None,
        Query(
            max_length=_MAX_CURSOR_CHARACTERS,
            description="The page before said it as next_cursor; none for the first page.",
        ),
    ] = None,
) -> PageRequest:
    """The page that a request asks for."""
    return PageRequest(limit) if cursor is None else PageRequest(limit, _key_of(cursor))


def paginate(
    elements: Sequence[_Element], key: Callable[[_Element], str], asked: PageRequest
) -> Page[_Element]:
    """Returns the page of a list.

    Args:
        elements: all of them, sorted by key; keys of one length sort as their text does.
        key: tells one element from the others, and never changes.
        asked: which page.
    """
    following = [element for element in elements if key(element) > asked.after]
    page = following[: asked.limit]
    return Page(page, _cursor_to(key(page[-1])) if len(page) < len(following) else None)


def link_header(path: str, asked: PageRequest, next_cursor: str | None) -> dict[str, str]:
    """Returns the Link header (RFC 8288) that leads to the next page, if there is one."""
    if next_cursor is None:
        return {}
    return {"Link": f'<{path}?limit={asked.limit}&cursor={next_cursor}>; rel="next"'}


def _cursor_to(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _key_of(cursor: str) -> str:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise Refusal(
            ErrorCode.INVALID_REQUEST,
            "A parameter is not valid.",
            errors=[FieldProblem(location="query.cursor", message="no page has said this cursor")],
        ) from None


PageDep = Annotated[PageRequest, Depends(get_page_request)]
