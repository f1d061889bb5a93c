"""Gives schemathesis something to upload: without it every file would be refused as unreadable."""

import io
import sys
from pathlib import Path
from typing import Any

import schemathesis

sys.path.insert(0, str(Path(__file__).parents[2]))
from support.phantom import draw_phantom  # the path above finds it


def _radiograph() -> bytes:
    stream = io.BytesIO()
    draw_phantom(1, size=(400, 400)).save(stream, "PNG")
    return stream.getvalue()


RADIOGRAPH = _radiograph()


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Half of the well-formed uploads become a radiograph."""
    if isinstance(body, dict) and isinstance(body.get("file"), bytes) and len(body["file"]) % 2:
        return {**body, "file": RADIOGRAPH}
    return body
