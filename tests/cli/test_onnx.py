"""What other runtimes run: ONNX, OpenVINO, and an exported program of torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import skimage.data
import torch
from fakes.prepared import BASE, Run
from fakes.small_disk import small_disk
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import zoo
from zoo.backbones.load import Card
from zoo.domain.preprocessing import steps_of
from zoo.errors import Unsupported
from zoo.exchange import convert

PAGE = Path(__file__).parents[2] / "docs/surgery.md"
SMALL = "team/net"


@pytest.mark.parametrize("name", ["m.onnx", "m.xml", "new.safetensors", "a.b/net.PTH"])
def test_an_export_is_a_folder_and_no_file(small: Run, name: str) -> None:
    suffix = Path(name).suffix.lower()
    said = small("export", SMALL, name).refused(f"{name}: export writes a folder", suffix)
    assert f"zoo export NAME {Path(name).with_suffix('')}" in said.err
    assert ("--format onnx" in said.err) == (suffix == ".onnx")
    assert not Path(name).exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("m.onnx", "--format", "onnx"), "zoo export NAME m --format onnx"),
        (("made", "--format", "pt2", "--all-files"), "--all-files is for safetensors"),
        (("made", "--format", "pt2", "--adapter"), "--adapter writes what peft loads"),
        (("made", "--format", "pt2", "--images", "none"), "is a folder without images"),
        (("made", "--format", "pt2", "--images", "nowhere"), "nowhere: no such file"),
    ],
)
def test_what_is_asked_for_amiss_leaves_nothing(
    small: Run, more: tuple[str, ...], says: str
) -> None:
    Path("none").mkdir()
    small("export", SMALL, *more).refused(says)
    assert not Path(more[0]).exists()
    assert not [*Path().glob(".zoo-export-*")]


def test_who_asks_for_onnx_is_told_the_command(small: Run) -> None:
    said = small("onnx", SMALL)
    assert said.code == 2
    assert "Here it is: zoo export" in " ".join(said.err.split())


def pictures(folder: Path, size: int) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(path)
    return paths


@pytest.mark.long
@pytest.mark.parametrize("form", ["onnx", "openvino", "pt2"])
def test_the_file_gives_what_the_checkpoint_does(
    small: Run, tmp_path: Path, form: convert.Format
) -> None:
    for package in convert.NEEDED[form]:
        pytest.importorskip(package)
    paths = pictures(tmp_path / "images", 40)
    odd = ["<b>&amp;", "\"a\" 'b'", "Übergröße 花", "]]> --><!--"]  # OpenVINO's is XML
    outputs = cast(Card, zoo.open().load(SMALL).zoo).manifest.head.num_classes
    Path("names.txt").write_text("\n".join([*odd, *map(str, range(outputs))][:outputs]))
    small("edit", SMALL, "--classes", "names.txt").done()
    line = ("export", SMALL, "made", "--format", form, "--images", tmp_path / "images", "--json")
    told = small(*line).json
    assert told["checked"]["images"] == told["checked"]["same"] == 5
    assert told["checked"]["difference"] < 1e-4
    assert not told["checked"]["noise"]
    assert sorted(path.name for path in Path("made").iterdir()) == sorted(
        {"config.json", convert.FILE[form], *(["model.bin"] if form == "openvino" else [])}
    )
    model = zoo.open().load(SMALL)
    card = cast(Card, model.zoo)
    batch = torch.stack([card.preprocess(path) for path in paths])
    with torch.no_grad():
        own = model(batch).numpy()
    given, text = PLAIN[form](Path("made", convert.FILE[form]), batch)
    assert np.allclose(given, own, atol=1e-4)
    described = json.loads(text)
    manifest = card.manifest
    assert described["classes"] == [*manifest.classes]
    assert described["classes"][0] == odd[0]
    assert described["preprocessing"]["mean"] == pytest.approx([*manifest.preprocessing.mean])
    assert described["steps"] == steps_of(manifest.preprocessing, "timm")
    assert json.loads(Path("made/config.json").read_text())["zoo"]["steps"] == described["steps"]
    small(*line[:-1]).refused("exists and is not an empty folder")


def by_onnxruntime(path: Path, batch: Tensor) -> tuple[Any, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].shape == ["batch", *batch.shape[1:]]
    assert session.get_outputs()[0].shape[0] == "batch"
    import onnx

    (net, *_) = [*onnx.load(path, load_external_data=False).graph.value_info] or [None]
    assert net is None or "s77" not in str(net)
    (given,) = session.run(["logits"], {"images": batch.numpy()})
    return given, session.get_modelmeta().custom_metadata_map["zoo"]


def by_torch(path: Path, batch: Tensor) -> tuple[Any, str]:
    files = {"zoo.json": ""}
    program = torch.export.load(path, extra_files=files)
    with torch.no_grad():
        return program.module()(batch).numpy(), files["zoo.json"]


def by_openvino(path: Path, batch: Tensor) -> tuple[Any, str]:
    import openvino

    network = openvino.Core().read_model(path)
    assert network.input("images").partial_shape[0].is_dynamic
    compiled = openvino.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(batch.numpy())["logits"], network.get_rt_info("zoo").value


PLAIN = {"onnx": by_onnxruntime, "openvino": by_openvino, "pt2": by_torch}


@pytest.mark.long
def test_without_images_it_is_compared_on_noise(small: Run) -> None:
    said = small("export", SMALL, "made", "--format", "pt2").done()
    assert "compared on 16 images of noise" in said.err
    assert re.search(r"any number of images at once, 3 x (\d+) x \1: no other size", said.err)
    assert "the likeliest class is the same for 16 of 16" in said.err
    small("export", SMALL, "other", "--images", ".").refused(
        "--images is for --format onnx, openvino and pt2"
    )


@pytest.mark.long
@pytest.mark.skipif(
    torch.__version__.startswith("2.7."), reason="torch.export of torch 2.7 does not take it"
)
def test_more_channels_than_colors_are_compared_on_noise(small: Run) -> None:
    """No image file has them; and the outputs are features, not classes."""
    small("adapt", SMALL, "team/four", "--channels", 4, "--truncate", "layer2").done()
    said = small("export", "team/four", "made", "--format", "pt2").done()
    assert "compared on 16 images of noise" in said.err
    assert "likeliest class" not in said.err
    model = zoo.open().load("team/four")
    batch = torch.randn(3, *cast(Card, model.zoo).manifest.preprocessing.input_size)
    program = torch.export.load(Path("made", convert.FILE["pt2"])).module()
    with torch.no_grad():
        assert batch.shape[1] == 4
        assert torch.allclose(program(batch), model(batch), atol=1e-5)


def test_on_a_full_disk_that_is_the_reason(small: Run, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 700_000) as disk:
        said = small("export", SMALL, disk.root / "made", "--format", "pt2")
        said.refused(f"no space left while writing {disk.root / 'made'}\n")
        assert not [*disk.root.iterdir()]


def test_a_link_to_an_empty_folder_is_one(small: Run) -> None:
    Path("real").mkdir()
    for link, target in (("link", "real"), ("dangling", "new")):
        Path(link).symlink_to(target)
        small("export", SMALL, link).done()
        assert Path(link).is_symlink()
        assert Path(target, "model.safetensors").is_file()
    Path("file").touch()
    small("export", SMALL, "file/a/b").refused("file is no folder")


def test_outputs_that_are_not_finite_are_the_checkpoints_own(small: Run) -> None:
    small("export", SMALL, "whole").done()
    state = load_file("whole/model.safetensors")
    save_file({name: value * float("nan") for name, value in state.items()}, "nan.safetensors")
    architecture = json.loads(Path("whole/config.json").read_text())["architecture"]
    small("import", "nan.safetensors", "--architecture", architecture, "--as", "team/nan").done()
    said = small("export", "team/nan", "made", "--format", "pt2")
    said.refused("the checkpoint's own outputs are NaN or infinite")
    assert "unknown: preprocessing" in said.err
    assert not Path("made").exists()
    small("export", "team/nan", "made").done()
    assert "Unknown: preprocessing" in Path("made/README.md").read_text()


@pytest.mark.long
def test_what_computes_something_else_is_not_kept(
    small: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(nn.Module):
        def __init__(self, own: nn.Module) -> None:
            super().__init__()
            self.own = own

        def forward(self, images: Tensor) -> Tensor:
            return cast(Tensor, 1.01 * self.own(images))

    program = torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda own, *a, **k: program(Other(own), *a, **k))
    small("export", SMALL, "made", "--format", "pt2").refused("computes something else")
    assert not Path("made").exists()
    assert not [*Path().glob(".zoo-export-*")]


@pytest.mark.long
def test_batches_are_compared_too(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is right for one image and wrong for several is none."""
    read = convert.READ["pt2"]

    def reading(path: Path) -> Any:
        run = read(path)
        return lambda images: run(images) + (len(images) > 1)

    monkeypatch.setitem(convert.READ, "pt2", reading)
    small("export", SMALL, "made", "--format", "pt2").refused("computes something else")


@pytest.mark.long
@pytest.mark.skipif(
    torch.__version__.startswith("2.7."), reason="torch.export of torch 2.7 does not take it"
)
def test_what_ends_at_a_unit_is_written(small: Run) -> None:
    """By nothing but what it needs; and its weights have the names that they have in zoo."""
    small("adapt", SMALL, "team/short", "--truncate", "layer2").done()
    told = small("export", "team/short", "made", "--format", "pt2", "--json").done().json
    assert (told["checked"]["images"], told["checked"]["same"]) == (16, None)
    model = zoo.open().load("team/short")
    program = torch.export.load(Path("made", convert.FILE["pt2"]))
    assert {*program.state_dict} == {*model.state_dict()}
    batch = torch.randn(3, *cast(Card, model.zoo).manifest.preprocessing.input_size)
    with torch.no_grad():
        assert torch.allclose(program.module()(batch), model(batch), atol=1e-5)


class Clamped(nn.Module):
    """Clamps one value twice, to bounds that are buffers, as Gemma 4's layers do."""

    bounds: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bounds", torch.tensor([-0.3, 0.5, -0.1, 0.2]))

    def forward(self, images: Tensor) -> Tensor:
        """The sum of both."""
        low, high, lower, higher = self.bounds
        return (images.clamp(low, high) * 2 + images.clamp(lower, higher)).mean((2, 3))


class Attending(nn.Module):
    """Attends within parts of an image, in tensors of five dimensions, as Hiera does; or of three,
    with a bias, as SAM.
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, images: Tensor) -> Tensor:
        """The sum over all parts."""
        parts = images.view(-1, *self.shape)
        bias = parts @ parts.transpose(-1, -2) if len(self.shape) < 4 else None
        attention = nn.functional.scaled_dot_product_attention
        made = attention(parts, parts * 2, parts.flip(-2), attn_mask=bias)
        return made.reshape(images.shape[0], 3, -1).sum(2)


@pytest.mark.long
@pytest.mark.parametrize(
    "net",
    [Clamped(), Attending(3, 4, 2, 8), Attending(2, 8)],
    ids=["clamped twice", "attention of 5", "of 3"],
)
def test_what_the_exporter_does_not_take_as_it_is_is_written(
    small: Run, tmp_path: Path, net: nn.Module
) -> None:
    pytest.importorskip("onnxruntime")
    manifest = cast(Card, zoo.open().load(SMALL).zoo).manifest
    images = torch.randn(3, 3, 8, 8)
    convert.WRITE["onnx"](net, images[0], tmp_path / "net.onnx", manifest)
    given = convert.READ["onnx"](tmp_path / "net.onnx")(images.numpy())
    assert np.allclose(given, net(images).numpy(), atol=1e-5)


@pytest.mark.long
def test_a_probe_on_all_depths_is_written(run: Run, few: Path) -> None:
    """Of real weights: as all formats, and in eight bits."""
    how = ("--strategy", "probe", "--at", "all", "--image-size", 32, "--test-share", 0.25)
    run("finetune", BASE, "--data", few, *how, "--save", "team/all").done()
    model = zoo.open().load("team/all")
    card = cast(Card, model.zoo)
    batch = torch.stack([card.preprocess(path) for path in sorted(few.rglob("*.png"))])
    with torch.no_grad():
        own = model(batch).numpy()
    for form, needed in convert.NEEDED.items():
        for package in needed:
            pytest.importorskip(package)
        line = ("export", "team/all", form, "--format", form, "--images", few, "--json")
        told = run(*line, *(("--int8", few) if form == "onnx" else ())).done().json
        checked = told.get("converted", told)["checked"]
        assert checked["images"] == checked["same"]
        assert told.get("operators") == told.get("of")
        given, _ = PLAIN[form](Path(form, convert.FILE[form]), batch)
        assert np.abs(given - own).max() < 1e-4 * np.abs(own).max()


def test_what_cannot_be_exported_says_so(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        try:
            raise ValueError("aten::strange is not known\nand much more")
        except ValueError as error:
            raise RuntimeError("how to report it") from error

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(Unsupported, match="cannot be written as pt2: aten::strange is not known"):
        zoo.open().convert(SMALL, "made", format="pt2")
    assert not Path("made").exists()


def test_what_is_lacking_is_named(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.exchange.convert.find_spec", lambda name: name != "onnxscript")
    said = small("export", SMALL, "made", "--format", "onnx").refused("onnxscript is not installed")
    assert "pip install 'zoo-registry[onnx]'" in said.err


@pytest.mark.long
@pytest.mark.parametrize(
    ("title", "form", "made"), [("ONNX", "onnx", "onnx"), ("OpenVINO", "openvino", "ov")]
)
def test_the_page_runs_what_it_writes(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], title: str, form: str, made: str
) -> None:
    pytest.importorskip("onnxruntime" if form == "onnx" else form)
    run("export", BASE, f"flowers-{made}", "--format", form).done()
    code = re.search(rf"### {title}.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code
    model = zoo.open().load(BASE)
    card = cast(Card, model.zoo)
    Image.fromarray(skimage.data.coffee()).save("photo.png")
    images = card.preprocess(Path("photo.png"))[None]
    (own,) = run("predict", BASE, "photo.png", "--json").done().json
    capsys.readouterr()
    names: dict[str, Any] = {"images": images.numpy()}
    exec(code[1], names)
    label, *share = capsys.readouterr().out.split()
    assert label == own["classes"][0]
    if form == "onnx":  # it prepares the image itself
        assert float(share[0]) == pytest.approx(own["probabilities"][0], abs=1e-5)
        assert np.abs(names["values"] - images[0].permute(1, 2, 0).numpy()).max() < 1e-5
