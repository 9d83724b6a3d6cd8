"""Strategies: what each trains, what it keeps, and what it leaves behind."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.sampled import sampled
from safetensors.torch import save_file

from zoo.backbones.load import load
from zoo.domain.progress import Console
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, UnknownName, Unsupported
from zoo.facade import Zoo
from zoo.finetune.loop import train as training
from zoo.finetune.run import Finetuned, finetune
from zoo.lookup.runs import find_run, list_runs
from zoo.workspace import Workspace

Run = Callable[..., Finetuned]

NOTE = r"epoch \d, loss [\d.]+, rate [\d.e-]+, \d+ images/s"


@pytest.fixture
def workspace(shared: Workspace) -> Workspace:
    """One for all: no test looks at what another has made, and inputs at a cut are kept once."""
    return shared


@pytest.fixture
def base() -> str:
    return "team/base"


@pytest.fixture
def shapes(drawn: Path) -> Path:
    """No test changes them."""
    return drawn


@pytest.fixture
def run(workspace: Workspace, base: str, shapes: Path) -> Run:
    def run(save: str = "team/x", **options: Any) -> Finetuned:
        quick: dict[str, Any] = {"batch_size": 8, "image_size": 32}
        if options.get("strategy") not in ("probe", "gradual"):
            quick |= {"epochs": 2, "lr": 0.01}
        recipe = Recipe(data=str(shapes), **{**quick, **options})
        return finetune(workspace, base, recipe, Reference.parse(save), device="cpu")

    return run


def lines(workspace: Workspace, result: Finetuned, kind: str) -> list[dict[str, Any]]:
    return [x for x in find_run(workspace, result.run).lines() if x["kind"] == kind]


def moved(workspace: Workspace, result: Finetuned) -> set[str]:
    before = load(workspace.store, result.parent).state_dict()
    after = load(workspace.store, result.manifest).state_dict()
    return {n for n in after if n not in before or not torch.equal(before[n], after[n])}


def test_a_probe_moves_the_head_alone(workspace: Workspace, run: Run) -> None:
    result = run(strategy="probe")
    assert moved(workspace, result) == {"fc.weight", "fc.bias"}
    assert result.freeze["kept"] == "probe"
    assert result.freeze["boundary"] == "head"
    assert lines(workspace, result, "step") == []
    (noted,) = lines(workspace, result, "probe")
    assert noted["c"][0] > 0
    assert set(noted["knn"]) >= {"1", "5"}
    assert run("team/svm", strategy="probe", probe="svm").metrics["accuracy"] > 0.5


@pytest.mark.long
def test_a_probe_at_a_unit_is_saved_truncated(workspace: Workspace, run: Run, shapes: Path) -> None:
    result = run(strategy="probe", at="layer2")
    manifest = workspace.store.manifest(result.manifest)
    assert manifest.backbone.options["truncate"] == "layer2.0"
    assert manifest.logical_bytes < workspace.store.manifest(result.parent).logical_bytes / 2
    parent = {t.name: t.object for t in workspace.store.manifest(result.parent).tensors}
    kept = {t.name: t.object for t in manifest.tensors if not t.name.startswith("zoo_head")}
    assert kept
    assert all(parent[name] == digest for name, digest in kept.items())
    zoo = Zoo(workspace)
    found = zoo.predict("team/x", [shapes / "2" / "03.png"])[0]
    assert set(found.classes) == {"2", "10", "Squares"}
    again = run("team/again", strategy="probe", at="layer2")
    assert again.metrics == result.metrics


@pytest.mark.long
def test_the_depth_of_a_probe_is_chosen(workspace: Workspace, run: Run) -> None:
    result = run(strategy="probe", at="auto")
    folder = find_run(workspace, result.run).folder
    curve = json.loads((folder / "depth.json").read_text())
    assert (folder / "depth.png").read_bytes().startswith(b"\x89PNG")
    assert len(curve["points"]) >= 7
    options = workspace.store.manifest(result.manifest).backbone.options
    chosen = curve["chosen"]
    assert options.get("truncate", "head") == chosen
    by_score = {point["unit"]: point["score"] for point in curve["points"]}
    assert by_score[chosen] >= by_score["head"] - 0.2


def test_lp_ft_begins_with_a_probe(workspace: Workspace, run: Run) -> None:
    result = run(freeze="all")
    assert workspace.store.manifest(result.manifest).recipe["strategy"] == "lp-ft"  # type: ignore[index]
    assert len(lines(workspace, result, "probe")) == 1
    first = lines(workspace, result, "step")[0]
    partial = run("team/partial", strategy="partial", freeze="all")
    assert first["loss"] < lines(workspace, partial, "step")[0]["loss"]


@pytest.mark.long
def test_heads_that_no_probe_fits_are_trained_from_scratch(workspace: Workspace, run: Run) -> None:
    result = run(head="mlp", freeze="layer2")
    assert workspace.store.manifest(result.manifest).recipe["strategy"] == "partial"  # type: ignore[index]
    with pytest.raises(Unsupported, match="needs a linear head"):
        run("team/no", head="mlp", strategy="probe")


def test_gradual_thaws_phase_by_phase(workspace: Workspace, run: Run) -> None:
    result = run(strategy="gradual", phases=("all:1", "layer3:1@1e-3"))
    assert result.freeze["frozen_units"] == 6
    names = [line["name"] for line in lines(workspace, result, "epoch")]
    assert names == ["epoch 1", "epoch 2"]
    changed = moved(workspace, result)
    assert {name.split(".")[0] for name in changed} <= {"fc", "layer4"}


def test_each_phase_is_trained_at_its_rate(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[list[float]] = []
    real = training.learn

    def learn(learner: Any, *rest: Any) -> Any:
        rates.append(sorted({group["lr"] for group in learner.optimizer.param_groups}))
        yield from real(learner, *rest)

    monkeypatch.setattr(training, "learn", learn)
    run(strategy="gradual", phases=("all:1@1e-3", "layer3:1@1e-4", "layer3:1"), lr=0.01,
        schedule="constant", warmup=0.0, layer_decay=1.0)  # fmt: skip
    assert rates == [pytest.approx(phase) for phase in ([1e-3], [1e-5, 1e-4], [1e-3, 1e-2])]


def test_full_trains_everything(workspace: Workspace, run: Run) -> None:
    result = run(strategy="full", epochs=1, batch_norm="live")
    assert result.freeze["frozen_units"] == 0
    assert moved(workspace, result) == set(load(workspace.store, result.parent).state_dict())


@pytest.mark.parametrize("blend", sampled(["wise-ft", "soup"], ["soup"]))
def test_blends_are_tried_and_chosen_on_validation(
    workspace: Workspace, run: Run, blend: str
) -> None:
    result = run(strategy="lp-ft", freeze="layer3", blend=blend, epochs=3)
    tried = lines(workspace, result, "blend")
    assert len(tried) == {"wise-ft": 9, "soup": 1}[blend]
    everything = lines(workspace, result, "epoch") + tried + lines(workspace, result, "probe")
    best = max(line["accuracy"] for line in everything)
    named = {line.get("name", "probe"): line["accuracy"] for line in everything}
    assert named[result.freeze["kept"]] == best
    assert not (find_run(workspace, result.run).folder / "weights").exists()
    with pytest.raises(InvalidOption, match="validation"):
        run("team/no", blend=blend, validation_share=0.0)


CARRIED_OUT: list[dict[str, Any]] = [
    {"mixup": 0.4, "label_smoothing": 0.1},
    {"cutmix": 1.0},
    {"augment": "heavy"},
    {"class_weights": "balanced", "label_smoothing": 0.1},
    {"precision": "bf16", "channels_last": True},
    {"optimizer": "sgd", "schedule": "one-cycle"},
]


@pytest.mark.long
def test_options_are_carried_out(workspace: Workspace, run: Run) -> None:
    """Each beside the same run without it."""

    def head(save: str, **options: Any) -> torch.Tensor:
        made = run(save, freeze="layer2", strategy="partial", epochs=1, batch_size=13, **options)
        return load(workspace.store, made.manifest).get_parameter("fc.weight")

    plain = head("team/plain")
    for number, options in enumerate(CARRIED_OUT):
        other = head(f"team/other{number}", **options)
        assert not torch.equal(plain, other), options
        assert torch.isfinite(other).all(), options


@pytest.mark.long
def test_an_average_of_the_weights_is_tried(workspace: Workspace, run: Run) -> None:
    """Without a validation split the latest is kept."""
    how: dict[str, Any] = {"freeze": "layer2", "strategy": "partial", "epochs": 1,
                           "validation_share": 0.0}  # fmt: skip
    plain, other = run("team/plain", **how), run("team/other", **how, ema=0.9)
    assert plain.freeze["kept"] == "epoch 1"
    assert other.freeze["kept"] == "average of epoch 1"
    names = [line["name"] for line in lines(workspace, other, "epoch")]
    assert names == ["epoch 1", "average of epoch 1"]
    one, two = (load(workspace.store, r.manifest).state_dict() for r in (plain, other))
    assert not torch.equal(one["fc.weight"], two["fc.weight"])


@pytest.mark.long
def test_clipped_to_almost_nothing_weights_hardly_move(workspace: Workspace, run: Run) -> None:
    how: dict[str, Any] = {"freeze": "layer2", "strategy": "partial", "epochs": 1,
                           "optimizer": "sgd", "weight_decay": 0.0}  # fmt: skip
    results = run("team/plain", **how), run("team/other", **how, clip_norm=1e-6)
    before = load(workspace.store, results[0].parent).get_parameter("layer4.0.conv1.weight")
    far, near = (
        (load(workspace.store, r.manifest).get_parameter("layer4.0.conv1.weight") - before).norm()
        for r in results
    )
    assert near < far / 1000


def test_batches_that_are_added_up_are_one_step(workspace: Workspace, run: Run) -> None:
    how: dict[str, Any] = {"freeze": "layer2", "strategy": "partial", "epochs": 1}
    results = run("team/plain", **how), run("team/other", **how, accumulate=2)
    steps = [lines(workspace, result, "epoch")[0]["steps"] for result in results]
    assert steps == [4, 2]


def test_early_stopping(workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.9, 0.7, 0.8, 0.95, 0.99])
    monkeypatch.setattr(
        "zoo.finetune.loop.evaluate.evaluate", lambda *_: {"accuracy": next(scores)}
    )
    result = run(strategy="partial", freeze="all", epochs=6, patience=2)
    epochs = lines(workspace, result, "epoch")
    assert [line["accuracy"] for line in epochs] == [0.5, 0.9, 0.7, 0.8]
    assert result.freeze["kept"] == "epoch 2"


def test_what_is_shown_while_it_trains(workspace: Workspace, base: str, shapes: Path) -> None:
    notes: dict[str, list[str]] = defaultdict(list)

    class Shown:
        def __init__(self, label: str) -> None:
            self.label = label

        def advance(self, amount: float = 1, note: str = "") -> None:
            del amount
            notes[self.label].append(note)

    class Kept(Console):
        @contextmanager
        def __call__(self, label: str, total: float | None, unit: str = "") -> Iterator[Shown]:
            del total, unit
            yield Shown(label)

    recipe = Recipe(data=str(shapes), strategy="partial", freeze="all", image_size=32, epochs=2)
    finetune(workspace, base, recipe, Reference.parse("team/x"), device="cpu", progress=Kept())
    told = [note for note in notes["training"] if note]
    assert re.fullmatch(NOTE, told[0])
    assert re.fullmatch(NOTE + r", accuracy [01]\.\d{4}", told[-1])


def test_each_phase_has_all_the_patience(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.8, 0.7, 0.6, 0.5])
    monkeypatch.setattr(
        "zoo.finetune.loop.evaluate.evaluate", lambda *_: {"accuracy": next(scores)}
    )
    result = run(strategy="gradual", phases=("all:2", "layer3:3"), patience=2)
    assert len(lines(workspace, result, "epoch")) == 4


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"patience": 2, "validation_share": 0.0}, "patience waits for a better result on a valid"),
        ({"freeze": "0", "augment": "light", "views": 2}, "nothing is frozen"),
        ({"freeze": "1%", "augment": "light", "views": 2}, "nothing is frozen"),
    ],
)
def test_what_the_data_or_the_network_leave_without_effect_is_refused(
    workspace: Workspace, run: Run, options: dict[str, Any], reason: str
) -> None:
    before = list_runs(workspace)
    with pytest.raises(InvalidOption, match=reason):
        run(strategy="partial", **options)
    assert list_runs(workspace) == before


@pytest.mark.long
@pytest.mark.parametrize("freeze", ["none", "layer3"])
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch hides it, where it may
def test_compiled_the_result_is_the_same(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch, freeze: str
) -> None:
    """The network as a whole, and behind the cut of a cache what is above it."""
    compiled = []
    real = torch.compile

    def compile_(module: Any) -> Any:
        compiled.append(module)
        return real(module, backend="eager")

    monkeypatch.setattr(torch, "compile", compile_)
    how: dict[str, Any] = {
        "strategy": "partial", "freeze": freeze, "epochs": 1, "batch_size": 13,
    }  # fmt: skip
    plain = run("team/plain", **how)
    assert not compiled
    other = run("team/other", **how, compile=True)
    assert compiled
    assert not any("compile" in line["text"] for line in lines(workspace, other, "remark"))
    one, two = (load(workspace.store, r.manifest).state_dict() for r in (plain, other))
    assert all(torch.allclose(one[n].float(), two[n].float(), atol=1e-3) for n in one)


@pytest.mark.long
def test_checkpointed_the_result_is_the_same(
    workspace: Workspace, run: Run, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidOption, match=r"freeze it \(--freeze layer4\.0\)"):
        run(grad_checkpointing=True, batch_norm="live")
    with pytest.raises(InvalidOption, match="batch norm follows"):
        run(strategy="gradual", phases=("all:1", "layer3:1"), grad_checkpointing=True,
            batch_norm="live")  # fmt: skip
    frozen = [run(f"team/frozen{how}", strategy="partial", freeze="all", cache=False, epochs=1,
                  grad_checkpointing=how) for how in (False, True)]  # fmt: skip
    one, two = (load(workspace.store, r.manifest).state_dict() for r in frozen)
    assert all(torch.equal(one[n], two[n]) for n in one)
    torch.manual_seed(3)
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    zoo = Zoo(workspace)
    zoo.import_file(tmp_path / "vit.safetensors", "team/vit", architecture="test_vit")
    called, real = list[object](), torch.utils.checkpoint.checkpoint

    def noted(*arguments: Any, **more: Any) -> Any:
        called.append(arguments)
        return real(*arguments, **more)

    monkeypatch.setattr(torch.utils.checkpoint, "checkpoint", noted)
    how: dict[str, Any] = {"strategy": "partial", "epochs": 1, "device": "cpu", "image_size": 64}
    plain = zoo.finetune("team/vit", shapes, "team/plain", **how)
    assert not called
    other = zoo.finetune("team/vit", shapes, "team/other", grad_checkpointing=True, **how)
    assert called
    one, two = (load(workspace.store, r.manifest).state_dict() for r in (plain, other))
    assert all(torch.allclose(one[n], two[n], atol=1e-5) for n in one)


def test_a_unit_that_is_not_there(run: Run) -> None:
    with pytest.raises(UnknownName, match="layer9"):
        run(strategy="probe", at="layer9")


@pytest.mark.long
def test_labels_and_numbers(workspace: Workspace, base: str, shapes: Path, tmp_path: Path) -> None:
    rows = [f"{path},{int('10' in path.parts)},{int('2' not in path.parts)}"
            for path in sorted(shapes.rglob("*.png"))]  # fmt: skip
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,round,other", *rows]))
    zoo = Zoo(workspace)
    quick: dict[str, Any] = {"image_size": 32, "batch_size": 8, "epochs": 2, "device": "cpu"}
    result = zoo.finetune(base, table, "team/labels", task="multi-label", freeze="all", **quick)
    assert result.metrics["mean_average_precision"] > 0.5
    disc = shapes / "10" / "03.png"
    (found,) = zoo.predict("team/labels", [disc], top=2)
    assert set(found.classes) == {"round", "other"}
    shares = torch.tensor(found.logits).sigmoid().sort(descending=True).values.tolist()
    assert list(found.probabilities) == pytest.approx(shares)
    table.write_text(table.read_text().replace("path,round,other", "path,target,other"))
    result = zoo.finetune(base, table, "team/numbers", task="regression", freeze="all", **quick)
    assert "r2" in result.metrics
    (found,) = zoo.predict("team/numbers", [disc])
    assert (found.classes, found.probabilities) == (("target",), ())
    assert len(found.logits) == 1


@pytest.mark.long
def test_training_goes_on_where_the_probe_left_off(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch norm gives training other features than the probe saw, unless it is settled first."""
    options: dict[str, Any] = {"freeze": "none", "lr": 1e-6, "epochs": 1, "batch_norm": "live"}
    settled = run("team/one", **options)
    monkeypatch.setattr("zoo.finetune.strategies.probe.recalibrate", lambda *_: None)
    unsettled = run("team/two", **options)
    one, two = (lines(workspace, r, "step")[0]["loss"] for r in (settled, unsettled))
    assert one < two / 2
