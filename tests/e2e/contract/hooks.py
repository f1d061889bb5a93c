"""Gives schemathesis something to upload: without it every file would be refused as unreadable."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.transport.serialization import Binary

sys.path.insert(0, str(Path(__file__).parents[2]))
from support.phantom import draw_phantom  # the path above finds it
from support.zip_files import zip_of


def _radiograph() -> bytes:
    stream = io.BytesIO()
    draw_phantom(1, size=(400, 400)).save(stream, "PNG")
    return stream.getvalue()


RADIOGRAPH = Binary(_radiograph())


# Set for a gateway that sends callbacks. In its container nobody listens there: delivered in vain.
CALLBACK = os.environ.get("TBSCREEN_CONTRACT_CALLBACK")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Gives the uploads that can be accepted a callback, where they bring none of their own."""
    wants = case.operation.label in ("POST /v1/jobs", "POST /v1/batches")
    film = wants and isinstance(case.body, dict) and case.body.get("file")
    is_film = any(part is RADIOGRAPH for part in (film if isinstance(film, list) else [film]))
    if CALLBACK and is_film and "callback_url" not in (case.query or {}):
        case.query = {**(case.query or {}), "callback_url": CALLBACK}


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Notes what was answered, for the test to count."""
    answer = {
        "operation": case.operation.label,
        "status": response.status_code,
        "callback": bool(CALLBACK) and (case.query or {}).get("callback_url") == CALLBACK,
    }
    with Path(os.environ["TBSCREEN_CONTRACT_ANSWERS"]).open("a") as stream:
        stream.write(json.dumps(answer) + "\n")


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Half of the well-formed uploads become a radiograph, a batch of some, or a zip of one."""
    if not isinstance(body, dict):
        return body
    match body:
        case {"file": Binary(data=file)} if len(file) % 2:
            return {**body, "file": RADIOGRAPH}
        case {"file": [Binary(data=first), *rest]} if len(first) % 2:
            return {**body, "file": [RADIOGRAPH, *rest]}
        case {"archive": Binary(data=archive)} if len(archive) % 2:
            packed = zip_of(("film.png", RADIOGRAPH.data), ("note.txt", archive))
            return {**body, "archive": Binary(packed)}
    return body
