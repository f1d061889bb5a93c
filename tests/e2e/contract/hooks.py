"""Gives schemathesis something to upload: without it every file would be refused as unreadable."""

import io
import sys
from pathlib import Path
from typing import Any

import schemathesis

sys.path.insert(0, str(Path(__file__).parents[2]))
from support.phantom import draw_phantom  # the path above finds it
from support.zip_files import zip_of


def _radiograph() -> bytes:
    stream = io.BytesIO()
    draw_phantom(1, size=(400, 400)).save(stream, "PNG")
    return stream.getvalue()


RADIOGRAPH = _radiograph()


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Half of the well-formed uploads become a radiograph, a batch of some, or a zip of one."""
    if not isinstance(body, dict):
        return body
    match body:
        case {"file": bytes(file)} if len(file) % 2:
            return {**body, "file": RADIOGRAPH}
        case {"file": [bytes(first), *rest]} if len(first) % 2:
            return {**body, "file": [RADIOGRAPH, *rest]}
        case {"archive": bytes(archive)} if len(archive) % 2:
            return {**body, "archive": zip_of(("film.png", RADIOGRAPH), ("note.txt", archive))}
    return body
