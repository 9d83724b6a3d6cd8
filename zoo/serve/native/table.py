"""Table: what is answered to zoo's own client."""

from __future__ import annotations

from zoo.serve.http.router import Route
from zoo.serve.hub.ask import Hub
from zoo.serve.native import parts, reading, reports, tokens, writing

__all__ = ["NATIVE"]

KEY = "/zoo/v1/store/{key...}"
PARTS = "/zoo/v1/parts"
RUNS = "/zoo/v1/runs"
TOKENS = "/zoo/v1/tokens"
REPORT = ("NoToken", "Forbidden", "BadRequest", "Conflict", "DiskFull", "Busy")
SEND = ("NoToken", "Forbidden", "BadRequest", "Mismatch", "TooSlow", "DiskFull", "Busy")

NATIVE: tuple[Route[Hub], ...] = (
    Route("GET", "/zoo/v1", "listed", reading.about, "what this is, and whose token it is"),
    Route("POST", "/zoo/v1/stat", "listed", reading.stat, "the sizes of what is there of many keys",
          body=reading.Keys, errors=("BadRequest", "NoToken", "Forbidden")),
    Route("GET", "/zoo/v1/refs", "listed", reading.newest,
          "the newest entries of the names that may be read"),
    Route("GET", "/zoo/v1/list/{folder...}", "listed", reading.list_folder,
          "the entries of names; for admins, what is in the store"),
    Route("GET", KEY, "listed", reading.get, "what is under a key",
          errors=("RangeNotSatisfiable", "Damaged")),
    Route("PUT", KEY, "account", writing.put, "keep something under a key", streams=True,
          errors=(*SEND, "Exists", "Lacking")),
    Route("DELETE", KEY, "account", writing.delete, "delete something, for admins",
          errors=("NoToken", "Forbidden", "BadRequest")),
    Route("GET", f"{PARTS}/{{key...}}", "account", parts.sent_parts, "which parts were sent",
          errors=("NoToken", "Forbidden", "BadRequest")),
    Route("PUT", f"{PARTS}/{{part}}/{{key...}}", "account", parts.put_part, "a part", streams=True,
          errors=SEND),
    # As a stream, so that a token takes a share of the places for what takes long.
    Route("POST", f"{PARTS}/{{key...}}", "account", parts.complete, "that all parts were sent",
          body=parts.Whole, streams=True, errors=(*SEND, "Lacking")),
    Route("POST", RUNS, "account", reports.tell_run,
          "begin a run that is reported, or say how it is now", body=reports.Run, errors=REPORT),
    Route("POST", f"{RUNS}/{{id}}/lines/{{generation}}/{{at}}", "account", reports.add_lines,
          "add lines to its journal", streams=True, errors=(*REPORT, "Mismatch", "TooSlow")),
    Route("PUT", f"{RUNS}/{{id}}/{{file}}", "account", reports.put_file, "keep one of its results",
          streams=True, errors=(*REPORT, "Mismatch", "TooSlow")),
    Route("DELETE", f"{RUNS}/{{id}}", "account", reports.delete_run, "delete it",
          errors=("NoToken", "Forbidden")),
    Route("GET", TOKENS, "account", tokens.list_tokens, "one's own tokens, without their secrets",
          errors=("NoToken",)),
    Route("POST", TOKENS, "account", tokens.make_token, "make one, which is told this once",
          body=tokens.NewToken, errors=("NoToken", "Forbidden", "BadRequest")),
    Route("DELETE", f"{TOKENS}/{{id}}", "account", tokens.revoke_token, "revoke one",
          errors=("NoToken", "Forbidden")),
)  # fmt: skip
"""The routes."""
