"""zoo finetune --strategy probe --at UNIT,UNIT,head, and --at all: one head on several depths."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from fakes import threads, warm
from fakes.program import Said
from fakes.typed import card
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import zoo
from zoo import plugins
from zoo.domain import surgery
from zoo.exchange import convert

Run = Callable[..., Said]
SIDE = 32
IMAGES = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
LOADED = """
import sys, torch, zoo
torch.set_num_threads(1)
from safetensors.torch import save_file
with torch.no_grad():
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    save_file({"logits": zoo.open(sys.argv[1]).load("team/probe")(images)}, sys.argv[2])
"""


one_thread = pytest.fixture(autouse=True)(threads.one_thread)


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in three shades, to train on and to test on."""
    root, draw = tmp_path_factory.mktemp("shades"), np.random.default_rng(0)
    for part, number in (("train", 8), ("test", 4)):
        for label, level in (("dark", 90), ("gray", 110), ("light", 130)):
            (root / part / label).mkdir(parents=True)
            for at in range(number):
                pixels = draw.normal(level, 40, (SIDE, SIDE, 3)).clip(0, 255).astype("uint8")
                Image.fromarray(pixels).save(root / part / label / f"{at}.png")
    return root


def spread(module: torch.nn.Module) -> dict[str, Tensor]:
    """Its weights, moved: initial ones are alike from layer to layer."""
    draw = torch.Generator().manual_seed(1)
    return {
        name: value + torch.rand(value.shape, generator=draw) / 50 if value.dim() else value
        for name, value in module.state_dict().items()
    }


def keep_timm(run: Run, folder: Path, architecture: str) -> None:
    torch.manual_seed(0)
    save_file(spread(timm.create_model(architecture)), folder / "net.safetensors")
    run(
        "import", folder / "net.safetensors", "--architecture", architecture, "--as", "x/net"
    ).done()


def keep_torchvision(run: Run, folder: Path, architecture: str) -> None:
    torch.manual_seed(0)
    made = torchvision.models.get_model(architecture, num_classes=4)
    save_file(spread(made), folder / "net.safetensors")
    how = ("--backbone", "torchvision", "--architecture", architecture, "--as", "x/net")
    run("import", folder / "net.safetensors", *how).done()


def keep_transformers(run: Run, folder: Path, family: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40,
        image_size=SIDE, patch_size=8,
    )  # fmt: skip
    getattr(transformers, f"{family}ForImageClassification")(config).save_pretrained(folder / "net")
    run("import", folder / "net", "--as", "x/net").done()


NETWORKS = {
    "timm, convolutional": (keep_timm, "test_resnet", ("layer1", "layer3.0", "head")),
    "timm, transformer": (keep_timm, "test_vit", ("patch_embed", "blocks.2", "blocks.4")),
    "torchvision": (keep_torchvision, "shufflenet_v2_x0_5", ("stage2", "stage4.1", "head")),
    "transformers": (keep_transformers, "ViT", ("vit.embeddings", "vit.layers.0", "head")),
}


LONG = ("timm, transformer", "torchvision", "transformers")


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in NETWORKS]
)
def kept(request: pytest.FixtureRequest, empty: Run, tmp_path: Path) -> tuple[str, ...]:
    """``team/net``, for images of 32 pixels; the units that are asked for."""
    keep, name, units = NETWORKS[request.param]
    keep(empty, tmp_path, name)
    done = empty("adapt", "x/net", "team/net", "--image-size", SIDE)
    if done.code:  # it is for this size already
        empty("tag", "x/net", "team/net").done()
    return units


def probe(run: Run, data: Path, at: str, name: str = "team/probe", *more: object) -> Said:
    how = ("--strategy", "probe", "--at", at, "--validation-share", 0, "--device", "cpu", "--quiet")
    return run("finetune", "team/net", "--data", data, *how, "--save", name, *more).done()


def logits(name: str, images: Tensor = IMAGES) -> Tensor:
    with zoo.open() as here, torch.no_grad():
        outputs: Tensor = here.load(name)(images)
    return outputs


def options_of(run: Run, name: str) -> dict[str, Any]:
    options: dict[str, Any] = run("show", name, "--json").json["backbone"]["options"]
    return options


def scaled(train: list[Tensor], test: list[Tensor]) -> list[Tensor]:
    """Both with a mean of 0 and a deviation of 1 on the training images, each depth as heavy as any
    other; features that do not move are left out, those that hardly move are not blown up.
    """
    depths = []
    mean = sum(each.shape[1] for each in train) / len(train)
    for each, other in zip(train, test, strict=True):
        middle, deviation = each.double().mean(0), each.double().std(0, correction=0)
        heavy = (mean / each.shape[1]) ** 0.5
        moving = deviation > 1e-5 * middle.abs()
        least = 0.1 * float(np.median(deviation[moving]))
        deviation = deviation.clamp(min=least)
        depths.append(
            [((x.double() - middle) / deviation * heavy)[:, moving] for x in (each, other)]
        )
    return [torch.cat(beside, dim=1) for beside in zip(*depths, strict=True)]


@pytest.mark.long
def test_it_is_a_regression_on_features_beside_each_other(
    empty: Run, kept: tuple[str, ...], shades: Path, tmp_path: Path
) -> None:
    made = probe(empty, shades, ",".join(kept), "team/probe", "--json").json
    notes = Path("runs", made["run"], "metrics.jsonl").read_text().splitlines()
    (c,) = next(note["c"] for note in map(json.loads, notes) if "c" in note)

    parts: dict[str, list[Tensor]] = {"train": [], "test": []}
    for part, codes in parts.items():
        for at, unit in enumerate(kept):
            out = tmp_path / f"{part}{at}.safetensors"
            empty("features", "team/net", shades / part, "--at", unit, "--out", out).done()
            codes.append(load_file(out)["features"])
    labels = load_file(tmp_path / "train0.safetensors")["labels"]
    train, test = scaled(parts["train"], parts["test"])
    hand = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(train, labels)
    wanted = torch.tensor(hand.decision_function(test))

    with zoo.open() as here, torch.no_grad():
        model = here.load("team/probe")
        files = sorted((shades / "test").glob("*/*.png"))
        seen = model(torch.stack([card(model).preprocess(file) for file in files])).double()
        head = [each for each in model.modules() if isinstance(each, torch.nn.Linear)][-1].double()
        found = head(torch.cat(parts["test"], dim=1).double())
    # What the network computes in float32 has the rounding errors of all its layers, too.
    assert (found - seen).abs().max() < 2e-4 * wanted.abs().max()
    found = found - found.mean(1, keepdim=True)
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()

    done = warm.run("-c", LOADED, Path.cwd(), tmp_path / "fresh.safetensors")
    assert done.returncode == 0, done.stderr
    assert torch.equal(load_file(tmp_path / "fresh.safetensors")["logits"], logits("team/probe"))


@pytest.mark.long
@pytest.mark.parametrize("form", ["onnx", "openvino", "pt2"])
def test_other_runtimes_run_it(
    empty: Run, kept: tuple[str, ...], shades: Path, form: convert.Format
) -> None:
    """Compared with its own logits on real images, one by one and together."""
    for package in convert.NEEDED[form]:
        pytest.importorskip(package)
    probe(empty, shades, ",".join(kept))
    line = ("export", "team/probe", "made", "--format", form, "--images", shades / "test")
    checked = empty(*line, "--json").done().json["checked"]
    assert checked["images"] == checked["same"] == 12


@pytest.fixture
def small_probe(small: Run, shades: Path) -> Run:
    """In a zoo with ``team/net`` and ``team/probe``, of two of its units and the head."""
    probe(small, shades, "layer1.0,layer3,head", "team/probe", "--image-size", SIDE)
    return small


@pytest.mark.long
def test_all_is_the_end_of_every_stage_and_the_head(small: Run, shades: Path) -> None:
    """Under its second name; what is behind the last unit is what the head gets, and left out."""
    how = ("--strategy", "probe", "--features", "all", "--image-size", SIDE, "--json", "--quiet")
    done = small("finetune", "team/net", "--data", shades, *how, "--save", "team/probe").done()
    # Before training, its first block gives back what enters it: the features of the stem.
    taps = ["layer1.0", "layer2.0", "layer3.0", "head"]
    assert options_of(small, "team/probe")["taps"] == taps
    assert done.json["metrics"]["accuracy"] > 0.5
    (run,) = small("runs", "--json").json
    shown = small("show", "team/probe", "--json").json
    assert [each["recipe"]["at"] for each in (run, shown)] == [",".join(taps)] * 2


@pytest.mark.long
def test_it_works_as_any_checkpoint(small_probe: Run, shades: Path, tmp_path: Path) -> None:
    run, wanted = small_probe, logits("team/probe")
    tree = run("tree", "team/probe", "--json").json
    assert [unit["name"] for unit in tree["units"]][-1] == "layer4.0"
    assert tree["head"]["modules"] == ["zoo_head"]
    images = sorted((shades / "test").glob("*/*.png"))
    said = run("predict", "team/probe", *images, "--json").json
    right = [one["classes"][0] == file.parent.name for one, file in zip(said, images, strict=True)]
    tested = run("evaluate", "team/probe", shades / "test", "--json").json
    assert tested["metrics"]["accuracy"] == sum(right) / len(right)
    out = tmp_path / "codes.safetensors"
    run("features", "team/probe", shades, "--out", out).done()
    assert load_file(out)["features"].shape[1] == tree["head"]["params"] // 3 - 1
    probe(run, shades, "layer1.0", "team/one", "--image-size", SIDE)
    for name, unit, file in (("team/probe", "layer1.0", "a"), ("team/one", "head", "b")):
        run("features", name, shades, "--at", unit, "--out", tmp_path / file).done()
    assert torch.equal(load_file(tmp_path / "a")["features"], load_file(tmp_path / "b")["features"])

    told = run("export", "team/probe", tmp_path / "folder").done()
    assert "its head gets features of layer1.0, layer3.0, head" in told.out + told.err
    run("import", tmp_path / "folder", "--as", "team/back").done()
    assert torch.equal(logits("team/back"), wanted)

    run("push", "team/probe", "--to", tmp_path / "lab").done()
    other = ("--home", tmp_path / "other")
    run(*other, "init").done()
    run(*other, "pull", "team/probe", "--from", tmp_path / "lab").done()
    with zoo.open(tmp_path / "other") as theirs, torch.no_grad():
        assert torch.equal(theirs.load("team/probe")(IMAGES), wanted)


@pytest.mark.long
def test_an_earlier_version_says_what_it_does_not_know(
    small_probe: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_taps(kind: type) -> list[Field[Any]]:
        return [field for field in fields(kind) if field.name != "taps"]

    small_probe("export", "team/probe", tmp_path / "folder").done()
    monkeypatch.setattr(surgery, "fields", without_taps)
    monkeypatch.setattr(plugins, "backbone_version", lambda _: "0")  # as earlier ones have others
    Image.new("RGB", (32, 32)).save(tmp_path / "gray.png")
    says = "the network was built with the option 'taps', which this version of zoo does not know"
    small_probe("tree", "team/probe").refused(says)
    small_probe("predict", "team/probe", tmp_path / "gray.png").refused(says)
    small_probe("import", tmp_path / "folder", "--as", "team/back").refused(says)


@pytest.mark.long
def test_it_is_trained_further(small_probe: Run, shades: Path) -> None:
    """Frozen below a unit, from the probe it has; and with features of what it gathers."""
    tune = ("finetune", "team/probe", "--data", shades, "--epochs", 1, "--quiet", "--save")
    how = ("--freeze", "layer2", "--batch-norm", "live")  # which move, whatever is kept
    made = small_probe(*tune, "team/tuned", *how, "--json").done().json
    assert made["freeze"]["boundary"] == "layer3.0"
    taps = ["layer1.0", "layer3.0", "head"]
    assert options_of(small_probe, "team/tuned")["taps"] == taps
    with zoo.open() as here:
        before, after = (here.load(name).state_dict() for name in ("team/probe", "team/tuned"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.partition(".")[0] for name in moved} == {"layer3", "layer4", "zoo_head"}
    probe_of = (*tune[:4], "--strategy", "probe", "--quiet", "--save")
    small_probe(*probe_of, "team/more", "--at", "layer2,head").done()
    assert options_of(small_probe, "team/more")["taps"] == ["layer2.0", *taps]
    small_probe(*probe_of, "team/less", "--at", "layer2").done()
    assert options_of(small_probe, "team/less")["truncate"] == "layer2.0"
    assert "taps" not in options_of(small_probe, "team/less")


def test_it_is_planned(small: Run, shades: Path) -> None:
    how = ("finetune", "team/net", "--data", shades, "--strategy", "probe", "--image-size", SIDE)
    plan = small(*how, "--at", "all", "--dry-run", "--json").done().json
    units = small("tree", "team/net", "--json").json["units"]
    wide = sum(unit["shape"][1] for unit in units if unit["name"].startswith("layer"))
    assert plan["phases"][0]["trained_parameters"] == 3 * (wide + 1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--strategy", "probe", "--at", "layer1,layer9"), "unit or stage of test_resnet 'layer9'"),
        (("--strategy", "probe", "--at", "layer1,"), "unit or stage of test_resnet ''"),
        (("--strategy", "probe", "--at", "layer1,all"), "all and auto are not for a list"),
        (("--strategy", "partial", "--at", "layer1,head"), "are named for the strategies probe"),
    ],
)
def test_what_cannot_be_is_refused(
    small: Run, shades: Path, options: tuple[str, ...], says: str
) -> None:
    small("finetune", "team/net", "--data", shades, *options, "--save", "team/no").refused(says)
