"""zoo rank: finalists are trained for a short while, and what comes of it is kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from blake3 import blake3
from fakes import own_nets
from fakes.colored import save_scenes, scene
from fakes.hub_zoo import weights
from fakes.prepared import NET
from fakes.program import Said, as_user
from fakes.program import zoo as program
from fakes.ranked import BLIND, OTHER, add_networks
from fakes.tiny_transformers import tiny_rows
from safetensors.torch import save

from zoo.advice import candidates, held_out
from zoo.advice import race as racing
from zoo.advice.candidates import Row
from zoo.advice.cost import Speed
from zoo.domain.reference import Reference
from zoo.exchange.importing import Origin, import_file
from zoo.facade import Zoo
from zoo.finetune import trial
from zoo.finetune.strategies import linear
from zoo.lookup.runs import Run
from zoo.ranking import cost, finals, measure, work
from zoo.workspace import Workspace
from zoo_cli.rank import _cut_off
from zoo_transformers.backbone import TransformersBackbone

ROW = Row("everything", "none", "frozen")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)


def be_quick(patch: pytest.MonkeyPatch) -> None:
    """One recipe, two folds, two epochs."""
    patch.setattr(held_out, "MOST_REPEATS", 1)
    patch.setattr(held_out, "FOLDS", 2)
    patch.setattr(linear, "CS", (1.0,))
    patch.setattr(cost, "TIMES", 1)
    patch.setattr(measure, "cost_of", as_counted)
    patch.setattr(candidates, "FOLDS", 2)
    patch.setattr(finals, "EPOCHS", 2)
    patch.setattr(candidates, "EPOCHS", 2)
    patch.setattr(finals, "TRIED", (ROW,))


def as_counted(*asked: Any) -> Any:
    """How long an image takes, as if that were what its operations say: the order is of it, too."""
    _, macs = cost.cost_of(*asked)
    return (macs or 0.0) / 1e6, macs


def let_training_win(patch: pytest.MonkeyPatch) -> None:
    """As if no probe knew anything, and two epochs were best."""

    def ignorant(_: object, __: object, asked: list[int]) -> list[tuple[str, list[float]]]:
        return [(at, [0.0] * len(asked)) for at in ("head", "all")]

    patch.setattr(candidates.Contest, "_scores", ignorant)
    patch.setattr(finals, "usable", lambda _: ("head", "all"))
    patch.setattr(racing, "best_epochs", lambda _: 2)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, small_zoo: Path) -> tuple[Path, Said]:
    """A zoo in which three networks were ranked by 36 pictures, and two of them trained."""
    root = tmp_path_factory.mktemp("ranked")
    zoo = Path(shutil.copytree(small_zoo, root / "zoo"))
    add_networks(zoo)
    save_scenes(root / "data", 12)
    with pytest.MonkeyPatch.context() as patch:
        be_quick(patch)
        said = program("--home", zoo, "rank", root / "data", *ASKED, "--json").done()
    return root, said


ASKED = ("--image-size", 32, "--top", 2, "--among", "team")


@pytest.fixture
def ranked(template: tuple[Path, Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data; the folder is a copy of that zoo."""
    shutil.copytree(template[0], tmp_path / "ranked")
    monkeypatch.chdir(tmp_path / "ranked" / "zoo")
    return tmp_path / "ranked" / "data"


@pytest.fixture
def fresh(ranked: Path) -> Path:
    """The data; the networks were measured, but not tried."""
    for path in (Path("trials"), *_kept()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return ranked


def _kept() -> Iterator[Path]:
    """What is kept of finals."""
    for path in Path("cache", "ranking").glob("*.json"):
        if b'"left_out"' in path.read_bytes():
            yield path


def by_name(said: Said) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in said.json["networks"]}


def never(*_: object, **__: object) -> None:
    raise AssertionError("it trains")


def interrupt_at(patch: pytest.MonkeyPatch, module: Any, name: str, call: int) -> None:
    """Ctrl-C at a call of a function."""
    real, calls = getattr(module, name), 0

    def interrupted(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    patch.setattr(module, name, interrupted)


@pytest.mark.long
def test_finalists_are_trained_on_images_that_are_no_test_images(
    template: tuple[Path, Said], ranked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = template[1]
    assert "trying 2 recipes on 2 folds of 30 images: " in said.err
    found, images = by_name(said), said.json["images"]
    assert (said.json["ended"], said.json["left_out"], images) == ("", {}, 30)
    finalists = {name for name, each in found.items() if each["finalist"]}
    assert finalists == {NET, OTHER}
    assert found[BLIND]["outcomes"] == []
    for name in finalists:
        probe, trained = sorted(found[name]["outcomes"], key=lambda each: each["kind"])
        assert (probe["kind"], probe["images"]) == ("probe", images)
        assert (trained["kind"], trained["name"]) == ("training", "everything")
        assert trained["options"]["batch_norm"] == "frozen"
        assert trained["low"] <= trained["score"] <= trained["high"]
        assert "scores" not in trained
    assert list(Path("trials").glob("*/run.json"))
    # Asked again, no network is built.
    monkeypatch.setattr(work, "prepare", never)
    for budget in ("30m", "0"):
        again = program("rank", ranked, *ASKED, "--budget", budget, "--json").done().json
        assert again["networks"] == said.json["networks"]
    printed = program("rank", ranked, *ASKED).done().out
    assert printed.splitlines()[5].split()[:4] == ["FINALIST", "ACCURACY", "HELD", "OUT"]
    assert "better after a short training than its probe is: the probes order them" in " ".join(
        printed.split()
    )


@pytest.mark.long
def test_a_network_that_training_makes_better_is_said_to_be_trained(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_training_win(monkeypatch)
    said = program("rank", fresh, *ASKED, "--json").done()
    trained = {
        name: each["outcomes"][0]["kind"] == "training"
        for name, each in by_name(said).items()
        if each["outcomes"]
    }
    assert trained == {NET: True, OTHER: True}
    assert "than its probe is" not in program("rank", fresh, *ASKED).done().out


@pytest.mark.long
def test_advice_for_the_winner_finds_what_was_trained(
    template: tuple[Path, Said], ranked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = template[1].json["winner"]
    monkeypatch.setattr(candidates, "ROWS", (ROW,))
    monkeypatch.setattr(trial, "train", never)
    asked = ("--base", winner, "--image-size", 32, "--json")
    tried = program("advise", ranked, *asked).done().json["plan"]["tried"]
    assert {each["name"] for each in tried} >= {"everything"}


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        pytest.param(finals, "speed_of", 2, marks=pytest.mark.long),
        pytest.param(finals, "read", 2, marks=pytest.mark.long),
        pytest.param(trial, "train", 5, marks=pytest.mark.long),
    ],
)
def test_ctrl_c_leaves_the_order_of_the_probes_and_the_rest_is_done_the_next_time(
    template: tuple[Path, Said], fresh: Path, monkeypatch: pytest.MonkeyPatch,
    module: Any, name: str, call: int,
) -> None:  # fmt: skip
    probed = program("rank", fresh, *ASKED, "--budget", 0, "--json").done().json
    with monkeypatch.context() as patch:
        interrupt_at(patch, module, name, call)
        done = program("rank", fresh, *ASKED, "--json")
    assert (done.code, done.json["ended"]) == (130, "interrupted")
    names = [each["name"] for each in probed["networks"]]
    assert [each["name"] for each in done.json["networks"]] == names
    again = program("rank", fresh, *ASKED, "--json").done()
    assert again.json["ended"] == ""
    assert _figures(again) == _figures(template[1])


def _figures(said: Said) -> dict[str, list[tuple[str, float]]]:
    """All but times."""
    return {
        name: [(one["name"], one["score"]) for one in each["outcomes"]]
        for name, each in by_name(said).items()
    }


@pytest.mark.long
def test_what_the_budget_does_not_allow_is_left_out_and_no_image_read_for_it(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = program("rank", fresh, *ASKED, "--budget", 0).done().out
    assert (
        "the budget was over before any finalist was trained: the order is that of the pr" in none
    )
    assert "the same command (--budget 1h) resumes there" in " ".join(none.split())
    assert "FINALIST" not in none
    monkeypatch.setattr(finals, "speed_of", lambda _: Speed(1e6, (0.0,) * 20))
    monkeypatch.setattr(finals, "read", never)
    said = program("rank", fresh, *ASKED).done().out
    assert (
        "NOTE: 2 short trainings not begun, as more time was needed than was left; the quick"
        in said
    )
    assert "FINALIST" not in said


def test_what_the_budget_cut_off_is_said_in_plain_words() -> None:
    cut = SimpleNamespace(kind="training", name="all", images=40, done=4, of=9, dropped="")
    behind = SimpleNamespace(**{**vars(cut), "name": "half", "dropped": "behind the best"})
    network = SimpleNamespace(name="team/a", state="measured", outcomes=[cut, behind])
    ranking: Any = SimpleNamespace(networks=[network], images=120, left_out={"team/b: all": 200.0})
    assert list(_cut_off(ranking)) == [
        "NOTE: the budget was not enough for all short trainings of the finalists: what is said of "
        "them rests on 40 of the 120 images; team/a: all came to epoch 4 of 9",
        "NOTE: 1 short training not begun, as more time was needed than was left; the quickest "
        "needs about 3 min (team/b: all): --budget 5m is enough for it",
        "NOTE: what was done is kept, and takes nothing of the next budget: the same command "
        "(--budget 1h) resumes there",
    ]


def test_what_was_not_measured_takes_as_long_as_what_was() -> None:
    took = [SimpleNamespace(seconds=seconds) for seconds in (20.0, 60.0)]
    done = [SimpleNamespace(state="measured", outcomes=[], measured=each) for each in took]
    left = [SimpleNamespace(state="not reached", outcomes=[], measured=None)] * 3
    over = "NOTE: the budget was over before all were measured"
    ranking: Any = SimpleNamespace(networks=[*done, *left], left_out={})
    assert (
        next(_cut_off(ranking)) == f"{over}: another --budget 3m is enough for the 3 that are left"
    )
    ranking.networks.pop()
    ranking.networks.pop()
    assert (
        next(_cut_off(ranking)) == f"{over}: another --budget 1m is enough for the one that is left"
    )
    assert next(_cut_off(SimpleNamespace(networks=left, left_out={}))) == over  # type: ignore[arg-type]


@pytest.mark.long
def test_a_network_that_fails_takes_no_part(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError("no memory\nfor that")

    monkeypatch.setattr(finals, "read", refuse)
    said = program("rank", fresh, *ASKED, "--json").done()
    assert f"{NET} takes no part in short runs: no memory\n" in said.err
    assert {bool(each["measured"]) for each in said.json["networks"]} == {True}


@pytest.mark.long
def test_fewer_runs_do_not_replace_what_rests_on_more(
    template: tuple[Path, Said], ranked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was interrupted before is known, and the next attempt gets less far."""
    (path,) = _kept()
    path.write_bytes(path.read_bytes().replace(b'"ended":""', b'"ended":"interrupted"'))
    monkeypatch.setattr(finals, "read", never)
    monkeypatch.setattr(finals, "kept_trials", lambda *_: [])
    monkeypatch.setattr(finals, "speed_of", lambda _: Speed(1e6, (0.0,) * 20))
    again = program("rank", ranked, *ASKED, "--json").done()
    assert _figures(again) == _figures(template[1])
    assert again.json["ended"] == "budget"


def states(*asked: object) -> dict[str, str]:
    said = program("rank", *asked, *ASKED, "--budget", 0, "--json").done()
    return {name: each["state"] for name, each in by_name(said).items()}


def test_a_name_that_moved_and_images_that_changed_are_measured_anew(ranked: Path) -> None:
    assert set(states(ranked).values()) == {"measured"}
    Path("net.safetensors").write_bytes(weights(7))
    program(
        "import", "net.safetensors", "--architecture", "test_resnet", "--as", NET, "--force"
    ).done()
    assert states(ranked) == {NET: "not reached", OTHER: "measured", BLIND: "measured"}
    picture = next(ranked.glob("*/*"))
    scene(99, picture.parent.name).save(picture)
    assert set(states(ranked).values()) == {"not reached"}


def test_who_was_trained_on_some_of_the_images_is_left_out(ranked: Path) -> None:
    """The record of a run says which; what only derives from it has no run."""
    net = program("show", NET, "--json").done().json["manifest"]
    names = [blake3(path.read_bytes()).hexdigest() for path in sorted(ranked.glob("*/*"))]
    folder = Path("runs", "1")
    folder.mkdir(parents=True)
    (folder / "images.txt").write_text("".join(f"{name[:16]}\n" for name in names))
    run = Run(
        folder=folder, base="x", parent="x", save="x", recipe={}, device="cpu", started="",
        status="done", result={"manifest": net},
    ).write()  # fmt: skip
    found = program("rank", ranked, *ASKED, "--budget", 0, "--json").done()
    net_row = by_name(found)[NET]
    assert (net_row["state"], net_row["finalist"]) == ("knows the labels", False)
    assert net_row["why"] == "it was trained on 30 of these 30 images"
    assert found.json["winner"] == OTHER
    (folder / "images.txt").write_bytes(b"\xff")
    assert states(ranked)[NET] == "measured"
    assert run.images() == frozenset()
    (folder / "images.txt").write_text("".join(f"{name[:16]}\n" for name in names))
    program("edit", NET, "--license", "mit").done()  # another checkpoint, of the same weights
    assert states(ranked)[NET] == "knows the labels"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_who_may_only_read_a_zoo_gets_what_was_found_in_it(
    template: tuple[Path, Said],
) -> None:
    with tempfile.TemporaryDirectory() as root:
        copy = Path(shutil.copytree(template[0], Path(root) / "ranked"))
        Path(root).chmod(0o755)
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        line = ("--home", copy / "zoo", "rank", copy / "data", *ASKED, "--budget", 0, "--json")
        said = as_user(61002, 61000, lambda: program(*line)).done()
    assert _figures(said) == _figures(template[1])


@pytest.mark.long
def test_in_a_zoo_that_may_only_be_read_nothing_is_kept(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.lookup.runs.os.access", lambda *_: False)
    said = program("rank", fresh, *ASKED, "--json").done()
    assert by_name(said)[NET]["outcomes"]
    assert not Path("trials").exists()
    assert not list(_kept())


@pytest.mark.long
def test_networks_of_all_kinds_each_at_its_own_size(ranked: Path) -> None:
    """One of transformers, one of 24 pixels, and an encoder that pools no features itself."""
    vit = "vit-base-patch16-224"
    with tiny_rows(), closing(Workspace(Path.cwd())) as workspace:
        for name, plugin, architecture, module in (
            ("own/vit", "transformers", vit, TransformersBackbone().build(vit)),
            ("own/small", "torch", "fakes.own_nets:ALEXNET", own_nets.AlexNet()),
            ("own/maps", "torch", "fakes.own_nets:make_encoder", own_nets.make_encoder()),
        ):
            Path("net.safetensors").write_bytes(save(module.state_dict(), {"format": "pt"}))
            if plugin == "torch":
                Zoo(workspace).trust(architecture)
            origin = Origin(plugin=plugin, architecture=architecture)
            import_file(workspace, Path("net.safetensors"), Reference.parse(name), origin)
        said = program("rank", ranked, "--among", "own", "--json").done()
    found = by_name(said)
    assert {name: each["measured"]["image_size"] for name, each in found.items()} == {
        "own/vit": 32, "own/small": 24, "own/maps": 224,
    }  # fmt: skip
    for each in found.values():
        assert {one["kind"] for one in each["outcomes"]} == {"probe", "training"}
