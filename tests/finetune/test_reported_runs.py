"""A run on one machine that is told to a server while it trains."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fakes.reported import make_run, told_here, told_there, with_token
from fakes.served import Served, serving
from fakes.tuned import drawings, quick, small_zoo

import zoo
from zoo.errors import Forbidden, InvalidOption, Unavailable
from zoo.finetune.results import reporter
from zoo.serve.who.may import Purpose
from zoo.workspace import Workspace

TUNE: dict[str, Any] = {"device": "cpu", "image_size": 32, "batch_size": 4, "epochs": 2,
                        "strategy": "full"}  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    Workspace.create(tmp_path / "served").close()
    with serving(tmp_path / "served") as served:
        yield served


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[zoo.Zoo]:
    (tmp_path / "mine").mkdir()
    with quick(), small_zoo(tmp_path / "mine") as made:
        yield made


@pytest.fixture
def said(mine: zoo.Zoo, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the run says."""
    lines: list[str] = []
    monkeypatch.setattr(type(mine.progress), "say", lambda _, text: lines.append(text))
    return lines


def test_a_run_is_there_as_it_is_here(
    server: Served, mine: zoo.Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_token(monkeypatch, server.url, server.token("ann", "append"))
    secret = tmp_path / "secret-place"
    data = drawings(secret / "flowers")
    done = mine.finetune("team/base", data, "ann/net", **TUNE, report=server.url, keep_examples=1)
    run = mine.run(done.run)
    assert told_there(server) == {run.id: told_here(run.folder)}
    (row,) = server.ask("/runs.json", token=server.token("ben")).json["rows"]
    assert (row["name"], row["reporter"], row["status"]) == ("ann/net", "ann", "done")
    shown = server.ask(f"/-/runs/{row['id']}.json", token=server.token("ben")).json
    assert shown["score"]["value"] == run.metrics["accuracy"]
    assert shown["matrix"] == json.loads((run.folder / "confusion.json").read_text())
    report = run.report()
    assert report
    assert shown["report"]["classes"] == report["classes"]
    assert shown["data"] == "flowers"
    assert shown["pictures"] is None, "they were not to be published"
    files = [path for path in (server.root / "reported").rglob("*") if path.is_file()]
    told = b"".join(path.read_bytes() for path in files)
    for word in (str(tmp_path), run.host, ".png", '"pid"', "threads"):
        assert word.encode() not in told
    assert not [path for path in files if path.name.startswith("examples")]
    with zoo.open(server.root) as there:
        assert [each.reporter for each in there.runs()] == ["ann"]
        assert there.run(row["id"]).status == "done"
        assert there.compare_runs(row["id"]).columns[0].metrics["accuracy"]
        with pytest.raises(zoo.ZooError):
            there.resume("last")


@pytest.mark.long
def test_training_waits_for_no_server(
    mine: zoo.Zoo, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes a connection and never answers slows no step."""
    monkeypatch.setattr(reporter, "PATIENCE", 0.5)
    data = drawings(tmp_path / "flowers")
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with_token(monkeypatch, url, "zoo_x")
        began = time.monotonic()
        done = mine.finetune("team/base", data, "ann/net", **TUNE, report=url)
        took = time.monotonic() - began
    lines = [line for line in mine.run(done.run).lines() if line["kind"] == "step"]
    assert len(lines) == 2 * 5
    assert took < reporter.MOST / 2
    gaps = [b["time"] - a["time"] for a, b in itertools.pairwise(lines)]
    assert max(gaps) < 5, "a request waits for thirty seconds"
    assert f"zoo runs report {done.run} --to {url}" in said[-1]


def test_what_did_not_come_is_sent_later(
    server: Served,
    mine: zoo.Zoo,
    tmp_path: Path,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        away = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with_token(monkeypatch, away, "zoo_x")
    data = drawings(tmp_path / "flowers")
    done = mine.finetune("team/base", data, "ann/net", **TUNE, report=away)
    assert "is not complete" in said[-1]
    assert "no server answers there" in said[-1]
    with_token(monkeypatch, server.url, server.token("ann", "append"))
    page = mine.report_run(done.run, server.url)
    assert mine.report_run(done.run, server.url) == page, "and nothing is there twice"
    assert told_there(server) == {done.run: told_here(mine.run(done.run).folder)}
    assert server.ask(page.removeprefix(server.url), token=server.token("ben")).status == 200


def test_where_it_cannot_be_told_nothing_begins(
    server: Served, mine: zoo.Zoo, tmp_path: Path
) -> None:
    data = drawings(tmp_path / "flowers")
    with pytest.raises(Forbidden, match="a token to append is needed"):
        mine.finetune("team/base", data, "ann/net", **TUNE, report=server.url)
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        away = f"127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(Unavailable, match="no server answers there"):
        mine.finetune("team/base", data, "ann/net", **TUNE, report=f"http://{away}")
    with pytest.raises(InvalidOption, match=f"write http://{away}"):
        mine.finetune("team/base", data, "ann/net", **TUNE, report=away)
    with pytest.raises(InvalidOption, match="not the URL of a server"):
        mine.finetune("team/base", data, "ann/net", **TUNE, report="zoo.lab.org")
    assert len(mine.runs()) == 0


@pytest.mark.parametrize(("purpose", "save", "needs"), [
    ("append", "lab/net", "the role of writer in lab/net, which an admin can give: zoo serve role"),
    ("read", "ann/net", "this token is to read only; that needs one to append"),
])  # fmt: skip
def test_who_may_not_report_learns_it_before_training(
    server: Served,
    mine: zoo.Zoo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    purpose: Purpose,
    save: str,
    needs: str,
) -> None:
    with_token(monkeypatch, server.url, server.token("ann", purpose))
    data = drawings(tmp_path / "flowers")
    with pytest.raises(Forbidden, match=needs):
        mine.finetune("team/base", data, save, **TUNE, report=server.url)
    assert len(mine.runs()) == 0
    ended = make_run(mine.root / "runs", save=save)
    with pytest.raises(Forbidden, match=needs):
        mine.resume(ended.id, report=server.url)
    with pytest.raises(Forbidden, match=needs):
        mine.report_run(ended.id, server.url)
    assert mine.run(ended.id).status == "interrupted"
