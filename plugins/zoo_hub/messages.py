"""Messages of the hub for people: its reasons without secrets, and the waits that it asks for."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from huggingface_hub import get_token
from huggingface_hub.errors import HfHubHTTPError

# Documented there, but loaded in a way that type checkers do not see.
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

__all__ = ["LOG", "requested_wait", "host", "waits_as_warnings", "reason", "without_secrets"]

LOG = logging.getLogger("zoo")
"""The command line prints what comes here on stderr."""
CLIENT = logging.getLogger("huggingface_hub")

LONGEST = 300
SECRETS = re.compile(r"\w+://\S+|hf_\w+|(?i:bearer)\s+\S+")
"""Addresses may be signed, so they are taken out as tokens are."""
WAITS = re.compile(r"(?:Retrying in|Waiting) ([\d.]+)s")


def host(url: str) -> str:
    """Host and port of ``url``, without user name and password."""
    parts = urlsplit(url)
    return f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""


def reason(error: HfHubHTTPError, hub: str) -> str:
    """Why the hub refuses, in its own words; empty if it does not say.

    What another host answers (a store of large files that the hub redirects to) stays out: it
    repeats signatures.
    """
    if host(str(error.response.url)) != hub:
        return ""
    return without_secrets(error.server_message or "")


def without_secrets(text: str) -> str:
    """A text of the hub as one line, without tokens and addresses, and not endless."""
    token = get_token()
    if token:
        text = text.replace(token, "…")
    line = " ".join(SECRETS.sub("…", text).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def requested_wait(error: Exception) -> int:
    """Seconds that the hub asks to wait; 0 if it does not say."""
    if not isinstance(error, HfHubHTTPError):
        return 0
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    if error.response.status_code == 429 and limit is not None and limit.remaining == 0:
        return int(limit.reset_in_seconds)
    value = headers.get("Retry-After", "")
    if re.fullmatch(r"\d{1,9}", value, re.ASCII):
        return int(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return 0
    left = until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)
    return max(0, round(left.total_seconds()))


@contextmanager
def waits_as_warnings(hub: str) -> Iterator[None]:
    """While it is open, the client's own log lines are not shown: they have signed addresses. Its
    waits become warnings of ours.
    """
    handlers, propagate = CLIENT.handlers[:], CLIENT.propagate
    CLIENT.handlers, CLIENT.propagate = [_Waits(hub)], False
    try:
        yield
    finally:
        CLIENT.handlers, CLIENT.propagate = handlers, propagate


class _Waits(logging.Handler):
    """Turns the waits among the client's log lines into warnings, and drops the rest."""

    def __init__(self, hub: str) -> None:
        super().__init__()
        self._hub = hub

    def emit(self, record: logging.LogRecord) -> None:
        if match := WAITS.search(record.getMessage()):
            seconds = float(match[1])
            LOG.warning("the hub %s cannot be used now; next try in %.0f s", self._hub, seconds)
