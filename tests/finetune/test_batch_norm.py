"""Batch norm that is trained: whose statistics it has, and that they are kept, come what may."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.cuts import Cut, cut_at
from fakes.sampled import sampled
from fakes.tuned import quick
from torch import Tensor

from zoo.backbones.load import load
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption
from zoo.finetune.conclude import Finetuned
from zoo.finetune.run import finetune, rerun, resume
from zoo.finetune.setup import prepare
from zoo.lookup.runs import find_run
from zoo.workspace import Workspace
from zoo_cli.main import main

Run = Callable[..., Finetuned]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
SMALL: dict[str, Any] = {"batch_size": 8, "image_size": 32}
PARTIAL: dict[str, Any] = {"strategy": "partial", "freeze": "layer3", "epochs": 1, "lr": 0.01}


@pytest.fixture(scope="module")
def workspace(
    templates: Callable[[frozenset[str]], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    """With a network that has batch norm, and one that has none."""
    root = tmp_path_factory.mktemp("norms") / "zoo"
    shutil.copytree(templates(frozenset({"base", "transformer"})), root)
    with quick(), closing(Workspace(root)) as workspace:
        yield workspace


@pytest.fixture
def run(workspace: Workspace, drawn: Path) -> Run:
    def run(save: str = "team/x", base: str = "team/base", **options: Any) -> Finetuned:
        recipe = Recipe(data=str(drawn), **{**SMALL, **options})
        return finetune(workspace, base, recipe, Reference.parse(save), device="cpu", save_every=1)

    return run


def state(workspace: Workspace, name: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load(workspace.store, workspace.names.resolve(name)[1]).state_dict()
    return found


def statistics(workspace: Workspace, name: str, unit: str = "layer4") -> dict[str, Tensor]:
    values = state(workspace, name)
    return {n: v for n, v in values.items() if n.startswith(unit) and n.endswith(STATISTICS)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def recorded(workspace: Workspace, result: Finetuned) -> dict[str, Any]:
    return dict(workspace.store.manifest(result.manifest).recipe or {})


@pytest.mark.parametrize("cache", [pytest.param(True, marks=pytest.mark.long), False])
def test_frozen_they_stay_those_of_the_base(workspace: Workspace, run: Run, cache: bool) -> None:
    run(**PARTIAL, batch_norm="frozen", cache=cache)
    assert statistics(workspace, "team/x")
    assert same(statistics(workspace, "team/x"), statistics(workspace, "team/base"))
    before, after = state(workspace, "team/base"), state(workspace, "team/x")
    norms = [n.replace("running_mean", "weight") for n in statistics(workspace, "team/x")
             if n.endswith("running_mean")]  # fmt: skip
    assert not any(torch.equal(before[name], after[name]) for name in norms)
    run(**PARTIAL, batch_norm="live")
    assert not same(statistics(workspace, "team/x"), statistics(workspace, "team/base"))


@pytest.mark.long
def test_recalibrated_they_are_taken_once(workspace: Workspace, run: Run) -> None:
    run("team/one", **PARTIAL, batch_norm="recalibrated")
    run("team/two", **{**PARTIAL, "epochs": 2, "lr": 0.1}, batch_norm="recalibrated")
    one, two = (statistics(workspace, name) for name in ("team/one", "team/two"))
    assert same(one, two)
    assert not same(one, statistics(workspace, "team/base"))


@pytest.mark.long
def test_an_average_of_weights_has_its_own(workspace: Workspace, run: Run) -> None:
    """What all training images give in the network that is kept; training goes on as without."""
    how = {**PARTIAL, "freeze": "layer2", "epochs": 2, "lr": 0.05, "batch_norm": "live"}
    how |= {"validation_share": 0.0}  # the latest is kept
    done = run("team/mean", **how, ema=0.9)
    assert done.freeze["kept"] == "average of epoch 2"
    kept = statistics(workspace, "team/mean")
    run("team/again", "team/mean", **{**PARTIAL, "freeze": "layer2", "epochs": 1, "lr": 1e-12},
        batch_norm="recalibrated", validation_share=0.0)  # fmt: skip
    for name, value in statistics(workspace, "team/again").items():
        if "num_batches" not in name:
            assert torch.allclose(value, kept[name], rtol=1e-3, atol=1e-5), name
    plain = run("team/plain", **how)
    for one, other in zip(losses(workspace, done), losses(workspace, plain), strict=True):
        assert one == other


def losses(workspace: Workspace, done: Finetuned) -> list[float]:
    return [
        line["loss"] for line in find_run(workspace, done.run).lines() if line["kind"] == "step"
    ]


@pytest.mark.long
def test_recalibrated_each_image_counts_as_much(workspace: Workspace, run: Run) -> None:
    """However they are divided into batches, the last of which is the smallest."""
    first = "layer4.0.bn1.running_mean"
    means = []
    for size in (7, 500):
        run("team/part", **{**PARTIAL, "lr": 1e-9, "batch_size": size}, batch_norm="recalibrated")
        means.append(statistics(workspace, "team/part")[first])
    assert torch.allclose(means[0], means[1], rtol=1e-3, atol=1e-5)


@pytest.mark.long
def test_they_are_taken_of_all_that_any_phase_trains(workspace: Workspace, run: Run) -> None:
    run(strategy="gradual", phases=("all:1", "layer3:1"), batch_norm="recalibrated")
    run("team/part", **PARTIAL, batch_norm="recalibrated")
    assert same(statistics(workspace, "team/x"), statistics(workspace, "team/part"))


@pytest.mark.long
def test_a_probe_before_training_is_the_one_by_itself(workspace: Workspace, run: Run) -> None:
    """Of the features of the base, where batch norm is frozen."""
    alone = run(strategy="probe")
    first = run("team/lp", freeze="layer3", epochs=1, batch_norm="frozen")
    live = run("team/live", freeze="layer3", epochs=1, batch_norm="live")
    fitted = [
        next(x for x in find_run(workspace, each.run).lines() if x["kind"] == "probe")["loss"]
        for each in (alone, first, live)
    ]
    assert fitted[1] == pytest.approx(fitted[0], rel=1e-4)
    assert fitted[2] != pytest.approx(fitted[0], rel=1e-2)


@pytest.mark.long
def test_of_one_process_synced_is_live(workspace: Workspace, run: Run) -> None:
    """Also for the probe before it."""
    run("team/live", freeze="layer3", epochs=1, batch_norm="live")
    run("team/synced", freeze="layer3", epochs=1, batch_norm="synced")
    assert same(state(workspace, "team/synced"), state(workspace, "team/live"))


@pytest.mark.long
def test_blends_keep_them(workspace: Workspace, run: Run) -> None:
    run(freeze="layer3", epochs=1, batch_norm="frozen", blend="wise-ft")
    assert same(statistics(workspace, "team/x"), statistics(workspace, "team/base"))


@pytest.mark.parametrize("how", ["frozen", "recalibrated"])
@pytest.mark.long
def test_resumed_and_run_again_the_bits_are_the_same(
    workspace: Workspace, run: Run, how: str
) -> None:
    whole = run(**PARTIAL, batch_norm=how)
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, 2)
        with pytest.raises(Cut):
            run("team/cut", **PARTIAL, batch_norm=how)
    resume(workspace, "last", device="cpu")
    assert same(state(workspace, "team/cut"), state(workspace, "team/x"))
    again = rerun(workspace, "team/x", Reference.parse("team/again"), device="cpu")
    assert recorded(workspace, again)["batch_norm"] == how
    assert same(state(workspace, "team/again"), state(workspace, "team/x"))
    assert again.metrics == whole.metrics


@pytest.mark.long
@pytest.mark.parametrize("base", sampled(["team/base", "team/transformer"], ["team/base"]))
def test_what_older_versions_recorded_is_live(workspace: Workspace, run: Run, base: str) -> None:
    """Their recipes say nothing of it, of networks without batch norm neither."""
    freeze = "layer3" if base == "team/base" else "blocks.4"
    options = {**PARTIAL, "freeze": freeze, "image_size": 32 if base == "team/base" else 160}
    to_json = Recipe.to_json
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Recipe, "to_json", lambda x: {k: v for k, v in to_json(x).items() if k != "batch_norm"}
        )
        older = run(base=base, **options, **({"batch_norm": "live"} if freeze == "layer3" else {}))
    assert "batch_norm" not in recorded(workspace, older)
    again = rerun(workspace, "team/x", Reference.parse("team/again"), device="cpu")
    assert recorded(workspace, again).get("batch_norm") == ("live" if freeze == "layer3" else None)
    assert same(state(workspace, "team/again"), state(workspace, "team/x"))


@pytest.mark.parametrize("how", ["frozen", "live", "recalibrated"])
@pytest.mark.parametrize(
    ("base", "options", "says"),
    [
        ("team/base", {"strategy": "probe"}, "the strategy probe does not use batch norm"),
        ("team/base", {"freeze": "all"}, "no batch norm of test_resnet is trained from head on"),
        ("team/transformer", {}, "no batch norm of test_vit is trained from"),
    ],
)
def test_without_effect_it_is_refused(
    run: Run, base: str, options: dict[str, Any], says: str, how: str
) -> None:
    with pytest.raises(InvalidOption, match=says):
        run(base=base, **options, batch_norm=how)


@pytest.mark.long
def test_a_network_is_checkpointed_while_they_are_kept(workspace: Workspace, run: Run) -> None:
    options = {**PARTIAL, "batch_norm": "frozen", "cache": False}
    run("team/plain", **options)
    run("team/other", **options, grad_checkpointing=True)
    one, other = state(workspace, "team/plain"), state(workspace, "team/other")
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    with pytest.raises(InvalidOption, match="--batch-norm frozen"):
        run(**{**options, "batch_norm": "live"}, grad_checkpointing=True)


@pytest.mark.long
def test_the_command_says_which_it_is(
    workspace: Workspace, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--home", workspace.root, "finetune", "team/base", "--data", drawn, "--batch-size", 8,
            "--image-size", 32, "--freeze", "layer3", "--epochs", 1]  # fmt: skip
    with pytest.raises(SystemExit):
        main([str(part) for part in (*line, "--batch-norm", "frozen", "--dry-run")])
    assert "lp-ft, on cpu, batch norm frozen" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([str(part) for part in (*line, "--batch-norm", "frozen", "--save", "team/x")])
    assert "lp-ft on cpu, batch norm frozen" in capsys.readouterr().err


@pytest.mark.long
def test_by_default_they_are_kept_where_images_are_few(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the images decide that are trained on, 27 of them; what was decided is recorded."""
    for few, how in ((27, "frozen"), (26, "live")):
        monkeypatch.setattr(prepare, "FEW", few)
        assert recorded(workspace, run(**PARTIAL))["batch_norm"] == how
    assert "batch_norm" not in recorded(workspace, run(strategy="probe"))
    assert "batch_norm" not in recorded(workspace, run(**{**PARTIAL, "freeze": "all"}))
