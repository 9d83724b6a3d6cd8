"""Images as training, features and predict see them: alike, wherever they lie."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes.typed import card
from PIL import Image
from safetensors import safe_open

from zoo.errors import InvalidData, InvalidImage
from zoo.facade import Zoo
from zoo.finetune.dataset.open import open_dataset
from zoo.workspace import Workspace

Place = Callable[[Path, Path], str]
EXIF = Image.Exif()
EXIF[0x0112] = 6  # the camera was turned to the left


def folder(images: Path, _: Path) -> str:
    return str(images)


def table(images: Path, at: Path) -> str:
    rows = [f"{path},{path.parent.name}" for path in sorted(images.glob("*/*.*"))]
    (at / "table.csv").write_text("\n".join(["path,label", *rows]))
    return str(at / "table.csv")


def torch_folder(images: Path, _: Path) -> str:
    return f"torch/image_folder?root={images}"


def torch_files(images: Path, at: Path) -> str:
    """A set of torchvision's that hands out files as they were opened."""
    for number, kind in enumerate(sorted(path.name for path in images.iterdir())):
        name = f"{number:05}_Animalia_Chordata_Aves_Order_Family_Genus_{kind}"
        shutil.copytree(images / kind, at / "inat" / "2021_train" / name)
    return f"torch/inaturalist?root={at / 'inat'}&train=train"


def shards(images: Path, at: Path) -> str:
    (at / "tars").mkdir()
    with tarfile.open(at / "tars" / "0.tar", "w") as tar:
        for path in sorted(images.glob("*/*.*")):
            name = f"{path.parent.name}-{path.stem}"
            tar.add(path, f"{name}{path.suffix}")
            info = tarfile.TarInfo(f"{name}.cls")
            info.size = len(path.parent.name)
            tar.addfile(info, io.BytesIO(path.parent.name.encode()))
    return f"wds/{at / 'tars'}"


@pytest.fixture(params=[folder, table, torch_folder, torch_files, shards])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


def replace_some(shapes: Path) -> None:
    """One image with an orientation, one of 16 bits; shown, they look as before."""
    turned, deep = shapes / "2" / "00.png", shapes / "10" / "05.png"
    Image.open(turned).transpose(Image.Transpose.ROTATE_90).save(turned, exif=EXIF)
    Image.fromarray(np.asarray(Image.open(deep)).astype(np.uint16) * 257).save(deep)


def test_16_bits_and_turned_images_are_trained_on_as_they_look(
    shapes: Path, tmp_path: Path, place: Place
) -> None:
    deep = shapes / "10" / "05.png"
    Image.open(deep).convert("L").save(deep)
    looks = sorted(Image.open(path).convert("RGB").tobytes() for path in shapes.glob("*/*.png"))
    replace_some(shapes)
    dataset = open_dataset(place(shapes, tmp_path))
    samples = [*dataset.train, *dataset.validation, *dataset.test]
    assert sorted(dataset.read(sample).tobytes() for sample in samples) == looks


@pytest.mark.parametrize("values", [np.int32, np.float32])
def test_values_without_a_range_are_told_before_training(
    shapes: Path, tmp_path: Path, place: Place, values: type[np.generic]
) -> None:
    path = shapes / "Squares" / "03.png"
    Image.fromarray(np.arange(1024).reshape(32, 32).astype(values)).save(path, "TIFF")
    spec = place(shapes, tmp_path)
    with pytest.raises(InvalidData) as caught:
        open_dataset(spec)
    (problem,) = caught.value.problems
    assert problem.count("nothing says which are black and white") == 1
    assert "03.png" in problem or "Squares-03" in problem
    assert len(open_dataset(spec, skip_bad=True).skipped) == 1


@pytest.mark.long
def test_predict_and_features_see_them_alike(
    workspace: Workspace, base: str, shapes: Path, tmp_path: Path
) -> None:
    deep = shapes / "10" / "05.png"
    Image.open(deep).convert("L").save(deep)
    other = tmp_path / "other" / "shapes"
    shutil.copytree(shapes, other)
    replace_some(other)
    zoo, found = Zoo(workspace), []
    for root in (shapes, other):
        out = root.parent / "features.safetensors"
        zoo.features(base, str(root), out, device="cpu")
        with safe_open(out, "pt") as file:
            features = file.get_tensor("features").tolist()
        images = [root / "2" / "00.png", root / "10" / "05.png"]
        preprocess = card(zoo.load(base)).preprocess
        inputs = [preprocess(Image.open(path)).tolist() for path in images]
        found.append((features, inputs, [image.logits for image in zoo.predict(base, images)]))
    assert found[0] == found[1]
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(InvalidImage, match="floats"):
        zoo.predict(base, [tmp_path / "depth.tif"])
