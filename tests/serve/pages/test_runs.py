"""Runs: what was trained here and how it went, for who may see it."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fakes.paged import page, text_of
from fakes.sampled import every
from fakes.served import Got, Served, serving
from fakes.trained import HOSTILE
from lxml import html

import zoo
from zoo.lookup.alive import RunLock, machine
from zoo.lookup.history import Row, StoredAdvice, remember
from zoo.lookup.runs import METRICS, REPORT, RUN, Run

NAMES = ("team/net", "team/seed", "secret/child", "team/grand", "team/probe")


@pytest.fixture(scope="module")
def ann(trained: Served) -> str:
    return trained.token("ann")


@pytest.fixture(scope="module")
def admin(trained: Served) -> str:
    return trained.token("admin")


@pytest.fixture(scope="module")
def kept(trained: Served) -> dict[str, Run]:
    """The runs, by what they are saved as."""
    with zoo.open(trained.root) as z:
        return {run.save: run for run in z.runs()}


@pytest.fixture
def own(trained: Served, tmp_path: Path) -> Iterator[Served]:
    """A zoo like that, to be changed."""
    shutil.copytree(trained.root, tmp_path / "zoo")
    with serving(tmp_path / "zoo") as served:
        served.accounts.set_level("secret", level="private")
        yield served


def rows(served: Served, path: str, token: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = served.ask(f"{path}.json", token=token).json["rows"]
    return found


def change(served: Served, run: Run, **values: object) -> Path:
    """Rewrite what a run says of itself; its folder."""
    folder = served.root / "runs" / run.id
    data = json.loads((folder / RUN).read_text()) | values
    (folder / RUN).write_text(json.dumps(data))
    return folder


@pytest.mark.long
def test_a_namespace_that_is_called_runs_has_its_pages(own: Served, kept: dict[str, Run]) -> None:
    run = kept["team/net"]
    with zoo.open(own.root) as z:
        z.tag("team/net", f"runs/{run.id}")
    token = own.token("ann")
    assert own.ask(f"/runs/{run.id}/index.json", token=token).json["checkpoint"]
    _, repo = page(own, f"/runs/{run.id}", token)
    _, shown = page(own, f"/-/runs/{run.id}", token)
    assert repo.xpath("string(//h1)") == f"runs/{run.id}"
    assert shown.xpath("string(//h1)") == (run.save or run.id)
    assert run.id in text_of(shown)


def test_whoever_may_read_the_checkpoint_sees_its_run(
    trained: Served,
    ann: str,
    admin: str,
    kept: dict[str, Run],
) -> None:
    assert {row["name"] for row in rows(trained, "/runs", admin)} == {*NAMES}
    seen = rows(trained, "/runs", ann)
    assert {row["name"] for row in seen} == {*NAMES} - {"secret/child"}
    assert rows(trained, "/runs", None) == []
    _, tree = page(trained, "/runs", None)
    assert tree.xpath("string(//h2)") == "No run to see here"
    _, tree = page(trained, "/runs", ann)
    assert "belong to the machine" in tree.xpath("string(//main)")
    assert {*tree.xpath("//tbody//th/a/@href")} == {f"/-/runs/{row['id']}" for row in seen}
    _, tree = page(trained, "/runs", admin)
    assert "belong to the machine" not in tree.xpath("string(//main)")


def test_one_that_may_not_be_seen_is_not_there(
    trained: Served,
    ann: str,
    admin: str,
    kept: dict[str, Run],
) -> None:
    hidden, absent = kept["secret/child"].id, "20200101-000000-000000"
    for end in ("", ".json", "/events"):
        one, other = (trained.ask(f"/-/runs/{each}{end}", token=ann) for each in (hidden, absent))
        assert (one.status, one.code, one.body) == (404, "NotFound", other.body)
        assert trained.ask(f"/-/runs/{hidden}{end}", token=admin).status == 200
    for strange in ("..", "%2e%2e", "..%2Fzoo.json", "%00", "a" * 3000, "%3Cscript%3E"):
        assert trained.ask(f"/-/runs/{strange}", token=admin).status == 404


def test_what_it_began_with_has_no_name_if_that_may_not_be_read(
    trained: Served,
    ann: str,
    admin: str,
    kept: dict[str, Run],
) -> None:
    run = kept["team/grand"]
    got, _ = page(trained, f"/-/runs/{run.id}", ann)
    twin = trained.ask(f"/-/runs/{run.id}.json", token=ann)
    assert b"secret" not in got.body + twin.body
    assert run.parent.partition(":")[2].startswith(twin.json["base"])
    assert trained.ask(f"/-/runs/{run.id}.json", token=admin).json["base"] == "secret/child"


def test_nothing_tells_of_the_machine_or_of_images(
    trained: Served,
    ann: str,
    kept: dict[str, Run],
) -> None:
    run = kept["team/net"]
    told = page(trained, f"/-/runs/{run.id}", ann)[0].body
    told += trained.ask(f"/-/runs/{run.id}.json", token=ann).body
    folder = Path(run.recipe["data"]).parent
    for secret in (str(folder), str(trained.root), run.host, ".png"):
        assert secret.encode() not in told
    assert b"drawn &lt;b&gt;data" in told


def test_figures_are_those_of_the_run(
    trained: Served,
    ann: str,
    kept: dict[str, Run],
) -> None:
    run = kept["team/net"]
    found = trained.ask(f"/-/runs/{run.id}.json", token=ann).json
    report = run.report()
    assert report
    assert found["score"]["value"] == run.metrics["accuracy"]
    assert found["score"]["low"] == run.metrics["accuracy_low"]
    recalls = {one["name"]: one["figures"]["recall"] for one in report["classes"]}
    assert {one["name"]: one["figures"]["recall"] for one in found["report"]["classes"]} == recalls
    assert [one["images"] for one in found["report"]["confusions"]] == [
        one["images"] for one in report["confusions"]
    ]
    matrix = json.loads((run.folder / "confusion.json").read_text())
    assert found["matrix"] == matrix
    steps = [line for line in run.lines() if line["kind"] == "step"]
    assert [p["y"] for p in found["course"]["loss"]] == [line["loss"] for line in steps]
    now = found["course"]["progress"]
    assert (now["epoch"], now["epochs"], now["step"]) == (2, 2, len(steps))
    assert now["images_per_second"] == steps[-1]["images_per_second"]
    assert now["memory_bytes"] > 1e6


def test_the_page_draws_them(trained: Served, ann: str, kept: dict[str, Run]) -> None:
    got, tree = page(trained, f"/-/runs/{kept['team/net'].id}", ann)
    assert len(tree.xpath("//svg[@class='chart']")) == 5  # the last one: how far it can be trusted
    assert len(tree.xpath("//svg[@class='matrix']")) == 1
    assert not tree.xpath("//img | //script | //*[@style]")
    assert HOSTILE in "".join(tree.xpath("//main//td//text() | //main//th//text()"))
    assert tree.xpath("string(//*[@role='status'])") == "done"
    weakest = tree.xpath("//table[contains(caption, 'weakest')]//tbody//td[2]/text()")
    recalls = [float(text) for text in weakest]
    assert recalls == sorted(recalls)
    assert len(got.body) < 100_000
    for table in tree.xpath("//table"):
        assert table.xpath("caption")
        assert not table.xpath(".//th[not(@scope)]")


def test_a_probe_has_its_depth_curve(
    trained: Served,
    ann: str,
    kept: dict[str, Run],
) -> None:
    run = kept["team/probe"]
    found = trained.ask(f"/-/runs/{run.id}.json", token=ann).json["depths"]
    assert found == json.loads((run.folder / "depth.json").read_text())
    _, tree = page(trained, f"/-/runs/{run.id}", ann)
    (drawn,) = tree.xpath("//svg[@class='chart'][@aria-label='A probe at each unit']")
    assert len(drawn.xpath(".//*[@class='s0']/circle")) == len(found["points"])
    assert drawn.xpath(".//*[@class='s0']/*[@class='band']")


def test_the_runs_of_a_repository(
    trained: Served,
    ann: str,
    admin: str,
    kept: dict[str, Run],
) -> None:
    (row,) = rows(trained, "/team/net/runs", ann)
    assert row["id"] == kept["team/net"].id
    assert rows(trained, "/team/base/runs", ann) == []
    assert [row["name"] for row in rows(trained, "/secret/child/runs", admin)] == ["secret/child"]


def test_one_that_failed_is_for_admins(own: Served, kept: dict[str, Run]) -> None:
    change(own, kept["team/net"], status="failed", error="disk /home/x <b>full", result={})
    ann, admin = own.token("ann"), own.token("admin")
    assert own.ask(f"/-/runs/{kept['team/net'].id}", token=ann).status == 404
    _, tree = page(own, f"/-/runs/{kept['team/net'].id}", admin)
    assert tree.xpath("string(//p[@class='error'])") == "disk /home/x <b>full"
    assert rows(own, "/team/net/runs", ann) == []


def test_runs_are_told_apart_by_how_they_are(own: Served, kept: dict[str, Run]) -> None:
    run, reason = kept["team/net"], f"no memory {HOSTILE}"
    change(own, run, status="failed", error=reason, result={})
    admin = own.token("admin")
    _, tree = page(own, "/runs", admin)
    (failed,) = tree.xpath("//nav[@aria-label='State']//a[starts-with(., 'failed')]")
    assert failed.text_content() == "failed 1"
    got, tree = page(own, failed.get("href"), admin)
    (row,) = tree.xpath("//tbody/tr")
    assert row.xpath("string(th/a)") == "team/net", "what was trained comes first"
    assert run.id in row.text_content()
    assert reason in row.text_content()
    assert run.author
    assert run.author in row.text_content()
    assert b"<img" not in got.body
    done = own.ask("/runs.json?state=done", token=admin).json
    assert {each["name"] for each in done["rows"]} == {*NAMES} - {"team/net"}
    assert done["total"] == len(NAMES) - 1
    assert own.ask("/runs.json?state=odd", token=admin).json["total"] == len(NAMES)
    none = own.ask("/runs.json?state=failed", token=own.token("ann")).json
    assert none["rows"] == none["states"][1:] == []


def test_one_that_is_running_is_told_of_in_events(own: Served, kept: dict[str, Run]) -> None:
    run, admin = kept["team/net"], own.token("admin")
    path = f"/-/runs/{run.id}"
    ended = own.ask(f"{path}/events", token=admin)
    assert ended.headers["content-type"] == "text/event-stream"
    assert b"event: end\n" in ended.body
    folder = change(own, run, status="running", machine=machine(), result={})
    with ExitStack() as stack:
        stack.callback(RunLock(folder, machine()).release)
        _, tree = page(own, path, admin)
        assert tree.xpath("//*[@id='live']/@data-events") == [f"{path}/events"]
        assert tree.xpath("//noscript/meta/@http-equiv") == ["refresh"]
        first = own.ask(f"{path}/events", token=admin)
        assert "event: run" in first.body.decode()
        shown = html.fromstring(_data(first))
        assert shown.xpath("//svg[@class='chart']")
        seen = next(each for each in first.body.decode().splitlines() if each.startswith("id: "))
        again = own.ask(f"{path}/events", token=admin, Last_Event_ID=seen[4:])
        assert b"event:" not in again.body
        with (folder / METRICS).open("a") as file:
            line = {"kind": "step", "steps": 7, "loss": 0.5, "lr": 1e-3, "images_per_second": 9.0}
            file.write(json.dumps(line) + "\n")
        more = own.ask(f"{path}/events", token=admin, Last_Event_ID=seen[4:])
        assert "<dd>7</dd>" in _data(more)
        assert own.ask(f"{path}/events", token=own.token("ann")).status == 404


def test_the_list_says_how_far_one_is(own: Served, kept: dict[str, Run]) -> None:
    run, admin = kept["team/net"], own.token("admin")
    folder = change(own, run, status="running", machine=machine(), result={},
                    recipe={**run.recipe, "epochs": 10, "phases": []})  # fmt: skip
    at = time.time()
    epochs = [{"kind": "epoch", "steps": n, "time": at - 700 + 300 * n} for n in (1, 2)]
    lines = [{"kind": "step", "steps": 1, "time": at - 700}, *epochs]
    (folder / METRICS).write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    with ExitStack() as stack:
        stack.callback(RunLock(folder, machine()).release)
        rows = {row["id"]: row for row in own.ask("/runs.json", token=admin).json["rows"]}
        _, tree = page(own, "/runs?state=running", admin)
    assert (rows[run.id]["progress"]["epoch"], rows[run.id]["progress"]["epochs"]) == (2, 10)
    assert {row["progress"] is None for id_, row in rows.items() if id_ != run.id} == {True}
    text = text_of(tree)
    assert "epoch 2 of 10 done" in text
    assert re.search(r"0:3[78]:\d\d left", text), text


def _data(got: Got) -> str:
    lines = got.body.decode().splitlines()
    return "\n".join(each[6:] for each in lines if each.startswith("data: "))


@pytest.mark.parametrize(
    ("name", "content"),
    every(7, [("confusion.json", '{"classes": ["a", "b"], "counts": [[1]]}'),
     ("confusion.json", '{"classes": ["a"], "counts": [[-1]]}'),
     ("confusion.json", "[" * 100_000), (REPORT, '{"classes": 3}'), (REPORT, "\ud800x"),
     ("depth.json", '{"points": [{"unit": 1}]}'), (METRICS, "no\n{}\n[]\n3\n" + '{"kind": "step", "loss": NaN, "steps": "x"}\n{"kind": "epoch", "steps": 1e999, "name": 7}\n'),  # noqa: E501
     (METRICS, '{"kind": "step", "loss": 1e308, "steps": -1e308, "time": -1e300}\n{"kind": "step", "loss": -1e308, "steps": 1e308}\n'),  # noqa: E501
     ("depth.json", '{"chosen": "a", "points": [{"unit": "a", "features": 1, "score": 1e308, "error": 1e308, "knn": -1e308}]}'),  # noqa: E501
     (RUN, "{}"), (RUN, '{"status": 3}'),
     (RUN, json.dumps(dict.fromkeys(("base", "parent", "save", "recipe", "device", "started"), 1))),
     (RUN, json.dumps({**dict.fromkeys(("base", "parent", "save", "device", "started"), "x"),
                       "recipe": {}, "status": "done", "result": {"metrics": ["x"]}}))],
     beside=pytest.mark.long),
)  # fmt: skip
def test_files_that_are_damaged_end_in_no_error(
    own: Served, kept: dict[str, Run], name: str, content: str
) -> None:
    run, admin = kept["team/net"], own.token("admin")
    (own.root / "runs" / run.id / name).write_text(content, errors="surrogatepass")
    got, _ = page(own, f"/-/runs/{run.id}", admin)
    assert got.status == (404 if name == RUN else 200)
    assert page(own, "/runs", admin)[0].status == 200
    assert page(own, "/compare?names=team/net&names=team/seed", admin)[0].status == 200


@pytest.mark.parametrize(
    "values",
    [{"recipe": {"phases": 5}}, {"result": {"metrics": {}, "seconds": 1e300}, "recipe": {}}],
)
def test_a_run_that_says_odd_things_ends_in_no_error(
    own: Served, kept: dict[str, Run], values: dict[str, object]
) -> None:
    run, admin = kept["team/net"], own.token("admin")
    change(own, run, **values)
    assert page(own, f"/-/runs/{run.id}", admin)[0].status in (200, 404)
    assert page(own, "/runs", admin)[0].status == 200


@pytest.mark.long
def test_many_epochs_take_no_time(own: Served, kept: dict[str, Run]) -> None:
    run, admin = kept["team/net"], own.token("admin")
    line = '{"kind": "epoch", "name": "epoch %d", "steps": %d, "accuracy": 0.5}\n'
    text = "".join(line % (at, at) for at in range(20_000))
    (own.root / "runs" / run.id / METRICS).write_text(text)
    began = time.process_time()
    assert own.ask(f"/-/runs/{run.id}.json", token=admin).status == 200
    assert time.process_time() - began < 5


def test_what_a_page_leaves_out_is_counted(own: Served, kept: dict[str, Run]) -> None:
    """And the twin in JSON has it; of nothing, nothing is said."""
    run, admin = kept["team/net"], own.token("admin")
    folder, path = own.root / "runs" / run.id, f"/-/runs/{run.id}"
    other = page(own, f"/-/runs/{kept['team/seed'].id}", admin)[1]
    assert "more figure" not in text_of(other)
    assert "before these" not in text_of(other)
    figures = {f"figure_{at}": at for at in range(32)}
    line = json.dumps({"kind": "epoch", "name": "epoch", "steps": 1, **figures})
    (folder / METRICS).write_text(f"{line}\n" * 203)
    named = [{"name": "a", "images": 1, "figures": {f"kind_{at}": 0.5 for at in range(31)}}]
    report = json.loads((folder / REPORT).read_text()) | {"classes": named}
    (folder / REPORT).write_text(json.dumps(report))
    tree = page(own, path, admin)[1]
    text = text_of(tree)
    assert "and 2 more figures: all, as JSON" in text
    assert "and 1 more figure: all, as JSON" in text
    assert "and 3 before these" in text
    (twin,) = {*tree.xpath("//a[text()='all, as JSON']/@href")}
    told = own.ask(twin, token=admin).json
    assert told["course"]["epochs"][0]["figures"].keys() == figures.keys()
    assert len(told["report"]["classes"][0]["figures"]) == 31


def test_advice_for_the_same_network_and_images(own: Served, kept: dict[str, Run]) -> None:
    run = kept["team/net"]
    tried = [Row(name=name, kind="probe", score=score, low=0.1, high=0.9, images=12, seconds=1.0)
             for name, score in (("probe at head", 0.5), ("probe <i>layer1", 0.7))]  # fmt: skip
    for data, rows_ in ((run.provenance["data_digest"], tried), ("blake3:" + "0" * 64, tried[:1])):
        advised = StoredAdvice(
            base="team/base", manifest=run.parent, data="x", data_digest=data, image_size=(32, 32),
            measure="accuracy", at="2026-01-01T00:00:00Z", name=tried[1].name, options={},
            trained=False, tried=tuple(rows_),
        )  # fmt: skip
        assert remember(own.root, advised)
    _, tree = page(own, f"/-/runs/{run.id}", own.token("ann"))
    shown = tree.xpath("//table[contains(caption, 'advised')]//th[@scope='row']")
    assert [" ".join(each.text_content().split()) for each in shown] == [
        "probe <i>layer1 advised", "probe at head"
    ]  # fmt: skip


@pytest.mark.long
def test_many_runs_have_several_pages(own: Served, kept: dict[str, Run]) -> None:
    for number in range(103):
        folder = own.root / "runs" / f"20250101-000000-{number:06}"
        folder.mkdir()
        shutil.copy(kept["team/net"].folder / RUN, folder)
    ann = own.token("ann")
    first, second = (own.ask(f"/runs.json?page={n}", token=ann).json for n in (1, 2))
    assert (len(first["rows"]), len(second["rows"]), first["total"]) == (100, 7, 107)
    assert own.ask("/runs.json?page=99", token=ann).json["number"] == 2
    assert own.ask("/runs.json?page=x", token=ann).json["number"] == 1
    assert (first["beyond"], own.ask("/runs.json?page=99", token=ann).json["beyond"]) == (0, 99)
    _, tree = page(own, "/runs?page=x", ann)
    assert "There is no page “x”: this is the first" in tree.text_content()
    _, tree = page(own, "/runs?page=99", ann)
    assert "There is no page 99: this is the last" in text_of(tree)
    assert tree.xpath("//p[@role='status']/a/@href") == ["/runs"]
    _, tree = page(own, "/runs", ann)
    assert tree.xpath("//a[@rel='next']/@href") == ["/runs?page=2"]


@pytest.mark.long
def test_a_long_journal_keeps_its_course(own: Served, kept: dict[str, Run]) -> None:
    """Also as it grows, and where it is written anew."""
    run, admin = kept["team/net"], own.token("admin")
    path, ask = own.root / "runs" / run.id / METRICS, f"/-/runs/{run.id}.json"

    def told(numbers: range, mode: str) -> Any:
        with path.open(mode) as file:
            for at in numbers:
                line = {"kind": "step", "steps": at, "loss": at / 2, "lr": 1.0, "time": 10.0 * at}
                file.write(json.dumps(line) + "\n")
            file.write('{"kind": "step", "steps": 99')  # half a line
            file.flush()
        return own.ask(ask, token=admin).json["course"]

    path.unlink()
    first = told(range(3000), "w")
    with path.open("a") as file:
        file.write("99}\n")
    more = told(range(3000, 7000), "a")
    for course, last in ((first, 3000), (more, 7000)):
        assert len(course["loss"]) <= 240
        assert all(abs(point["y"] - point["x"] / 2) < 40 for point in course["loss"])
        assert last - 60 < course["loss"][-1]["x"] < last
    assert more["progress"]["step"] == 6999
    assert more["progress"]["rate"] == 1.0
    path.rename(path.with_suffix(".old"))  # as a file that is replaced
    assert told(range(5), "w")["progress"]["step"] == 4
