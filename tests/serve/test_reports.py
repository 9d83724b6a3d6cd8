"""Runs that are reported to a server: what it takes, from whom, and to whom it shows it."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from fakes.paged import page
from fakes.program import zoo
from fakes.reported import SECRETS, make_run, steps, told_here, told_there, with_token, write_lines
from fakes.sampled import every
from fakes.served import Got, Served, serving

from zoo.domain.limits import REPORTED_LINE_BYTES
from zoo.domain.progress import silent
from zoo.errors import Conflict, Forbidden, Unavailable, ZooError
from zoo.finetune.results import reporter
from zoo.lookup.reporting import Sender, check_place, facts, report_run
from zoo.lookup.runs import METRICS, Run
from zoo.serve.keep.reported import ReportedRun
from zoo.serve.native import reports
from zoo.serve.pages.examples import png
from zoo.serve.who.may import LEVELS, Level
from zoo.workspace import Workspace

RUNS = "/zoo/v1/runs"
GONE = "20260101-000000-000001-0123456789abcdef"


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Served]:
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo") as served:
        yield served


@pytest.fixture
def ann(team: Served, monkeypatch: pytest.MonkeyPatch) -> str:
    token = team.token("ann", "append")
    with_token(monkeypatch, team.url, token)
    return token


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = make_run(tmp_path / "runs")
    write_lines(made, steps(1, 2, 3))
    return made


def tell(team: Served, of: Run, token: str | None, **values: object) -> Got:
    said = json.dumps({**facts(of), **values}).encode()
    return team.ask(RUNS, "POST", token=token, body=said)


def add(team: Served, name: str, token: str, at: int, data: bytes, generation: int = 1) -> Got:
    path = f"{RUNS}/{name}/lines/{generation}/{at}"
    return team.ask(path, "POST", token=token, body=data)


def line(**values: object) -> bytes:
    return json.dumps({"kind": "step", "steps": 1, "loss": 0.5, **values}).encode() + b"\n"


def finished(run: Run, **values: Any) -> Run:
    """The same run, done."""
    result = {"manifest": f"blake3:{'2' * 64}", "metrics": {"accuracy": 0.5}, "seconds": 3.0}
    said = json.loads((run.folder / "run.json").read_text())
    said |= {"status": "done", "result": {**result, **values}, "error": ""}
    (run.folder / "run.json").write_text(json.dumps(said))
    return Run.read(run.folder)


def test_lines_are_there_once_and_in_order(team: Served, ann: str, run: Run) -> None:
    name = tell(team, run, ann).json["id"]
    assert name.startswith(f"{run.id}-")
    assert tell(team, run, ann).json["id"] == name
    first, second = line(), line(steps=2)
    assert add(team, name, ann, 0, first).json["bytes"] == len(first)
    for at in (0, 1, len(first) + 1):  # an answer that was lost; a gap
        assert add(team, name, ann, at, second).code == "Conflict"
    assert add(team, name, ann, len(first), second).status == 200
    assert add(team, name, ann, len(first + second), b"").status == 200, "it is alive"
    assert told_there(team) == {run.id: [json.loads(first), json.loads(second)]}
    again = tell(team, run, ann).json
    assert (again["bytes"], again["generation"]) == (len(first + second), 1)
    anew = add(team, name, ann, 0, second, generation=2)
    assert anew.json == {**anew.json, "bytes": len(second), "generation": 2}
    assert add(team, name, ann, len(second), first, generation=1).code == "Conflict"
    assert add(team, name, ann, 0, first, generation=4).code == "Conflict"
    assert told_there(team) == {run.id: [json.loads(second)]}


def test_a_run_that_is_resumed_is_told_as_it_went(team: Served, ann: str, run: Run) -> None:
    """Steps that are done again are there once, as in the journal."""
    report_run(run, team.url)
    with closing(Sender(run.folder, team.url)) as sender:
        sender.send()
        other = run.folder / "anew"
        other.write_text("")
        other.rename(run.folder / METRICS)
        write_lines(run, steps(1, 2))
        sender.send()
        write_lines(run, [{"kind": "remark", "steps": 0, "text": SECRETS[2]}, *steps(3, 4)])
        with (run.folder / METRICS).open("a") as file:
            file.write('{"kind": "step", "st')  # half a line
        sender.send()
        assert told_there(team) == {run.id: [*steps(1, 2, 3, 4)]}
        with (run.folder / METRICS).open("a") as file:
            file.write('eps": 5}\n')
        sender.send()
    assert told_there(team)[run.id][-1] == {"kind": "step", "steps": 5}
    assert told_there(team) == {run.id: told_here(run.folder)}


def test_one_that_is_deleted_while_it_is_told_of(team: Served, ann: str, run: Run) -> None:
    def make(made: ReportedRun) -> None:
        make_folder(made)
        made.delete()

    make_folder = ReportedRun.make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReportedRun, "make", make)
        assert tell(team, run, ann).code == "Conflict"
    assert tell(team, run, ann).status == 200


def test_half_a_line_of_a_server_that_was_killed_is_cut_off(
    team: Served, ann: str, run: Run
) -> None:
    report_run(run, team.url)
    (journal,) = (team.root / "reported").glob(f"*/*/{METRICS}")
    whole = journal.read_bytes()
    for left in (whole + b'{"kind', whole[:-5], b"", b"x" * 9, whole[: whole.find(b"\n") + 1]):
        journal.write_bytes(left)
        report_run(run, team.url)
        assert journal.read_bytes() == whole


def test_one_that_is_done_stays_as_it_is(team: Served, ann: str, run: Run) -> None:
    page = report_run(finished(run, warning="<b>weak", gained={"text": "more"}), team.url)
    name = page.rpartition("/")[2]
    told = told_there(team)
    assert add(team, name, ann, 0, line(), generation=2).code == "Conflict"
    assert team.ask(f"{RUNS}/{name}/depth.json", "PUT", token=ann, body=b"{}").status in (400, 409)
    assert tell(team, run, ann, status="running").json["status"] == "done"
    assert report_run(Run.read(run.folder), team.url) == page
    write_lines(run, steps(9))
    with pytest.raises(Conflict, match="in another course"):
        report_run(Run.read(run.folder), team.url)
    assert told_there(team) == told
    shown = team.ask(f"/-/runs/{name}.json", token=ann).json
    assert (shown["status"], shown["warning"], shown["gained"]) == ("done", "<b>weak", "more")


def test_nothing_of_the_senders_machine_goes_over(
    team: Served, ann: str, run: Run, tmp_path: Path
) -> None:
    (run.folder / "report.json").write_text(json.dumps({
        "task": "classification", "images": 2, "metrics": {"accuracy": 0.5}, "confusions": [],
        "classes": [{"name": "a", "images": 2, "figures": {"recall": 0.5}}],
        "wrong": [{"image": f"{SECRETS[2]}.png"}],
    }))  # fmt: skip
    write_lines(run, [{"kind": "remark", "steps": 0, "text": f"{SECRETS[2]}.png is odd"},
                      {"kind": "saved", "steps": 3, "up_to": SECRETS[0]},
                      {"kind": "epoch", "steps": 3, "time": 4.5, "loss": float("nan"),
                       "name": "epoch 1", "note": SECRETS[2]}])  # fmt: skip
    report_run(finished(run), team.url)
    files = [path for path in (team.root / "reported").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"run.json", METRICS, "heard", "report.json"}
    for secret in SECRETS:
        assert not any(secret.encode() in path.read_bytes() for path in files), secret
    assert told_there(team)[run.id][-1] == {
        "kind": "epoch", "steps": 3, "name": "epoch 1", "time": 4.5
    }  # fmt: skip


def test_of_many_steps_some_are_told(
    team: Served, ann: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.lookup.reporting.ALL_STEPS", 2)
    write_lines(run, ({"kind": "step", "steps": at} for at in range(4, 1150)))
    report_run(run, team.url)
    told = [each["steps"] for each in told_there(team)[run.id]]
    assert told == [*range(1, 100), *range(100, 1000, 10), 1000, 1100]


ROLE_OF = {"ben": "reader", "cat": "writer", "mia": "maintainer", "olga": "owner"}
WHO = ("nobody", "ann", *ROLE_OF, "team", "admin")
READERS: dict[Level, set[str]] = {
    "public": {*WHO}, "internal": {*WHO[1:]}, "private": {*ROLE_OF, "team", "admin"}
}  # fmt: skip
WRITERS = {"cat", "mia", "olga", "team", "admin"}


@pytest.mark.parametrize("level", LEVELS)
def test_who_may_what(team: Served, run: Run, tmp_path: Path, level: Level) -> None:
    """Report: who may write; see: who may read the name; delete: maintainers. For all others it is
    not there.
    """
    tokens = {who: None if who == "nobody" else team.token(who, "write") for who in WHO}
    for who, role in ROLE_OF.items():
        team.accounts.grant("team/net", who, role)
    team.accounts.set_level("team/net", level=level)
    made = make_run(tmp_path / level, "team/net")
    for who in WHO:
        got = tell(team, made, tokens[who])
        assert (got.status == 200) == (who in WRITERS), who
        assert got.code in ("", "NoToken" if who == "nobody" else "Forbidden"), who
    for limited in (team.token("cat"), team.token("cat", "write", only=("team/other",))):
        assert tell(team, made, limited).code == "Forbidden"
    append = team.token("cat", "append")
    name = tell(team, made, append).json["id"]
    for who in WHO:
        check_sees(team, name, tokens[who], sees=who in READERS[level])
    for who in WHO[1:]:
        got, absent = (add(team, each, tokens[who] or "", 0, b"") for each in (name, GONE))
        if who not in READERS[level]:
            assert (got.status, got.body) == (absent.status, absent.body)
        else:
            assert got.code == ("" if who == "cat" else "Forbidden"), who
    for who in ("nobody", "ann", "ben", "cat"):
        got = team.ask(f"{RUNS}/{name}", "DELETE", token=tokens[who])
        there = "Forbidden" if who in READERS[level] else "NotFound"
        assert got.code == ("NoToken" if who == "nobody" else there), who
    assert team.ask(f"{RUNS}/{name}", "DELETE", token=team.token("mia", "append")).code
    assert team.ask(f"{RUNS}/{name}", "DELETE", token=tokens["mia"]).status == 204
    assert team.ask(f"/-/runs/{name}", token=tokens["cat"]).status == 404
    assert add(team, name, append, 0, b"").code == "NotFound"
    assert not [*(team.root / "reported").glob(f"*/{name}")]


def check_sees(team: Served, name: str, token: str | None, *, sees: bool) -> None:
    """That somebody sees a run everywhere, or nowhere: then it is as one that is not there."""
    for end in ("", ".json", "/events"):
        there, absent = (team.ask(f"/-/runs/{each}{end}", token=token) for each in (name, GONE))
        assert absent.code == "NotFound"
        assert there.status == (200 if sees else 404)
        assert sees or there.body == absent.body
    listed = {row["id"] for row in team.ask("/runs.json", token=token).json["rows"]}
    assert (name in listed) == sees


def test_a_role_that_ends_ends_it(team: Served, ann: str, run: Run, tmp_path: Path) -> None:
    team.accounts.grant("lab", "ann", "writer")
    made = make_run(tmp_path / "lab", "lab/net")
    write_lines(made, steps(1))
    report_run(made, team.url)
    team.accounts.grant("lab", "ann", None)
    write_lines(made, steps(2))
    with pytest.raises(Forbidden, match="role of writer"):
        report_run(made, team.url)


def test_what_is_told_is_believed_of_nothing_else(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A run says that it made what somebody else has: their page has no such run, and a private
    base has no name.
    """
    eve = served.token("eve", "append")
    with_token(monkeypatch, served.url, eve)
    net = str(served.server.hub.workspace.names.resolve("team/net")[1])
    run = make_run(tmp_path / "runs", "eve/net", base="secret/net", parent=net)
    page = report_run(finished(run, manifest=net), served.url).removeprefix(served.url)
    assert served.ask("/team/net/runs.json", token=eve).json["rows"] == []
    shown = served.ask(f"{page}.json", token=eve).json
    assert shown["where"]["repo"] == ""
    assert "secret" not in json.dumps(shown)
    (row,) = served.ask("/eve/net/runs.json", token=eve).json.get("rows", [None])
    assert row is None or row["reporter"] == "eve"


BAD_LINES = [
    b"{}\n", b"[]\n", b"3\n", b"x\n", b'{"kind": "step"}\n', line(kind="remark"), line(steps=-1),
    line(steps=1.5), line(steps=2**63), line(steps=True), line(loss="a"), line(loss=None),
    line(loss=[1]), b'{"kind": "step", "steps": 1, "loss": NaN}\n', line(loss=1e301),
    b'{"kind": "step", "steps": 1, "loss": 1e999}\n', line(name="a" * 201), line(name="a\nb"),
    line(name="\x1b[2J"), line(**{"": 1.0}), line(**{"a" * 65: 1}), line(**{"<b>": 1}),
    line(kind="probe"), line(c=[1] * 65), line(c=["1"]), line(knn={"a": 1}), line(knn={"1": {}}),
    line(knn={"1": [1]}), line(**{f"a{n}": n for n in range(70)}), line()[:-1], line() + b"{",
    line(name="\ud800"), b"[" * 4000 + b"\n", b"\xff\n", b"\n", line() * 30_000,
    line(**{f"a{n}": "9" * 90 for n in range(60)}), b'{"kind": ["step"], "steps": 1}\n',
    line(x=10**400),
]  # fmt: skip


def test_lines_that_are_none_are_refused(team: Served, ann: str, run: Run) -> None:
    name = tell(team, run, ann).json["id"]
    for bad in BAD_LINES:
        got = add(team, name, ann, 0, line() + bad)
        assert got.status in (400, 413, 422), (bad[:60], got)
    for path in ("x/0", "1/x", "-1/0", "1/-1", f"{9**99}/0", f"1/{9**99}", "%D9%A1/0", "1.0/0"):
        got = team.ask(f"{RUNS}/{name}/lines/{path}", "POST", token=ann)
        assert got.status in (400, 404), path
    assert told_there(team) == {run.id: []}
    longest = line(**{f"a{n:02}": 1.123456789012345 for n in range(60)})
    assert len(longest) < REPORTED_LINE_BYTES
    assert add(team, name, ann, 0, longest).status == 200


BAD_FACTS: list[dict[str, object]] = [
    {"run": "../../x"}, {"run": "20260101-000000-00000"}, {"key": "x"}, {"save": "x"},
    {"save": "ann/../x"}, {"save": "ann/" + "a" * 300}, {"base": "a" * 300}, {"base": "a\x1b[2J"},
    {"parent": "/etc/passwd"}, {"started": "now"}, {"device": "a" * 65}, {"status": "silent"},
    {"status": "done"}, {"recipe": []}, {"recipe": {"a": {}}}, {"recipe": {"a": [[1]]}},
    {"recipe": {"data": "a" * 300}}, {"recipe": {str(n): n for n in range(300)}}, {"digests": []},
    {"recipe": {"seed": 10**400}}, {"recipe": {"lr": 1e301}}, {"digests": {"x": "y"}},
    {"digests": {"data": "y" * 300}}, {"result": {"manifest": "x", "metrics": {}}},
    {"result": {"manifest": "", "metrics": {"a": "b"}}}, {"result": {"manifest": "", "metrics": 1}},
    {"result": {"manifest": "", "metrics": {"a": None}}}, {"result": 3},
    {"result": {"manifest": "", "metrics": {}, "warning": "a" * 3000}},
    {"result": {"manifest": "", "metrics": {}, "seconds": -1}},
]  # fmt: skip


def test_runs_that_are_none_are_refused(team: Served, ann: str, run: Run) -> None:
    for bad in BAD_FACTS:
        got = tell(team, run, ann, **bad)
        assert got.code in ("BadRequest", "Forbidden"), (bad, got)
    for body in (b"", b"{", b"[]", b"[" * 100_000, b"\xff", b"null"):
        assert team.ask(RUNS, "POST", token=ann, body=body).code == "BadRequest"
    assert not (team.root / "reported").exists()
    odd = {"data": "a/b/c", "root": "/x", "task": "x", "phases": ["a"], "zzz": 1, "epochs": "x"}
    name = tell(team, run, ann, recipe=odd).json["id"]
    (kept,) = (team.root / "reported" / "ann" / name).glob("run.json")
    assert json.loads(kept.read_text())["recipe"] == {
        "data": "c", "root": "", "task": "x", "phases": ["a"]
    }  # fmt: skip
    assert add(team, name, ann, 0, line(kind="epoch", accuracy=0.5)).status == 200
    for path in (f"/-/runs/{name}", "/runs", "/ann/net/runs"):
        assert team.ask(path, token=ann).status in (200, 404)


def wide_report(figures: int) -> bytes:
    one = {"name": "a", "images": 1, "figures": {f"b{n}": 0.5 for n in range(figures)}}
    return json.dumps({"images": 1, "classes": [one]}).encode()


def test_of_many_figures_a_page_shows_some(team: Served, ann: str, run: Run) -> None:
    name, wide = tell(team, run, ann).json["id"], {f"a{n}": 0.5 for n in range(62)}
    lines = json.dumps({"kind": "epoch", "steps": 1, **wide}).encode() + b"\n"
    assert add(team, name, ann, 0, lines).status == 200
    got = team.ask(f"{RUNS}/{name}/report.json", "PUT", token=ann, body=wide_report(64))
    assert got.status == 201
    _, tree = page(team, f"/-/runs/{name}", ann)
    heads = tree.xpath("//th[@scope='col']/text()")
    for letter in "ab":
        shown = [head for head in heads if re.fullmatch(rf"{letter}\d+", head)]
        some = [f"{letter}{n}" for n in range(30)]
        assert shown == (sorted(some) if letter == "a" else some)


def test_results_that_are_none_are_refused(team: Served, ann: str, run: Run) -> None:
    name = tell(team, run, ann).json["id"]

    def put(file: str, data: bytes) -> Got:
        return team.ask(f"{RUNS}/{name}/{file}", "PUT", token=ann, body=data)

    table = b'{"classes": [{"name": "a", "images": 1, "figures": {"%b": 1}}, {"name": "b", "images": 1, "figures": {%b}}]}'  # noqa: E501
    for file, data in (
        ("report.json", b"x"), ("report.json", b'{"classes": 3}'), ("report.json", b"[" * 99_999),
        ("report.json", table % (b"recall", b'"f1": 2')), ("report.json", table % (b"f1", b"")),
        ("report.json", wide_report(65)),
        ("confusion.json", b'{"classes": 1}'), ("depth.json", b"{}"), ("examples.json", b"{}"),
        ("confusion.json", b" " * (1 << 20) + b"{}"), ("examples.png", b" " * (5 << 20)),
    ):  # fmt: skip
        assert put(file, data).status in (400, 422), (file, data[:50])
    for file in ("run.json", METRICS, "heard", "..", "%2e%2e%2frun.json", "x"):
        assert put(file, b"{}").code == "NotFound", file
    fine = table % (b"f1", b'"f1": null')
    assert put("report.json", fine[:-1] + b', "wrong": ["x.png"]}').status == 201
    assert b"x.png" not in (team.root / "reported" / "ann" / name / "report.json").read_bytes()
    assert put("examples.png", b"<script>").status == 201
    assert team.ask(f"/-/runs/{name}/examples.png", token=ann).status == 404


def test_example_images_go_over_where_they_are_published(
    team: Served, ann: str, tmp_path: Path
) -> None:
    for number, publishes in ((1, False), (2, True)):
        recipe = {"data": "x", "publish_examples": publishes, "keep_examples": 1}
        run = make_run(tmp_path / "runs", number=number, recipe=recipe)
        shown = {"side": 64, "columns": 1, "shown": [{"true": "a", "predicted": ""}]}
        (run.folder / "examples.json").write_text(json.dumps(shown))
        (run.folder / "examples.png").write_bytes(png(64, 64, bytes(64 * (1 + 3 * 64))))
        page = report_run(finished(run), team.url).removeprefix(team.url)
        ben = team.token("ben")
        assert (team.ask(f"{page}.json", token=ben).json["pictures"] is not None) == publishes
        assert team.ask(f"{page}/examples.png", token=ben).status == (200 if publishes else 404)
        there = {path.name for path in (team.root / "reported").glob(f"*/{run.id}-*/*")}
        assert ("examples.png" in there) == publishes


def test_commands_on_the_server_show_them(team: Served, ann: str, run: Run) -> None:
    name = report_run(finished(run), team.url).rpartition("/")[2]
    other = make_run(run.folder.parent, number=2)
    lost = tell(team, other, ann, status="running").json["id"]
    home = ("--home", team.root)
    heard = team.root / "reported" / "ann" / lost / "heard"
    os.utime(heard, (time.time() - 3 * 3600,) * 2)
    listed = zoo(*home, "runs").done().out
    assert "REPORTED BY" in listed
    assert "last heard 3 hours ago" in listed
    assert "reported by ann since" in zoo(*home, "runs", "show", name).done().out
    assert zoo(*home, "runs", "show", name, "--json").json["reporter"] == "ann"
    assert "0.500" in zoo(*home, "runs", "compare", name, lost).done().out
    zoo(*home, "finetune", "--resume", "last").refused("unknown run")
    zoo(*home, "runs", "report", name).refused("unknown run")
    zoo(*home, "verify").done()


def test_a_run_that_is_cut_off_waits_for_nobody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(type(silent), "say", lambda _, text: said.append(text))
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with_token(monkeypatch, url, "zoo_x")
        monkeypatch.setattr(reporter, "HASTE", 0.3)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), reporter.reported(run.folder, url, silent):
            raise KeyboardInterrupt
        assert time.monotonic() - began < 3
    assert f"to send the rest: zoo runs report {run.id} --to {url}" in said[-1]


@pytest.mark.parametrize(
    "values",
    every(
        3,
        [
            {"id": "../../x"},
            {"id": "a\x1b[2J"},
            {"bytes": -1},
            {"generation": "x"},
            {"id": "a" * 200},
        ],
        beside=pytest.mark.long,
    ),
)
def test_a_server_that_answers_odd_things_is_not_followed(
    run: Run, values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"id": "a-1", "generation": 1, "bytes": 0, "digest": "", "status": "running"}
    asked: list[str] = []

    class Odd(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            body = json.dumps({**answer, **values}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with_token(monkeypatch, url, "zoo_x")
        with closing(Sender(run.folder, url)) as sender, pytest.raises(Unavailable):
            sender.send()
        server.shutdown()
    assert asked == [RUNS]


def test_who_may_not_report_is_told_so_at_once(
    team: Served, ann: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(type(silent), "say", lambda _, text: said.append(text))
    run = make_run(tmp_path / "runs", "lab/net")
    with reporter.reported(run.folder, team.url, silent):
        until = time.monotonic() + 10
        while not said and time.monotonic() < until:
            time.sleep(0.01)
        assert "the run goes on" in said[0]
        assert "role of writer" in said[0]
    assert "is not complete" in said[-1]
    assert len(said) == 2


def test_before_training_it_is_asked_who_may(team: Served, ann: str) -> None:
    with pytest.raises(Forbidden, match="role of writer in lab/net"):
        check_place(team.url, "lab/net:seed-1")
    team.accounts.grant("lab", "ann", "writer")
    team.accounts.protect("lab/net", on=True)  # what a push of it takes is another thing
    assert check_place(team.url, "lab/net") == team.url


@pytest.mark.long
def test_of_several_machines_none_takes_one(
    team: Served, ann: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next request may come to another one, which would know nothing of it."""
    monkeypatch.setattr(reports, "shared_by", lambda _: ("s3://lab/zoo", 1))
    assert tell(team, run, ann).status == 501
    with pytest.raises(ZooError, match="several machines"):
        report_run(run, team.url)


def test_a_namespace_has_so_many(
    team: Served, ann: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "REPORTED_RUNS", 2)
    runs = [make_run(tmp_path / "runs", number=number) for number in (1, 2, 3)]
    assert [tell(team, run, ann).code for run in runs] == ["", "", "Forbidden"]
    assert tell(team, runs[0], ann).status == 200
    other = team.token("ben", "append")
    assert tell(team, make_run(tmp_path / "ben", "ben/net"), other).status == 200


def test_a_quota_counts_them(team: Served, ann: str, run: Run) -> None:
    team.accounts.quotas.set("ann", 20_000)
    name = tell(team, run, ann).json["id"]
    data = line() * 100
    at = add(team, name, ann, 0, data).json["bytes"]
    team.server.hub.room._runs.clear()  # counted anew each ten seconds
    assert add(team, name, ann, at, line() * 1000).code == "Forbidden"
    assert team.server.hub.room.after("ann").total >= len(data)
    assert add(team, name, ann, at, line()).status == 200


@pytest.mark.long
def test_two_who_report_at_once_do_not_interleave(team: Served, ann: str, run: Run) -> None:
    """As by two workers: the file is locked, and lines have their place."""
    write_lines(run, steps(*range(4, 600)))
    with serving(team.root) as other, pytest.MonkeyPatch.context() as patch:
        assert other.url != team.url
        patch.setattr("zoo.lookup.reporting.BATCH_BYTES", 2000)
        patch.setattr("zoo.lookup.reporting.token_for", lambda _: ann)
        patch.setattr("zoo_http.session.login_for", lambda _: (ann, None))

        def report(url: str) -> None:
            with closing(Sender(run.folder, url)) as sender:
                while True:
                    try:
                        sender.send()
                    except Conflict:
                        continue
                    return

        threads = [threading.Thread(target=report, args=(each.url,)) for each in (team, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert told_there(team) == {run.id: told_here(run.folder)}


def test_one_of_which_nothing_is_heard_does_not_run_for_ever(
    team: Served, ann: str, run: Run
) -> None:
    name = tell(team, run, ann, status="running").json["id"]
    path, heard = f"/-/runs/{name}", team.root / "reported" / "ann" / name / "heard"
    _, tree = page(team, path, ann)
    assert tree.xpath("string(//*[@role='status'])") == "running"
    assert tree.xpath("//*[@id='live']/@data-events") == [f"{path}/events"]
    assert "Reported by ann" in tree.xpath("string(//main)")
    then = time.time() - 12.5 * 60
    os.utime(heard, (then, then))
    _, tree = page(team, path, ann)
    assert "Last heard 12 minutes ago" in tree.xpath("string(//main)")
    assert not tree.xpath("//*[@data-events] | //script | //noscript")
    assert b"event: end" in team.ask(f"{path}/events", token=ann).body
    _, tree = page(team, "/runs", ann)
    assert "last heard 12 minutes ago" in tree.xpath("string(//tbody)")
    assert add(team, name, ann, 0, b"").status == 200
    assert team.ask(f"{path}.json", token=ann).json["status"] == "running"


def test_it_is_live(team: Served, ann: str, run: Run) -> None:
    name = tell(team, run, ann, status="running").json["id"]
    first = team.ask(f"/-/runs/{name}/events", token=ann)
    seen = next(each for each in first.body.decode().splitlines() if each.startswith("id: "))[4:]
    again = team.ask(f"/-/runs/{name}/events", token=ann, Last_Event_ID=seen)
    assert b"event:" not in again.body
    add(team, name, ann, 0, line(steps=7, time=9.0))
    more = team.ask(f"/-/runs/{name}/events", token=ann, Last_Event_ID=seen)
    assert b"<dd>7</dd>" in more.body


def test_a_maintainer_deletes_it_by_its_page(team: Served, ann: str, run: Run) -> None:
    name = tell(team, run, ann).json["id"]
    path, write = f"/-/runs/{name}", team.token("ann", "write")
    assert not page(team, path, ann)[1].xpath("//form[.//*[@value='delete']]"), "only to append"
    assert page(team, path, write)[1].xpath("//form[.//*[@value='delete']]")
    sent = {"token": write, "body": b"do=delete"}
    assert team.ask(path, "POST", **sent, Sec_Fetch_Site="cross-site").code == "Forbidden"  # type: ignore[arg-type]
    own = {"Sec_Fetch_Site": "same-origin"}
    assert team.ask(path, "POST", token=write, body=b"do=x", **own).code == "BadRequest"
    assert team.ask(path, "POST", token=ann, body=b"do=delete", **own).code == "Forbidden"
    assert team.ask(path, "POST", token=write, body=b"do=delete", **own).status == 303
    assert team.ask(path, token=write).status == 404
    did = [(row.who, row.action, row.name) for row in team.accounts.audit.rows(limit=99)]
    assert ("ann", "run reported", "ann/net") in did
    assert ("ann", "run deleted", "ann/net") in did
