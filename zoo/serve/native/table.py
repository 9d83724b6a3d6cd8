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
    Route(
        method="GET",
        path="/zoo/v1",
        scope="listed",
        handler=reading.about,
        summary="what this is, and whose token it is",
    ),
    Route(
        method="POST",
        path="/zoo/v1/stat",
        scope="listed",
        handler=reading.stat,
        body=reading.Keys,
        errors=("BadRequest", "NoToken", "Forbidden"),
        summary="the sizes of what is there of many keys",
    ),
    Route(
        method="GET",
        path="/zoo/v1/refs",
        scope="listed",
        handler=reading.newest,
        summary="the newest entries of the names that may be read",
    ),
    Route(
        method="GET",
        path="/zoo/v1/list/{folder...}",
        scope="listed",
        handler=reading.list_folder,
        summary="the entries of names; for admins, what is in the store",
    ),
    Route(
        method="GET",
        path=KEY,
        scope="listed",
        handler=reading.get,
        errors=("RangeNotSatisfiable", "Damaged"),
        summary="what is under a key",
    ),
    Route(
        method="PUT",
        path=KEY,
        scope="account",
        handler=writing.put,
        streams=True,
        errors=(*SEND, "Exists", "Lacking"),
        summary="keep something under a key",
    ),
    Route(
        method="DELETE",
        path=KEY,
        scope="account",
        handler=writing.delete,
        errors=("NoToken", "Forbidden", "BadRequest"),
        summary="delete something, for admins",
    ),
    Route(
        method="GET",
        path=f"{PARTS}/{{key...}}",
        scope="account",
        handler=parts.sent_parts,
        errors=("NoToken", "Forbidden", "BadRequest"),
        summary="which parts were sent",
    ),
    Route(
        method="PUT",
        path=f"{PARTS}/{{part}}/{{key...}}",
        scope="account",
        handler=parts.put_part,
        streams=True,
        errors=SEND,
        summary="a part",
    ),
    Route(
        method="POST",
        path=f"{PARTS}/{{key...}}",
        scope="account",
        handler=parts.complete,
        body=parts.Whole,
        streams=True,  # so a token takes a share of the places for what takes long
        errors=(*SEND, "Lacking"),
        summary="that all parts were sent",
    ),
    Route(
        method="POST",
        path=RUNS,
        scope="account",
        handler=reports.tell_run,
        body=reports.Run,
        errors=REPORT,
        summary="begin a run that is reported, or say how it is now",
    ),
    Route(
        method="POST",
        path=f"{RUNS}/{{id}}/lines/{{generation}}/{{at}}",
        scope="account",
        handler=reports.add_lines,
        streams=True,
        errors=(*REPORT, "Mismatch", "TooSlow"),
        summary="add lines to its journal",
    ),
    Route(
        method="PUT",
        path=f"{RUNS}/{{id}}/{{file}}",
        scope="account",
        handler=reports.put_file,
        streams=True,
        errors=(*REPORT, "Mismatch", "TooSlow"),
        summary="keep one of its results",
    ),
    Route(
        method="DELETE",
        path=f"{RUNS}/{{id}}",
        scope="account",
        handler=reports.delete_run,
        errors=("NoToken", "Forbidden"),
        summary="delete it",
    ),
    Route(
        method="GET",
        path=TOKENS,
        scope="account",
        handler=tokens.list_tokens,
        errors=("NoToken",),
        summary="one's own tokens, without their secrets",
    ),
    Route(
        method="POST",
        path=TOKENS,
        scope="account",
        handler=tokens.make_token,
        body=tokens.NewToken,
        errors=("NoToken", "Forbidden", "BadRequest"),
        summary="make one, which is told this once",
    ),
    Route(
        method="DELETE",
        path=f"{TOKENS}/{{id}}",
        scope="account",
        handler=tokens.revoke_token,
        errors=("NoToken", "Forbidden"),
        summary="revoke one",
    ),
)
"""The routes."""
