import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tbscreen_shared.logging import bound_contextvars, configure_logging


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_every_line_is_json_with_the_bound_ids_whoever_logs(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logging("worker")
    with bound_contextvars(job_id="j1", request_id="r1"):
        structlog.get_logger("ours").info("screened", ms=3)
        logging.getLogger("theirs").warning("library %s", "says")
    logging.getLogger("theirs").warning("outside")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["screened", "library says", "outside"]
    assert [line.get("job_id") for line in lines] == ["j1", "j1", None]
    assert {line["service"] for line in lines} == {"worker"}
    assert lines[0]["ms"] == 3


def test_an_exception_stays_on_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("worker")
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("ours").exception("failed")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "ValueError: boom" in json.loads(lines[0])["exception"]
