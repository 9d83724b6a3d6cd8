"""A file of features: what is in it, and that it is whole."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import warm
from fakes.tuned import drawings, small_zoo
from fakes.typed import card
from PIL import Image
from safetensors import safe_open

from zoo.backbones.features import extract
from zoo.errors import Conflict, InvalidData, InvalidImage, UnknownName
from zoo.facade import Zoo
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.features import write as module
from zoo.finetune.features.write import Features
from zoo.workspace import Workspace

File = dict[str, Any]


@pytest.fixture
def zoo(workspace: Workspace) -> Zoo:
    return Zoo(workspace)


def read(path: Path) -> tuple[File, dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_features_are_the_features_of_the_truncated_network(
    zoo: Zoo, base: str, shapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made" / "features.safetensors"
    made = zoo.features(base, shapes, out, at="layer2", device="cpu", batch_size=7)
    tensors, _ = read(out)
    zoo.adapt(base, "team/shallow", truncate="layer2")
    shallow = zoo.load("team/shallow")
    paths = sorted(path.relative_to(shapes) for path in shapes.rglob("*.png"))
    images = [card(shallow).preprocess(Image.open(shapes / path)) for path in paths]
    with torch.no_grad():
        expected = shallow(torch.stack(images))
    assert tensors["features"].dtype == torch.float32
    assert torch.allclose(tensors["features"], expected, atol=1e-5)
    assert made == Features(
        path=out,
        manifest=zoo.workspace.names.resolve(base)[1],
        unit="layer2.0",
        images=36,
        skipped=0,
        num_features=expected.shape[1],
        classes=("2", "10", "Squares"),
        keys=tuple(map(str, paths)),
    )


def test_labels_paths_and_metadata(zoo: Zoo, base: str, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.safetensors"
    made = zoo.features(base, shapes, out, device="cpu")
    tensors, said = read(out)
    paths, classes = json.loads(said["paths"]), json.loads(said["classes"])
    assert paths == sorted(str(path.relative_to(shapes)) for path in shapes.rglob("*.png"))
    assert [classes[label] for label in tensors["labels"]] == [p.split("/")[0] for p in paths]
    assert tensors["labels"].dtype == torch.int64
    assert {key: said[key] for key in ("ref", "manifest", "architecture", "unit", "task")} == {
        "ref": "team/base", "manifest": str(made.manifest), "architecture": "test_resnet",
        "unit": "head", "task": "classification",
    }  # fmt: skip
    assert said["data_digest"] == open_dataset(str(shapes)).digest
    # Features before the head: the head makes the network's outputs of them.
    model = zoo.load(base)
    image = card(model).preprocess(Image.open(shapes / paths[5]))[None]
    with torch.no_grad():
        assert torch.allclose(
            model.get_submodule("fc")(tensors["features"][5]), model(image)[0], atol=1e-5
        )


def test_several_labels(zoo: Zoo, base: str, shapes: Path, tmp_path: Path) -> None:
    rows = [f"{at:02}" for at in range(12)]
    lines = [f"shapes/2/{row}.png,{int(row) % 2},{int(int(row) > 5)}" for row in rows]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,odd,late", *lines]))
    zoo.features(base, table, tmp_path / "features.safetensors", device="cpu")
    tensors, said = read(tmp_path / "features.safetensors")
    assert json.loads(said["classes"]) == ["odd", "late"]
    assert tensors["labels"].tolist() == [[int(r) % 2, int(int(r) > 5)] for r in rows]


def test_of_two_kinds_of_labels_the_task_chooses(
    zoo: Zoo, base: str, shapes: Path, tmp_path: Path
) -> None:
    lines = [f"shapes/2/{at:02}.png,{at % 2},{at / 2}" for at in range(12)]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,target", *lines]))
    given: Any = {"name": base, "data": tmp_path / "table.csv", "out": tmp_path / "codes"}
    with pytest.raises(InvalidData, match="name the task"):
        zoo.features(**given, device="cpu")
    zoo.features(**given, device="cpu", task="regression")
    tensors, said = read(tmp_path / "codes")
    assert said["task"] == "regression"
    assert tensors["labels"].flatten().tolist() == [at / 2 for at in range(12)]


def test_bad_images_are_left_out_if_asked(
    zoo: Zoo, base: str, shapes: Path, tmp_path: Path
) -> None:
    (shapes / "2" / "03.png").write_bytes(b"text")
    out = tmp_path / "features.safetensors"
    with pytest.raises(InvalidData, match=r"2/03\.png is not a readable image"):
        zoo.features(base, shapes, out, device="cpu")
    made = zoo.features(base, shapes, out, device="cpu", skip_bad=True)
    assert (made.images, made.skipped) == (35, 1)
    tensors, said = read(out)
    assert len(tensors["features"]) == 35
    assert "2/03.png" not in json.loads(said["paths"])


def test_a_file_is_replaced_only_by_force(
    zoo: Zoo, base: str, shapes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "features.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(Conflict, match="--force replaces it"):
        zoo.features(base, shapes, out, device="cpu")
    assert out.read_bytes() == b"mine"
    with pytest.raises(Conflict, match="is a folder"):
        zoo.features(base, shapes, shapes, device="cpu", force=True)
    zoo.features(base, shapes, out, device="cpu", force=True)
    assert len(read(out)[0]["features"]) == 36


def test_a_broken_off_extraction_leaves_what_was_there(
    zoo: Zoo, base: str, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "features.safetensors"
    out.parent.mkdir()
    out.write_bytes(b"mine")

    def extracted(*arguments: Any) -> Any:
        (shapes / "2" / "11.png").write_bytes(b"no image any more")  # after it was checked
        return extract(*arguments)

    monkeypatch.setattr(module, "extract", extracted)
    with pytest.raises(InvalidImage):
        zoo.features(base, shapes, out, device="cpu", batch_size=4, force=True)
    assert out.read_bytes() == b"mine"
    assert list(out.parent.iterdir()) == [out]


def test_what_is_wrong_is_told_before_images_are_read(zoo: Zoo, base: str, tmp_path: Path) -> None:
    out = tmp_path / "features.safetensors"
    bad = tmp_path / "bad"
    (bad / "a").mkdir(parents=True)
    (bad / "a" / "1.png").write_bytes(b"no image")
    with pytest.raises(UnknownName) as caught:
        zoo.features(base, bad, out, at="layer22", device="cpu")
    assert "layer2" in caught.value.near
    with pytest.raises(UnknownName):
        zoo.features("team/bass", bad, out, device="cpu")
    assert not out.exists()


READER = """
import os, sys, torch, zoo
from pathlib import Path
from zoo.domain.recipe import Recipe
root = Path(sys.argv[1])
home, data = root / "zoo", root / "drawings"

def held():
    return {(path, path.stat().st_mtime) for path in home.rglob("*")}

for name in ("owner", "reader"):  # what the first has imported, the other need not find
    if name == "reader":
        before = held()
        os.setgroups([])
        os.setgid(61002)
        os.setuid(61002)
    with zoo.open(home) as z:
        (found,) = z.predict("team/base", [next(data.rglob("*.png"))])
        assert len(found.logits) == z.load("team/base")(torch.zeros(1, 3, 160, 160)).shape[1]
        z.export("team/base", root / "out" / name)
        made = z.features("team/base", data, root / "out" / f"{name}.safetensors", device="cpu")
        assert made.images == 6
        plan = Recipe(data=str(data), freeze="layer4", strategy="partial", image_size=32)
        assert len(z.find_lr(plan, "team/base", device="cpu").rates) > 9
    if name == "owner":
        assert [*(home / "cache/crossings").iterdir()]
assert held() == before
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_zoo_that_may_only_be_read_is_loaded_and_run() -> None:
    """By somebody whom nothing in it belongs to, and who leaves nothing in it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "out").mkdir()
        (root / "out").chmod(0o777)
        drawings(root / "drawings", {"train": 1, "test": 1})
        small_zoo(root).close()
        done = warm.run("-c", READER, root, cwd=root)
        assert done.returncode == 0, done.stderr
