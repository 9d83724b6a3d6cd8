"""Listing the hub into the registry, a little more each time; and tables of results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.hub_server import Answer, Fault, HubServer, Status

from zoo.errors import InvalidOption, Unavailable, UnknownName
from zoo.exchange.indexing import ListingQuery, index
from zoo.exchange.results import read_results
from zoo.exchange.tracing import Traced, trace_all
from zoo.lookup.best import best
from zoo.registry import Query
from zoo.workspace import Workspace

TIMM = {"library_name": "timm", "downloads": 7}
TABLE = """model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation
test_resnet.r160_in1k,41.500,58.500,66.250,33.750,"1,000.47",160,0.950,bilinear
test_resnet.r160_in1k,40.000,60.000,65.000,35.000,0.47,128,0.950,bilinear
test_vit.r160_in1k,nan,,?,1.5,0.37,160,0.95,bicubic
"""


def listed(workspace: Workspace, text: str = "source:hub") -> list[str]:
    return [found.name for found in workspace.registry.search(Query.parse(text, sort="name"))]


def asked(hub: HubServer) -> int:
    """How many pages were asked for since the last time."""
    count = len(hub.requests("/api/models"))
    hub.log.clear()
    return count


@pytest.fixture
def many(hub: HubServer) -> HubServer:
    """Seven repositories, the last is the newest, two to a page."""
    hub.page = 2
    for number in range(7):
        hub.commit(f"team/net{number}", {}, info=TIMM)
    return hub


def test_a_run_lists_only_what_changed_since(many: HubServer, workspace: Workspace) -> None:
    wanted = ListingQuery(library="timm")
    assert index(workspace, "hub", wanted).entries == 7
    assert asked(many) == 4
    assert index(workspace, "hub", wanted).entries == 7
    assert asked(many) == 1
    many.commit("team/new", {}, info=TIMM)
    many.commit("team/net2", {}, card={"license": "mit"}, info=TIMM)
    assert index(workspace, "hub", wanted).entries == 8
    assert asked(many) == 2
    assert listed(workspace, "source:hub license:mit") == []  # the card is that of the first commit
    assert listed(workspace, "updated>2025 metric.downloads=7") == [
        *(f"team/net{number}" for number in range(7)), "team/new",
    ]  # fmt: skip


def test_a_run_that_was_cut_off_is_gone_on_with(many: HubServer, workspace: Workspace) -> None:
    wanted = ListingQuery(author="team")
    many.fail_next(AfterPages(2))
    with pytest.raises(Unavailable):
        index(workspace, "hub", wanted)
    assert listed(workspace) == ["team/net3", "team/net4", "team/net5", "team/net6"]
    asked(many)
    many.commit("team/net5", {}, info={**TIMM, "likes": 3})
    many.commit("team/new", {}, info=TIMM)
    assert index(workspace, "hub", wanted).entries == 8
    assert asked(many) == 4  # two of the old listing, two of what changed meanwhile
    assert index(workspace, "hub", wanted).entries == 8
    assert asked(many) == 1


class AfterPages(Fault):
    """Refuses all pages of a listing after so many."""

    def __init__(self, pages: int) -> None:
        super().__init__(where="/api/models")
        object.__setattr__(self, "left", [pages])

    def fits(self, request: object) -> bool:
        left: list[int] = self.left  # type: ignore[attr-defined]
        left[0] -= 1
        return left[0] < 0

    def apply(self, server: HubServer, answer: Answer) -> Answer:
        return Answer(403)


def test_a_limit_takes_the_newest_and_other_queries_have_their_own_place(
    many: HubServer, workspace: Workspace
) -> None:
    assert index(workspace, "hub", ListingQuery(limit=3)).entries == 3
    assert asked(many) == 2
    assert listed(workspace) == ["team/net4", "team/net5", "team/net6"]
    many.commit("team/new", {}, info=TIMM)
    assert index(workspace, "hub", ListingQuery(limit=3)).entries == 4
    assert index(workspace, "hub", ListingQuery()).entries == 8


def test_what_timm_says_of_its_own_stays(hub: HubServer, workspace: Workspace) -> None:
    name = "timm/test_resnet.r160_in1k"
    index(workspace, "timm")
    hub.commit(name, {}, card={"license": "mit"}, info={**TIMM, "likes": 3})
    index(workspace, "hub", ListingQuery(author="timm"))
    known = workspace.registry.entry(name)
    assert known is not None
    assert known.sources == ("hub", "timm")
    assert (known.entry.tag, known.entry.input_size) == ("r160_in1k", (3, 160, 160))
    assert known.entry.metrics == {"downloads": 7.0, "likes": 3.0}
    assert known.entry.facts is not None
    assert known.entry.facts["sha"] == hub.repos[name].refs["main"]
    index(workspace, "timm")
    assert listed(workspace, "source:timm metric.likes=3") == [name]


def test_results_become_metrics_that_searches_find(workspace: Workspace, tmp_path: Path) -> None:
    name = "timm/test_resnet.r160_in1k"
    table, real = tmp_path / "results-imagenet.csv", tmp_path / "results-imagenet-real.csv"
    table.write_text(TABLE)
    real.write_text("model,top1,rank_diff\ntest_resnet.r160_in1k,50.5,3\n")
    index(workspace, "timm", ListingQuery(results=(str(table), str(real))))
    found = workspace.registry.search(Query.parse("arch:test_resnet", sort="metric.top1", limit=1))[
        0
    ]
    assert found.name == name
    came = found.metrics.pop("macs")
    assert came > 1e7, "what the tables do not say stays"
    assert found.metrics == {
        "top1": 41.5, "top1_err": 58.5, "top1_size": 160, "top5": 66.25, "top5_err": 33.75,
        "imagenet_real_top1": 50.5,
    }  # fmt: skip
    assert listed(workspace, "metric.top1>41 metric.imagenet_real_top1<51") == [name]
    assert listed(workspace, "metric.top1>42 metric.imagenet_real_top1<51") == []
    first = best(workspace, "arch:test_resnet", metric="top1").to_json()
    assert (first["name"], first["value"], first["pull"]) == (name, 41.5, f"zoo pull {name}")
    index(workspace, "timm")  # without a table, what only tables say stays
    assert listed(workspace, "metric.imagenet_real_top1>50") == [name]
    assert listed(workspace, "arch:test_resnet metric.top1>41.6") == [name]


def test_results_by_address(hub: HubServer) -> None:
    hub.commit("team/tables", {"results-imagenet.csv": TABLE.encode()})
    url = f"{hub.url}/team/tables/resolve/main/results-imagenet.csv"
    assert read_results([url])["test_resnet.r160_in1k"]["top5"] == 66.25
    hub.fail_next(Status(404))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1: Not Found"):
        read_results([url])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("name,top1\nx,1\n", InvalidOption),
        ("model,top1\nno_such_net,1\n", UnknownName),
        (None, InvalidOption),
    ],
)
def test_tables_that_do_not_fit(
    workspace: Workspace, tmp_path: Path, text: str | None, error: type[Exception]
) -> None:
    table = tmp_path / "results.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(error):
        index(workspace, "timm", ListingQuery(results=(str(table),)))
    assert workspace.registry.indexed_version("timm") is None


def test_what_cannot_be_asked_of_a_source(hub: HubServer, workspace: Workspace) -> None:
    with pytest.raises(InvalidOption, match="'timm' is listed whole"):
        index(workspace, "timm", ListingQuery(author="me"))
    with pytest.raises(InvalidOption, match="results of its own"):
        index(workspace, "hub", ListingQuery(results=("x.csv",)))
    assert hub.log == []


def test_what_no_plugin_builds_is_not_traced(hub: HubServer, workspace: Workspace) -> None:
    hub.commit("team/sounds", {}, info={"library_name": "speech"})
    assert index(workspace, "hub").entries == 1
    assert trace_all(workspace, "hub") == Traced(traced=0, failed={})


def test_marks_of_another_program_begin_anew(many: HubServer, workspace: Workspace) -> None:
    workspace.registry.add_entries("hub", json.dumps({"a": 1}), [], "2026-01-01")
    assert index(workspace, "hub").entries == 7
