"""Logging: JSON in containers, text at a terminal, the job and request ids on every line.

Never log a patient's data or a file's original name.
"""

import logging
import sys
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

__all__ = ["bound_contextvars", "configure_logging"]


def configure_logging(service: str, *, log_format: str = "json", level: str = "INFO") -> None:
    """Routes the standard library's logging through structlog, to standard error.

    Ids bound with `bound_contextvars(job_id=…)` appear on every line that the block logs, whichever
    library writes it.
    """

    def add_service(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event["service"] = service
        return event

    def drop_colour(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        # uvicorn repeats each message with terminal colours.
        event.pop("color_message", None)
        return event

    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        drop_colour,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
    ]
    rendering: list[structlog.types.Processor]
    if log_format == "json":
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        rendering = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
