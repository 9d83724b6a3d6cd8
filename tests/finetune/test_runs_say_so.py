"""What a run says of itself, and that it does what it says: ties, patience, dropout, copies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import own_nets
from fakes.tuned import drawings, quick, small_zoo
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import zoo
import zoo_torch
from zoo.domain.paired import Paired
from zoo.errors import Diverged, UnknownName
from zoo.finetune.run import Finetuned
from zoo.lookup.runs import find_run
from zoo_cli.main import main

Tune = Callable[..., Finetuned]
SMALL = {"device": "cpu", "image_size": 32, "batch_size": 9}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zoo.Zoo]:
    root = tmp_path_factory.mktemp("said")
    drawings(root / "drawings")
    with quick(), small_zoo(root) as made:
        yield made


@pytest.fixture
def tune(small: zoo.Zoo) -> Tune:
    def tune(base: str = "team/base", save: str = "team/tuned", **options: Any) -> Finetuned:
        data = str(small.root.parent / "drawings")
        return small.finetune(base, data, save, **{**SMALL, **options})

    return tune


@pytest.mark.long
def test_that_images_are_few_is_told_by_the_first_run_for_which_it_matters(
    tune: Tune, small: zoo.Zoo
) -> None:
    """A probe is what is advised then: it tells nothing, and the next run does."""
    told = []
    for seed, strategy in enumerate(("probe", "partial", "partial")):
        how: dict[str, Any] = {} if strategy == "probe" else {"epochs": 1, "freeze": "layer3"}
        run = find_run(small.workspace, tune(strategy=strategy, seed=seed + 70, **how).run)
        told.append([line for line in run.lines() if "are few" in str(line.get("text"))])
    assert [len(each) for each in told] == [0, 1, 0]


def epochs(small: zoo.Zoo, result: Finetuned) -> list[dict[str, Any]]:
    return [x for x in find_run(small.workspace, result.run).lines() if x["kind"] == "epoch"]


def scripted(patch: pytest.MonkeyPatch, *figures: tuple[float, float]) -> None:
    """Accuracy and loss on the validation images, one pair after the other."""
    pairs = iter(figures)

    def measured(*_: Any) -> dict[str, float]:
        return dict(zip(("accuracy", "loss"), next(pairs), strict=True))

    patch.setattr("zoo.finetune.loop.evaluate.evaluate", measured)


def test_patience_ends_a_plateau(small: zoo.Zoo, tune: Tune) -> None:
    result = tune(strategy="partial", freeze="all", epochs=7, lr=1e-9, patience=2)
    assert len(epochs(small, result)) == 3


@pytest.mark.parametrize(
    ("figures", "kept", "ran"),
    [
        pytest.param(
            ((0.5, 1.0), (0.8, 0.6), (0.8, 0.5), (0.8, 0.7), (0.9, 0.9)),
            "epoch 3",
            4,
            marks=pytest.mark.long,
        ),
        pytest.param(((0.5, 1.0), (0.5, 1.0), (0.5, 1.0)), "epoch 1", 3, marks=pytest.mark.long),
        (((0.5, 1.0), (0.8, float("nan")), (0.8, 0.9), (0.8, 0.9)), "epoch 3", 4),
    ],
)
def test_of_equal_scores_the_smaller_loss_counts_and_then_the_earlier(
    small: zoo.Zoo, tune: Tune, monkeypatch: pytest.MonkeyPatch,
    figures: tuple[tuple[float, float], ...], kept: str, ran: int,
) -> None:  # fmt: skip
    scripted(monkeypatch, *figures)
    result = tune(strategy="partial", freeze="all", epochs=5, patience=2)
    assert (result.freeze["kept"], len(epochs(small, result))) == (kept, ran)


def said(small: zoo.Zoo, capsys: pytest.CaptureFixture[str], *options: object) -> str:
    """The result line of ``zoo finetune``; the checkpoint and its card say the same."""
    data = small.root.parent / "drawings"
    with pytest.raises(SystemExit) as left:
        main(["--home", str(small.root), "finetune", "team/base", "--data", str(data), "--save",
              "team/said", "--image-size", "32", "--batch-size", "9", "--device", "cpu",
              *map(str, options)])  # fmt: skip
    assert not left.value.code
    _, _, warning = capsys.readouterr().out.strip().partition("\n  WARNING: ")
    assert small.show("team/said").to_json()["provenance"].get("warning", "") == warning
    return warning


def test_a_run_that_diverged_says_so(small: zoo.Zoo, capsys: pytest.CaptureFixture[str]) -> None:
    warning = said(small, capsys, "--strategy", "full", "--lr", 10, "--epochs", 1)
    assert "training diverged: its loss was 1." in warning


def test_figures_that_are_no_numbers_are_not_published(small: zoo.Zoo, tune: Tune) -> None:
    with pytest.raises(Diverged, match="NaN or infinite"):
        tune(save="team/none", strategy="full", lr=1e6, epochs=2)
    with pytest.raises(UnknownName):
        small.show("team/none")


def test_a_result_of_chance_says_so(
    small: zoo.Zoo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ("--strategy", "full", "--lr", 1e-9, "--epochs", 1, "--force")
    for seed in range(6):  # some begin with a better answer, which versions of torch make another
        warning = said(small, capsys, *how, "--seed", seed)
        accuracy = small.show("team/said").to_json()["metrics"]["accuracy"]
        assert bool(warning) is (accuracy < 0.34)
        if warning:
            break
    assert warning == (
        "no better than chance: the same answer for every test image has accuracy 0.3333"
    )
    small.export("team/said", tmp_path)
    assert f"**Warning:** {warning}." in (tmp_path / "README.md").read_text()


@pytest.mark.long
def test_a_training_without_gain_says_so(
    small: zoo.Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (0.75, 0.6), (0.5, 0.9), (0.75, 0.7))
    warning = said(small, capsys, "--freeze", "all", "--epochs", 2)
    assert warning == (
        "a probe alone had accuracy 0.7500 on the validation images, training 0.7500 at best: "
        "nothing gained"
    )
    scripted(monkeypatch, (0.75, 0.6), (0.8, 0.9))
    assert said(small, capsys, "--freeze", "all", "--epochs", 1) == ""
    # The validation images see no difference, and the test images one: that is said alone.
    scripted(monkeypatch, (0.75, 0.6), (0.75, 0.5))
    assert "nothing gained" in said(small, capsys, "--freeze", "all", "--epochs", 1)
    # Where there was nothing left to gain, that is no failure.
    scripted(monkeypatch, (1.0, 0.6), (1.0, 0.5))
    assert said(small, capsys, "--freeze", "all", "--epochs", 1) == ""
    monkeypatch.setattr(Paired, "first_is_better", True)
    scripted(monkeypatch, (0.75, 0.6), (0.75, 0.5))
    assert said(small, capsys, "--freeze", "all", "--epochs", 1) == ""


def test_both_are_measured_and_what_was_trained_is_saved(
    small: zoo.Zoo, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, (0.75, 0.6), (0.8, 0.9))  # not so: it is chosen for that
    done = tune(freeze="layer1", epochs=1, lr=30.0)
    gained, accuracy = done.gained, done.metrics["accuracy"]
    assert gained
    assert gained.trained == accuracy < gained.probe
    assert gained.paired.in_words("training", "the probe").endswith("the probe is better")
    assert gained.text == (
        f"a probe alone had accuracy {gained.probe:.4f}, training {accuracy:.4f}: "
        f"{gained.paired.in_words('training', 'the probe')}"
    )
    monkeypatch.undo()
    again = small.evaluate("team/tuned", small.root.parent / "drawings")
    assert again.report.metrics["accuracy"] == accuracy


def test_a_probe_that_is_kept_is_told_so_though_an_earlier_run_had_one(
    small: zoo.Zoo, tune: Tune, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(strategy="probe")
    scripted(monkeypatch, (0.75, 0.6), (0.5, 0.9))  # not so: the probe is kept for that
    monkeypatch.setattr("zoo.finetune.results.paired.MOST", 2.0)  # so that 1 is not all there is
    gained = tune(strategy="lora", rank=2, freeze="layer3", epochs=1).gained
    assert gained
    assert gained.text.startswith(f"a probe alone had accuracy {gained.probe:.4f}, and is what was")
    assert (gained.probe, gained.paired.better) == (gained.trained, 0)
    with pytest.raises(SystemExit, match="0"):
        main(["--home", str(small.root), "runs"])
    _, newest, probe, *_ = capsys.readouterr().out.splitlines()
    assert ["by a probe: nothing gained" in line for line in (newest, probe)] == [True, False]


class Copies(TorchFunctionMode):
    """Counts copies between devices, and those that are not waited for."""

    total = ahead = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.to:
            self.total += 1
            self.ahead += bool((kwargs or {}).get("non_blocking"))
        return func(*args, **(kwargs or {}))


def test_a_copy_from_memory_that_is_not_pinned_is_waited_for(tune: Tune) -> None:
    with Copies() as copies:
        tune(strategy="partial", freeze="layer2", epochs=1, cache=False)
    assert copies.total > 5
    assert copies.ahead == 0


class Dropping(own_nets.ConvNet):
    """Dropout between the last unit and the head, as torchvision's networks have it."""

    share = 0.5

    def forward(self, images: Tensor) -> Tensor:
        maps = self.late(self.down(self.early(self.stem(images).relu())))
        features = nn.functional.dropout(maps.mean((2, 3)), self.share, self.training)
        outputs: Tensor = self.classifier(features)
        return outputs


class Keeping(Dropping):
    share = 0.0


@pytest.fixture
def dropout(small: zoo.Zoo, tmp_path: Path) -> Tune:
    """Runs of networks with dropout in front of the head, and without."""
    torch.manual_seed(0)
    save_file(Dropping().state_dict(), tmp_path / "base.safetensors")
    for name, network in (("dropping", Dropping), ("keeping", Keeping)):
        zoo_torch.register(name, network, preprocessing=own_nets.SMALL)
        small.import_file(
            tmp_path / "base.safetensors", f"own/{name}", backbone="torch", architecture=name
        )

    def tune(base: str, **options: Any) -> Finetuned:
        data = str(small.root.parent / "drawings")
        how = {"strategy": "partial", "freeze": "all", "epochs": 2, "lr": 0.05, "batch_size": 9}
        return small.finetune(base, data, "own/tuned", device="cpu", **{**how, **options})

    return tune


@pytest.mark.long
def test_dropout_below_the_head_stays_on_with_a_cache(small: zoo.Zoo, dropout: Tune) -> None:
    heads = []
    for base, cache in (("own/dropping", True), ("own/dropping", False), ("own/keeping", False)):
        result = dropout(base, cache=cache)
        notes = find_run(small.workspace, result.run).lines()
        assert [line for line in notes if line["kind"] == "remark"] == []
        heads.append(small.load("own/tuned").get_parameter("classifier.weight").detach())
    cached, uncached, without = heads
    assert torch.allclose(cached, uncached, atol=1e-5)
    assert not torch.allclose(uncached, without, atol=1e-3)
    kept = list((small.root / "cache" / "crossings").glob("*/description.json"))
    assert "late.1" in {json.loads(path.read_text())["cut"] for path in kept}


@pytest.mark.long
def test_an_interrupt_in_python_carries_how_to_resume(
    small: zoo.Zoo, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("zoo.finetune.loop.train.learn", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            tune(freeze="all", epochs=1)
    run = small.runs()[0]
    command, python = "\n".join(caught.value.__notes__).splitlines()
    assert command == f"kept up to the probe; to resume: zoo finetune --resume {run.id}"
    call = python.removeprefix("in Python: ")
    assert call.startswith(f"zoo.open({str(small.root)!r})")
    assert eval(call, {"zoo": zoo}).run == run.id
