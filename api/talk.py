"""How processes talk to whoever runs them: on stderr, lines for people at a terminal, JSON for everything else."""

import logging
import os
import sys

import structlog


def configure_logs() -> None:
    """Set up structlog and the standard library's logging, uvicorn's among it. Called once, by a process's main."""
    for_people = sys.stderr.isatty()
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if for_people:
        processors.append(structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
