"""A team's day, on the command line in one go: import, train, evaluate, compare, share, search.

Each step is checked by other means than zoo's own code: hashes of files, timm's and torch's own
loading, scikit-learn's and scipy's figures, sizes on disk.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from blake3 import blake3
from fakes.program import Said
from fakes.program import zoo as in_process
from PIL import Image
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from timm.data.transforms_factory import create_transform

Run = Callable[..., Said]
State = dict[str, torch.Tensor]
NET = "test_resnet"
KINDS = tuple("0123456789")


@dataclass
class Files:
    """A team's folder, and what each name must hold once it is imported."""

    root: Path
    base: State
    weights: dict[str, State] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tuned: set[str] = field(default_factory=set)
    count: int = 0
    bad: int = 0

    def save(self, value: object, path: str) -> None:
        """One more file."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        torch.save(value, self.root / path)
        self.count += 1


def moved(state: State, by: float, seed: int) -> State:
    """All floating weights a little other, as after a full fine-tune."""
    torch.manual_seed(seed)
    return {
        name: tensor + by * torch.randn_like(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def network(seed: int) -> State:
    torch.manual_seed(seed)
    return dict(timm.create_model(NET, num_classes=len(KINDS)).state_dict())


def add_timm(files: Files, run: str, seed: int) -> None:
    """What timm's train.py leaves: two epochs, and two copies of the last."""
    folder = files.root / run
    folder.mkdir(parents=True)
    (folder / "args.yaml").write_text(json.dumps({"model": NET, "mean": None, "std": None}))
    (folder / "summary.csv").write_text(
        f"epoch,train_loss,eval_loss,eval_top1,eval_top5\n0,2,2,40,80\n1,1,1,{50 + seed},90\n"
    )
    for epoch in (0, 1):
        raw = moved(files.base, 0.002 * (epoch + 1), seed)
        average = moved(raw, 0.0001, seed)
        saved = {
            "epoch": epoch, "arch": NET, "state_dict": raw, "state_dict_ema": average,
            "optimizer": {}, "args": Namespace(model=NET), "version": 2,
        }  # fmt: skip
        files.save(saved, f"{run}/checkpoint-{epoch}.pth.tar")
        files.weights[f"team/{run}:epoch-{epoch}"] = average
    for name in ("last", "model_best"):
        shutil.copy(folder / "checkpoint-1.pth.tar", folder / f"{name}.pth.tar")
        files.count += 1
    files.weights[f"team/{run}"] = files.weights[f"team/{run}:epoch-1"]
    files.metrics[f"team/{run}"] = (50 + seed) / 100
    files.tuned.add(f"team/{run}")


def add_lightning(files: Files, run: str, seed: int) -> None:
    """A Lightning run of two epochs, of which the first was better."""
    for epoch in (0, 1):
        state = moved(files.base, 0.003 * (epoch + 1), seed)
        saved = {
            "epoch": epoch, "global_step": 9 * epoch, "pytorch-lightning_version": "2.5.0",
            "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
            "callbacks": {"ModelCheckpoint": {"best_model_path": "/x/epoch=0-step=0.ckpt"}},
            "hyper_parameters": {"model_name": NET, "class_names": list(KINDS)},
        }  # fmt: skip
        files.save(saved, f"{run}/version_0/checkpoints/epoch={epoch}-step={9 * epoch}.ckpt")
        files.weights[f"team/{run}-version_0:epoch-{epoch}"] = state
    metrics = files.root / run / "version_0" / "metrics.csv"
    metrics.write_text(f"epoch,step,val_acc\n0,0,0.{60 + seed}\n1,9,0.1\n")
    files.metrics[f"team/{run}-version_0"] = (60 + seed) / 100
    files.tuned.add(f"team/{run}-version_0")


def add_probe(files: Files, name: str, seed: int) -> None:
    """The base with another head, as data parallel training saves it."""
    head = {key: tensor for key, tensor in moved(files.base, 0.1, seed).items() if "fc" in key}
    state = {**files.base, **head}
    files.save({f"module.{key}": tensor for key, tensor in state.items()}, f"{name}.pth")
    files.weights[f"team/{name}"] = state
    files.tuned.add(f"team/{name}")


def add_stranger(files: Files, name: str, seed: int) -> None:
    """The same architecture, trained from other random numbers."""
    files.save(network(seed), f"{name}.pt")
    files.weights[f"team/{name}"] = network(seed)


def add_bad(files: Files, name: str) -> None:
    """One that was cut off while it was copied."""
    files.save(files.base, f"{name}.pth")
    whole = (files.root / f"{name}.pth").read_bytes()
    (files.root / f"{name}.pth").write_bytes(whole[: len(whole) // 2])
    files.bad += 1


def make(root: Path, timms: int, lightnings: int, probes: int, strangers: int, bad: int) -> Files:
    files = Files(root, network(0))
    root.mkdir()
    for seed in range(timms):
        add_timm(files, f"timm-{seed}", seed + 1)
    for seed in range(lightnings):
        add_lightning(files, f"pl-{seed}", seed + 21)
    for seed in range(probes):
        add_probe(files, f"probe-{seed}", seed + 41)
    for seed in range(strangers):
        add_stranger(files, f"stranger-{seed}", seed + 61)
    for number in range(bad):
        add_bad(files, f"bad-{number}")
    return files


@dataclass
class Day:
    """Two zoos and a folder that they share; what is known of them by other means."""

    run: Run
    files: Files
    data: Path
    later: Path

    def __post_init__(self) -> None:
        root = self.files.root.parent
        self.mine, self.theirs, self.team = (root / name for name in ("mine", "theirs", "team"))
        self.out = root / "out"

    def zoo(self, *arguments: object, home: Path | None = None, code: int = 0) -> Any:
        done = self.run("--home", home or self.mine, *arguments, "--json")
        assert done.code == code, done
        return done.json

    def exported(self, name: str, home: Path | None = None) -> Any:
        """The network, built and loaded by timm."""
        folder = self.out / f"{(home or self.mine).name}-{name.replace('/', '-')}"
        if not folder.exists():
            self.zoo("export", name, folder, home=home)
        return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

    def answers(self, name: str, images: list[Path]) -> list[str]:
        """What timm's network and timm's preprocessing say of images."""
        model = self.exported(name)
        config = model.pretrained_cfg
        transform = create_transform(
            **{key: config[key] for key in ("input_size", "mean", "std", "interpolation")},
            crop_pct=config["crop_pct"],
        )
        batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in images])
        with torch.inference_mode():
            return [config["label_names"][index] for index in model(batch).argmax(1).tolist()]


def same(model: Any, state: State) -> bool:
    found = model.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[n], state[n]) for n in state)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def hashed(folder: Path) -> int:
    """How many plain objects there are; each is called by its hash."""
    found = [path for path in (folder / "objects").rglob("*") if path.is_file()]
    assert all(blake3(path.read_bytes()).hexdigest() == path.name for path in found)
    return len(found)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def morning(day: Day) -> None:
    """All that a team has is imported; a bad file is a line."""
    files = day.files
    base = files.root.parent / "base.pth"
    torch.save(files.base, base)
    day.zoo("import", base, "--architecture", NET, "--as", "team/base")
    line = ("import", files.root, "--recursive", "--as", "team/{stem}", "--architecture", NET)
    done = day.zoo(*line, "--parent", "auto", code=1)
    status = [file["status"] for file in done["files"]]
    assert (len(status), status.count("bad")) == (files.count, files.bad)
    bad = {Path(file["path"]).stem for file in done["files"] if file["status"] == "bad"}
    assert all(name.startswith("bad-") for name in bad)
    again = day.zoo(*line, "--parent", "auto", code=1)
    assert {file["status"] for file in again["files"]} == {"bad", "here"}
    hashed(day.mine)
    for name, state in files.weights.items():
        assert same(day.exported(name), state), name
        shown = day.zoo("show", name)
        if name in files.metrics:
            assert shown["metrics"]["accuracy"] == pytest.approx(files.metrics[name])
        if name in files.tuned:
            assert shown["lineage"][-1] == "team/base", name
        elif "stranger" in name:
            assert shown["lineage"] == [], name


def noon(day: Day) -> dict[str, Any]:
    """A fine-tune and a probe; frozen weights are the base's, figures are scikit-learn's."""
    line = ("finetune", "team/base", "--data", day.data, "--image-size", 32, "--quiet", "--save")
    tuned = day.zoo(*line, "team/tuned", "--freeze", "layer2", "--epochs", 2)
    probe = day.zoo(*line, "team/probe", "--recipe", "small-data", "--at", "head")
    state = day.exported("team/tuned").state_dict()
    frozen = [name for name in state if name.startswith(("conv1", "bn1", "layer1", "layer2"))]
    assert frozen
    assert all(torch.equal(state[name], day.files.base[name]) for name in frozen)
    assert not torch.equal(state["fc.weight"], day.files.base["fc.weight"])
    for done in (tuned, probe):
        name = done["ref"]
        table = rows(day.mine / "runs" / done["run"] / "predictions.csv")
        true, guess = ([row[key] for row in table] for key in ("label", "predicted"))
        assert done["metrics"]["test_images"] == len(table) == len(day_images(day.data)) // 5
        assert done["metrics"]["accuracy"] == pytest.approx(accuracy_score(true, guess))
        assert day.answers(name, [day.data / row["path"] for row in table]) == guess
    return {"team/tuned": tuned, "team/probe": probe}


def day_images(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.png"))


def afternoon(day: Day) -> dict[str, Any]:
    """Both on images that nobody has seen, and side by side."""
    found = {}
    for name, other in (("team/tuned", "team/probe"), ("team/probe", "team/tuned")):
        out = day.out / f"report-{name.partition('/')[2]}"
        line = ("evaluate", name, day.later, "--against", other, "--out", out)
        found[name] = day.zoo(*line)
        table = rows(out / "predictions.csv")
        true, guess = ([row[key] for row in table] for key in ("label", "predicted"))
        assert true == [path.parent.name for path in day_images(day.later)]
        assert guess == day.answers(name, day_images(day.later))
        figures = found[name]["metrics"]
        assert figures["accuracy"] == pytest.approx(accuracy_score(true, guess))
        assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, guess))
        assert figures["macro_f1"] == pytest.approx(
            f1_score(true, guess, labels=KINDS, average="macro", zero_division=0)
        )
        theirs = day.answers(other, day_images(day.later))
        pairs = [(a == t, b == t) for a, b, t in zip(guess, theirs, true, strict=True)]
        better, worse = pairs.count((True, False)), pairs.count((False, True))
        against = found[name]["against"]
        assert (against["better"], against["worse"]) == (better, worse)
        p = binomtest(better, better + worse).pvalue if better + worse else 1
        assert against["p"] == pytest.approx(p)
    return found


def compared(day: Day, tuned: dict[str, Any], found: dict[str, Any]) -> None:
    """What is said side by side, found and best is what each said alone."""
    columns = {each["names"][0]: each for each in day.zoo("compare", *tuned)["columns"]}
    data = day.later.name
    for name, done in tuned.items():
        figures = columns[name]["metrics"]
        assert figures["accuracy"]["value"] == done["metrics"]["accuracy"]
        assert figures[f"accuracy@{data}"]["value"] == found[name]["metrics"]["accuracy"]
    best = max(found, key=lambda name: found[name]["metrics"]["accuracy"])
    ahead = found[best]["metrics"]["accuracy"]
    told = day.zoo("best", "--dataset", data)
    assert told["value"] == ahead
    at_least = day.zoo("search", f"metric.accuracy@{data}>={ahead}")
    assert best in [row["name"] for row in at_least]
    every = day.zoo("search", "owner:team", "--sort", "-accuracy", "--limit", 100)
    named = {row["name"] for row in every if not row["name"].endswith(":last")}
    assert named == {"team/base", *day.files.weights, *day.files.metrics, *tuned}
    order = [tuned[row["name"]]["metrics"]["accuracy"] for row in every if row["name"] in tuned]
    assert order == sorted(order, reverse=True)


def evening(day: Day, tuned: dict[str, Any]) -> None:
    """Pushed, made smaller, and pulled by somebody else: the same bits."""
    names = sorted({*tuned, *day.files.tuned})
    early = next(name for name in names if "timm-" in name)  # before the one that it came of
    for name in (early, "team/base", *(name for name in names if name != early)):
        before = size(day.team) if day.team.exists() else 0
        sent = day.zoo("push", name, "--to", day.team)
        assert 0 <= size(day.team) - before - sent["sent_bytes"] < 20_000
    plain = sum(4 * sum(map(torch.numel, day.files.base.values())) for _ in names)
    assert size(day.team) < plain
    hashed(day.team)
    before = size(day.team)
    packed = day.zoo("repack", day.team, "--yes")
    assert before - size(day.team) == packed["bytes_before"] - packed["bytes_after"] > 0
    # And those whose found parent is another epoch, which nobody pushed.
    assert early in {name for pair in packed["pairs"] for name in pair["names"]} <= {*names}
    day.zoo("init", home=day.theirs)
    for name in names:
        got = day.zoo("pull", name, "--from", day.team, home=day.theirs)
        assert got["manifest"] == day.zoo("show", name)["manifest"]
        for home in (day.mine, day.theirs):
            day.exported(name, home)
        weights = f"{name.replace('/', '-')}/model.safetensors"
        one, other = (
            hashlib.sha256((day.out / f"{place}-{weights}").read_bytes()).hexdigest()
            for place in ("mine", "theirs")
        )
        assert one == other, name
    hashed(day.theirs)
    assert day.zoo("verify", day.team)["damages"] == []


@pytest.fixture(scope="session")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits that are not in ``digits``: ten of each kind, by other writers."""
    root = tmp_path_factory.mktemp("later") / "later"
    data = load_digits()
    for kind in KINDS:
        (root / kind).mkdir(parents=True)
        for number in np.flatnonzero(data.target == int(kind))[-10:]:
            scan = (data.images[number] * (255 / 16)).round().astype("uint8")
            Image.fromarray(scan).save(root / kind / f"{number:04d}.png")
    return root


def whole(day: Day) -> None:
    day.zoo("init")
    morning(day)
    tuned = noon(day)
    compared(day, tuned, afternoon(day))
    evening(day, tuned)


@pytest.mark.long
def test_a_day_of_few_files(digits: Path, later: Path, tmp_path: Path) -> None:
    files = make(tmp_path / "runs", timms=1, lightnings=0, probes=1, strangers=1, bad=1)
    whole(Day(in_process, files, digits, later))


@pytest.mark.long
def test_a_day_of_forty_files(console: Run, digits: Path, later: Path, tmp_path: Path) -> None:
    """Each command in a process of its own."""
    files = make(tmp_path / "runs", timms=4, lightnings=5, probes=8, strangers=4, bad=2)
    assert files.count == 40
    whole(Day(console, files, digits, later))
