"""An export in whole numbers of eight bits, measured beside the floats."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from fakes.prepared import Run
from numpy.typing import NDArray

import zoo
from zoo.backbones.load import Card
from zoo.errors import Unsupported
from zoo.finetune import quantize as quantizing

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
NET = "team/net"
LINE = ("export", "team/probed", "made", "--format", "onnx", "--int8")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizing, "SECONDS", 0.05)


@pytest.fixture
def probed(small: Run, few: Path) -> Run:
    """As ``small``, with a checkpoint that tells digits."""
    small(
        *("finetune", NET, "--data", few, "--strategy", "probe", "--at", "head"),
        *("--image-size", 32, "--test-share", 0.25, "--save", "team/probed"),
    ).done()
    return small


def outputs(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    (given,) = runtime.InferenceSession(path).run(["logits"], {"images": images})
    return np.asarray(given)


@pytest.mark.long
def test_eight_bits_are_measured_beside_floats(
    probed: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    inputs = quantizing._inputs

    def reading(model: Any, dataset: Any, samples: Any, advance: Any) -> Any:
        read.append([sample.key for sample in samples])
        return inputs(model, dataset, samples, advance)

    monkeypatch.setattr(quantizing, "_inputs", reading)
    done = zoo.open().quantize("team/probed", "made", few)
    folder = Path("made")
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration.json", "config.json", "model-int8.onnx", "model.onnx",
    ]  # fmt: skip
    # What it was tested on when it was trained, and nothing of that for the ranges.
    run = max(Path("runs").iterdir())
    tested = {line.split(",")[0] for line in (run / "predictions.csv").read_text().split()[1:]}
    assert len(tested) == done.paired.images
    assert done.split == "test"
    assert len(read[0]) == done.calibrated == 36 - len(tested)
    assert not tested & {*read[0]}
    shown = probed("show", "team/probed", "--json").json
    known = shown.get("checkpoint", shown)["metrics"]
    assert done.fp32.metrics["accuracy"] == pytest.approx(known["accuracy"])
    assert {"accuracy_low", "accuracy_high"} < {*done.int8.metrics}
    assert done.converted.checked.difference < 1e-3
    assert not done.converted.checked.noise
    assert done.operators == done.of > 5
    assert done.int8.bytes == (folder / "model-int8.onnx").stat().st_size < 0.6 * done.fp32.bytes
    # The same network, in other numbers, for a batch of any size.
    card = cast(Card, zoo.open().load("team/probed").zoo)
    images = torch.stack([card.preprocess(path) for path in sorted(few.rglob("*.png"))]).numpy()
    floats, whole = (outputs(side.file, images) for side in (done.fp32, done.int8))
    assert np.abs(floats - whole).max() > 0.01
    assert (floats.argmax(1) == whole.argmax(1)).mean() > 0.85
    weights = onnx.load(folder / "model-int8.onnx").graph.initializer
    assert sum(each.data_type == onnx.TensorProto.INT8 for each in weights) > 5
    session = runtime.InferenceSession(folder / "model-int8.onnx")
    described = json.loads(session.get_modelmeta().custom_metadata_map["zoo"])
    assert described["classes"] == ["1", "2", "3"]


@pytest.mark.long
def test_both_are_printed_side_by_side(probed: Run, few: Path) -> None:
    said = probed(*LINE, few).done()
    head, floats, whole, verdict = said.out.splitlines()
    assert head.split() == ["ACCURACY", "SIZE", "MS", "FILE"]
    assert (floats.split()[0], whole.split()[0]) == ("fp32", "int8")
    assert verdict.endswith("no difference can be seen")
    assert "operators in eight bits" in said.err
    assert "int8 on " in said.err
    quiet = probed(*("export", "team/probed", "again", *LINE[3:], few, "--quiet")).done()
    assert "int8 on " not in quiet.err


@pytest.mark.long
def test_a_table_says_where_its_images_and_labels_are(probed: Run, few: Path) -> None:
    rows = [
        f"{path.relative_to(few)},{path.parent.name},{path.stem},{'test' if at % 3 else 'train'}"
        for at, path in enumerate(sorted(few.rglob("*.png")))
    ]
    Path("t.csv").write_text("\n".join(["where,kind,name,split", *rows]) + "\n")
    opened = ("--path-column", "where", "--label-column", "kind", "--root", few)
    told = probed(*LINE, "t.csv", *opened, "--json").done().json
    assert (told["split"], told["calibrated"], told["paired"]["images"]) == ("test", 12, 24)


def test_where_images_are_is_said_of_some(small: Run) -> None:
    line = ("export", NET, "made", "--label-column", "kind", "--root", "elsewhere")
    small(*line).refused("--label-column, --root: that is for the images of --int8")


def test_what_has_no_training_images_is_refused(probed: Run, few: Path) -> None:
    """Nothing is exported first, which takes a while."""
    other = shutil.copytree(few, "other")
    next(Path(other, "1").iterdir()).unlink()  # else they are those that it was trained on
    said = probed(*LINE, other).refused("no training images beside those to measure on")
    assert "a folder with train/ and test/" in said.err
    assert not Path("made").exists()


def test_copies_of_test_images_give_no_ranges(probed: Run, few: Path) -> None:
    for part in ("train", "test"):
        shutil.copytree(few, Path("copied", part))
    probed(*LINE, "copied").refused("no training images beside those to measure on")


@pytest.mark.parametrize("more", [("--format", "pt2"), ()])
def test_eight_bits_are_for_onnx(small: Run, few: Path, more: tuple[str, ...]) -> None:
    small("export", NET, "made", *more, "--int8", few).refused("--int8 is for --format onnx")


def test_a_network_without_such_operators_is_refused(tmp_path: Path) -> None:
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3])
        for name in ("images", "logits")
    ]
    node = onnx.helper.make_node("Relu", ["images"], ["logits"])
    graph = onnx.helper.make_graph([node], "net", values[:1], values[1:])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(Unsupported, match="none of its operators is one"):
        quantizing._count(tmp_path / "model.onnx")


def test_why_a_network_cannot_be_quantized_is_told(
    probed: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NotImplementedError("Could not find an implementation for ConvInteger(10)")

    monkeypatch.setattr(quantizing, "convert", lambda *_, **__: None)
    monkeypatch.setattr(quantizing, "_quantize", fail)
    probed(*LINE, few).refused("cannot be written as int8: Could not find an implementation")
    assert not Path("made").exists()


def test_loggers_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    with quantizing._unheard():
        logging.warning("Axis 1 is out-of-range")  # sets up a root logger that has nothing
    assert root.handlers == []
    assert capsys.readouterr().err == ""
