"""Logs: what a server says on stderr, in lines for people or in JSON, and never a secret."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

from zoo.domain.progress import clean
from zoo.serve.who.tokens import without_tokens

__all__ = ["FORMATS", "Format", "logging_as", "without_secrets"]

Format = Literal["text", "json"]
FORMATS: tuple[Format, ...] = ("text", "json")
OTHERS = re.compile(r"\b(hf_)\w{16,}|\b(Bearer )[\w.~+/=-]+|\b(seal=)[\w.%=-]+", re.IGNORECASE)
"""Tokens of the hub, which people send here by mistake; whatever a header had; signed addresses."""
LOGGERS = ("zoo", "uvicorn")


def without_secrets(text: str) -> str:
    """A text without what somebody could ask by; the public part of a token stays."""
    return OTHERS.sub(r"\1\2\3…", without_tokens(text))


class _Lines(logging.Formatter):
    """A line for each record, whatever somebody's texts in it are; lines of a traceback begin with
    spaces.
    """

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as logging has it
        return clean(super().formatMessage(record))

    def formatException(self, ei: logging._SysExcInfoType) -> str:  # noqa: N802
        return "\n".join(f"  {clean(line)}" for line in super().formatException(ei).splitlines())


class _Json(logging.Formatter):
    """An object in a line for each record; of a request, with what is known of it."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return without_secrets(json.dumps(entry, ensure_ascii=False))


@contextmanager
def logging_as(kind: Format, level: int) -> Iterator[None]:
    """Have what the zoo and its server say go to stderr in one form."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if kind == "json" else _Lines("%(asctime)s %(message)s"))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:  # nobody else's: else warnings would be told twice
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
    serving = logging.getLogger("zoo.serve")
    serving.setLevel(level)
    try:
        yield
    finally:
        serving.setLevel(logging.NOTSET)
        for logger, (handlers, propagate, was) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(was)
