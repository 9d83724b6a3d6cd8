"""Reports: runs on other machines, as these tell of them while they go on.

Nothing that is told is believed of anything else: a run is shown to who may read the name that it
is to be saved under, and with the account that told it. Only that account adds to it, and a run
that is done stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from zoo.domain.heard import Heard
from zoo.domain.limits import (
    LARGEST,
    REPORTED_LINE_BYTES,
    REPORTED_LINES_BYTES,
    REPORTED_RUNS,
    REQUEST_BYTES,
)
from zoo.domain.plain import Json
from zoo.domain.recipe import public_options
from zoo.domain.reference import Reference
from zoo.errors import InvalidReference
from zoo.lookup.examples import SHEET
from zoo.lookup.reporting import (
    FINITE,
    ITEMS,
    LETTERS,
    LINES,
    METRICS_COUNT,
    NAME,
    OPTIONS,
    TEXT,
    is_number,
)
from zoo.lookup.run_files import PLAIN, SIZES, RunReport
from zoo.machine import shared_by
from zoo.reflog import now
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.quota import check_more
from zoo.serve.hub.reported import delete_reported, no_run, reported_by
from zoo.serve.keep.reported import ReportedRun
from zoo.serve.native.taking import small

__all__ = ["Run", "add_lines", "delete_run", "put_file", "tell_run"]

NUMBER = re.compile("[0-9]{1,12}")
NEIGHBORS = re.compile(r"\d{1,6}")

Text = Annotated[str, Meta(max_length=LETTERS)]
Long = Annotated[str, Meta(max_length=TEXT)]
Digest = Annotated[str, Meta(pattern="^(blake3:[0-9a-f]{64})?$")]
Figure = Annotated[float, Meta(ge=-FINITE, le=FINITE)]
Word = Annotated[str, Meta(max_length=64)]
Number = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Option = Text | bool | Number | Figure | None | Annotated[list[Text], Meta(max_length=OPTIONS)]


class RunResult(msgspec.Struct):
    """What a run that is done has made."""

    manifest: Digest
    metrics: Annotated[dict[Word, Figure], Meta(max_length=METRICS_COUNT)]
    warning: Long = ""
    gained: Long = ""
    seconds: Annotated[float, Meta(ge=0, le=FINITE)] = 0.0


class Run(msgspec.Struct):
    """How a run is; ``key`` tells it from others that began in the same microsecond."""

    run: Annotated[str, Meta(pattern=r"^\d{8}-\d{6}-\d{6}$")]
    key: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    save: Long
    base: Text
    parent: Digest
    started: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    device: Word
    status: Literal["running", "done", "interrupted", "failed"]
    recipe: Annotated[dict[Word, Option], Meta(max_length=200)]
    digests: Annotated[dict[Literal["data", "split", "test"], Digest], Meta(max_length=3)]
    result: RunResult | None = None


def tell_run(ask: Ask) -> Answer:
    """Begin a run here, or say how it is now; what is here of it."""
    report = ask.call.read(Run)
    try:
        ref = Reference.parse(report.save)
    except InvalidReference:
        raise Refused("BadRequest", "a run is to be saved under a name") from None
    ask.check_may("write", ref.path)
    if shared_by(ask.hub.workspace.root):  # what one machine keeps, the others do not show
        raise Refused("NotImplemented", "of several machines none keeps reports of runs")
    if report.status == "done" and report.result is None:
        raise Refused("BadRequest", "a run that is done has a result")
    if not all(map(str.isprintable, (report.base, report.device))):
        raise Refused("BadRequest", "what is told cannot be shown")
    whose = "\0".join((ask.actor.name, str(ref), report.key))
    name = f"{report.run}-{blake2b(whose.encode(), digest_size=8).hexdigest()}"
    run = ask.hub.reported.of(ref.namespace, name)
    check_more(ask, ref.path, len(ask.call.body))
    if run.read_record() is None:
        _check_new(ask, ref)
        run.make()
    try:
        with run.alone():
            there = run.read_record()
            if there is None or there["status"] != "done":
                run.keep({**_kept(ask, report, ref), **_since(there)})
            run.hear()
            size, digest = run.journal()
            kept = run.read_record() or {}
    except FileNotFoundError:  # its folder is
        raise Refused("Conflict", "the run was deleted just now: tell of it again") from None
    if there is None:
        ask.hub.accounts.audit.note("run reported", ref.path, name)
    return _answer(Heard(name, kept["generation"], size, digest, kept["status"]))


def _check_new(ask: Ask, ref: Reference) -> None:
    if ask.hub.reported.count(ref.namespace) >= REPORTED_RUNS:
        text = f"{ref.namespace} has {REPORTED_RUNS} reported runs: delete some first"
        raise Refused("Forbidden", text)


def _kept(ask: Ask, report: Run, ref: Reference) -> Json:
    """A run as those of the zoo are kept."""
    recipe: Json = report.recipe
    return {
        "base": report.base,
        "parent": report.parent,
        "save": str(ref),
        "recipe": public_options(recipe),
        "device": report.device,
        "started": report.started,
        "status": report.status,
        "provenance": {f"{part}_digest": digest for part, digest in report.digests.items()},
        "result": _result(report.result) if report.result and report.status == "done" else {},
        "reporter": ask.actor.name,
        "reported": now(),
        "generation": 1,
    }


def _result(run_result: RunResult) -> Json:
    result: Json = msgspec.to_builtins(run_result)
    return {**result, "gained": {"text": run_result.gained} if run_result.gained else None}


def _since(there: Json | None) -> Json:
    """What stays as it was when a run was first told of."""
    return {name: there[name] for name in ("reported", "generation")} if there else {}


def _own(ask: Ask, id: str) -> tuple[ReportedRun, str]:  # noqa: A002
    """A run that who asks has reported, and the repository that it is of.

    Raises:
        Refused: There is none, or it is another's, or they may not write any more.
    """
    run, record = reported_by(ask, id)
    path = Reference.parse(record["save"]).path
    ask.check_may("write", path)
    if record["reporter"] != ask.actor.name:
        raise Refused("Forbidden", f"{record['reporter']} reports this run, and nobody else")
    return run, path


def add_lines(ask: Ask, id: str, generation: str, at: str) -> Answer:  # noqa: A002
    """Add lines to the journal of a run, where that ends; at 0 of the next generation, in the
    place of all that it has.
    """
    run, path = _own(ask, id)
    if not (NUMBER.fullmatch(generation) and NUMBER.fullmatch(at)):
        raise Refused("BadRequest", "lines follow a number of bytes of a generation")
    lines, number, begin = small(ask.call.pieces, REQUEST_BYTES), int(generation), int(at)
    _check_lines(lines)
    if begin + len(lines) > REPORTED_LINES_BYTES:
        raise Refused("TooLarge", f"a run has at most {REPORTED_LINES_BYTES} bytes of lines")
    with run.alone():
        record, size = run.read_record(), run.size()
        if record is None:
            raise no_run()
        anew = begin == 0 and number == record["generation"] + 1
        if record["status"] == "done" or not (
            anew or (number, begin) == (record["generation"], size)
        ):
            raise Refused("Conflict", f"its journal has {size} bytes now: look again")
        check_more(ask, path, len(lines))
        if anew:
            run.begin_anew(lines)
            run.keep({**record, "generation": number})
        elif lines:
            run.append(lines)
        run.hear()
    return _answer(Heard(id, number, begin + len(lines), "", record["status"]))


def put_file(ask: Ask, id: str, file: str) -> Answer:  # noqa: A002
    """Keep one of the results of a run."""
    run, path = _own(ask, id)
    if file not in SIZES:
        raise Refused("NotFound", f"a run has {', '.join(SIZES)}")
    data = small(ask.call.pieces, SIZES[file])
    if file != SHEET:  # which is no image until it was looked at, each time
        data = _checked(data, PLAIN[file])
    with run.alone():
        record = run.read_record()
        if record is None:
            raise no_run()
        if record["status"] == "done":
            raise Refused("Conflict", "the run is done")
        check_more(ask, path, len(data))
        run.put(file, data)
        run.hear()
    return Answer(status=201)


def delete_run(ask: Ask, id: str) -> Answer:  # noqa: A002
    """Delete a run that was reported."""
    delete_reported(ask, id)
    return Answer(status=204)


def _answer(heard: Heard) -> Answer:
    return json_answer(asdict(heard))


def _checked(data: bytes, kind: type[Any]) -> bytes:
    """A result, written anew with what its kind has."""
    try:
        value: object = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise Refused("BadRequest", f"this is no such result: {error}") from None
    if isinstance(value, RunReport) and not _is_table(value):
        raise Refused("BadRequest", f"its classes have not the same figures, or over {ITEMS}")
    return msgspec.json.encode(value)


def _is_table(report: RunReport) -> bool:
    names = {tuple(each.figures) for each in report.classes}
    return len(names) <= 1 and all(0 < len(each) <= ITEMS for each in names)


def _check_lines(data: bytes) -> None:
    """See that lines are those of a journal: whole ones, with numbers that are finite."""
    if data and not data.endswith(b"\n"):
        raise Refused("BadRequest", "the last line is not whole")
    for text in data.splitlines():
        if len(text) >= REPORTED_LINE_BYTES:
            raise Refused("BadRequest", f"a line has at most {REPORTED_LINE_BYTES} bytes")
        try:
            line = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise Refused("BadRequest", f"this is no line: {error}") from None
        if not _is_line(line):
            raise Refused("BadRequest", "a line has a kind, steps, and numbers by name")


def _is_line(line: Json) -> bool:
    steps = line.get("steps")
    if line.get("kind") not in LINES or type(steps) is not int or not 0 <= steps <= LARGEST:
        return False
    if line["kind"] == "probe" and "c" not in line:
        return False
    return len(line) <= ITEMS and all(
        NAME.fullmatch(name) and OTHER.get(name, is_number)(value) for name, value in line.items()
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LETTERS and value.isprintable()


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and len(value) <= ITEMS and all(map(is_number, value))


def _are_neighbors(value: object) -> bool:
    fine = isinstance(value, dict) and len(value) <= ITEMS
    return fine and all(NEIGHBORS.fullmatch(k) and is_number(v) for k, v in value.items())  # type: ignore[attr-defined]


OTHER: dict[str, Callable[[object], bool]] = {
    "kind": _is_name,
    "name": _is_name,
    "c": _are_numbers,
    "knn": _are_neighbors,
}
"""What of a line is no number."""
