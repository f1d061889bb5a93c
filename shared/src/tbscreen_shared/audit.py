"""The audit log's lines: what one says, and how it is chained to the line before.

    {"seq":7,"at":"2026-11-22T09:30:00.120000Z","event":"succeeded","job":"…","model":"…","prev":"…"}

`prev` is the SHA-256 of the line before, without its line feed: a line that is changed, removed or
put elsewhere no longer fits. `mac`, where the gateway has a key, is the HMAC-SHA256 of the line as
it is without it: who has no key can not make the chain anew either.
"""

import hashlib
import hmac
import re
from pathlib import Path
from typing import Annotated, Final, NamedTuple, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    model_validator,
)

GENESIS: Final = "0" * 64
"""What the first line of a log is chained to."""

SET_BACK: Final = "sequence_set_back"
"""A line of the writer's own: the numbers begin again at `to`, since Redis is an older one."""

LOG_DIFFERS: Final = "log_differs"
"""A line of the writer's own: the line with which the log ended, when last written, is gone."""

SIGNING_BEGAN: Final = "signing_began"
"""A line of the writer's own: what is before it is not signed with the writer's key."""

UNREADABLE_ENTRY: Final = "unreadable_entry"
"""A line of the writer's own: the stream held something that no part of tbscreen writes."""

MAX_VALUE_CHARACTERS: Final = 256
MAX_DETAILS: Final = 16

_FILE_NAME: Final = re.compile(r"audit-(\d{6,})\.jsonl")
_MAC: Final = re.compile(rb',"mac":"([0-9a-f]{64})"\}\Z')

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, StringConstraints(max_length=MAX_VALUE_CHARACTERS)]


class AuditEntry(BaseModel):
    """What happened. Its details (key, request, sha256, model, code, …) are extra fields.

    Attributes:
        seq: number of the entry, without gaps; None for a line of the writer's own.
        at: when, by Redis' clock.
        event: what.
        job: id of the job it happened to, if it happened to one.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, int | _Text] = Field(init=False)

    seq: PositiveInt | None = None
    at: AwareDatetime
    event: str = Field(pattern=r"^[a-z_]{1,40}$")
    job: _Text | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if len(self.__pydantic_extra__) > MAX_DETAILS:
            raise ValueError(f"more than {MAX_DETAILS} details")
        if not self.__pydantic_extra__.keys().isdisjoint(("prev", "mac")):
            raise ValueError("prev and mac belong to the line")
        return self

    @property
    def details(self) -> dict[str, int | str]:
        """The fields beside the four that every entry may have."""
        return dict(self.__pydantic_extra__)


class AuditLine(AuditEntry):
    """An entry in its place in the log."""

    prev: Digest
    mac: Digest | None = None

    def entry(self) -> AuditEntry:
        """Returns the entry without its place."""
        return AuditEntry.model_validate(self.model_dump(exclude={"prev", "mac"}))


class Head(NamedTuple):
    """Where a log ends: the newest entry's number, 0 for none, and the last line's SHA-256."""

    seq: int
    sha256: str


EMPTY: Final = Head(0, GENESIS)


def write_line(entry: AuditEntry, prev: str, key: bytes | None) -> bytes:
    """Returns the entry as a line, chained to `prev` and signed if there is a key; no line feed."""
    body = entry.model_dump_json(exclude_none=True).encode()[:-1] + f',"prev":"{prev}"}}'.encode()
    return body if key is None else body[:-1] + f',"mac":"{_sign(body, key)}"}}'.encode()


def read_line(line: bytes) -> AuditLine:
    """Returns what a line says.

    Raises:
        ValueError: it is no line of an audit log.
    """
    return AuditLine.model_validate_json(line)


def digest(line: bytes) -> str:
    """Returns what the next line is chained to."""
    return hashlib.sha256(line).hexdigest()


def is_signed(line: bytes, key: bytes) -> bool:
    """Tells whether a line was signed with the key, as it stands."""
    found = _MAC.search(line)
    if found is None:
        return False
    return hmac.compare_digest(found[1].decode(), _sign(line[: found.start()] + b"}", key))


def _sign(body: bytes, key: bytes) -> str:
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def log_files(directory: Path) -> list[Path]:
    """Returns a log's files, oldest first.

    Raises:
        OSError: the folder can not be read.
    """
    named = [path for path in directory.iterdir() if _FILE_NAME.fullmatch(path.name)]
    return sorted(named, key=file_number)


def file_number(path: Path) -> int:
    """Returns the number in a log file's name, from 1; 0 where it is named otherwise."""
    found = _FILE_NAME.fullmatch(path.name)
    return int(found[1]) if found else 0


def file_name(number: int) -> str:
    """Returns the name of a log's file."""
    return f"audit-{number:06}.jsonl"
