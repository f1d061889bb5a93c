"""One hostile file and how reading it may end."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

READ: Final = "read"
"""The outcome of a file that is read; every other outcome is an error code."""

UNREADABLE: Final = "unreadable_image"
TOO_LARGE: Final = "image_too_large"
UNSUPPORTED: Final = "unsupported_media_type"

MIB: Final = 2**20


@dataclass(frozen=True)
class Case:
    """A file, made when it is asked for: some are tens of megabytes.

    Attributes:
        name: unique within the corpus; its first word is the format.
        make: returns the file's bytes.
        allowed: the outcomes that are right.
    """

    name: str
    make: Callable[[], bytes]
    allowed: frozenset[str]


def case(name: str, content: Callable[[], bytes] | bytes, *allowed: str) -> Case:
    make = (lambda: content) if isinstance(content, bytes) else content
    return Case(name, make, frozenset(allowed))


def either(name: str, content: Callable[[], bytes] | bytes) -> Case:
    """A file that may be read or refused, as long as it is one of these."""
    return case(name, content, READ, UNREADABLE, TOO_LARGE)


def truncations(name: str, content: bytes, boundaries: Iterable[int]) -> Iterator[Case]:
    """Cuts at each boundary of a structure, and one byte before and behind it.

    What is cut behind the pixels may be read: all of the radiograph is there.
    """
    cuts = {cut for boundary in boundaries for cut in (boundary - 1, boundary, boundary + 1)}
    for cut in sorted(cut for cut in cuts if 0 < cut < len(content)):
        yield case(f"{name}, cut at {cut}", content[:cut], READ, UNREADABLE, UNSUPPORTED)
