"""Datasets by the names that timm's scripts take; all of them lie here, nothing is fetched."""

from __future__ import annotations

import io
import json
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from zoo.errors import InvalidData, MissingPackage, ZooError
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.dataset.open import absolute, open_dataset
from zoo.finetune.dataset.timm_sets import TorchImages

Member = tuple[str, bytes]


def problems(spec: str) -> tuple[str, ...]:
    with pytest.raises(InvalidData) as caught:
        open_dataset(spec)
    return caught.value.problems


def targets(dataset: Dataset) -> dict[str, object]:
    return dict([*dataset.train, *dataset.validation, *dataset.test])


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """Forty and twenty noise images in the files of MNIST."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for name, count in (("train", 40), ("t10k", 20)):
        pixels = noise.integers(0, 255, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        head = struct.pack(">HBB3I", 0, 8, 3, count, 28, 28)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        head = struct.pack(">HBBI", 0, 8, 1, count)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    return tmp_path / "data"


def test_torch(mnist: Path) -> None:
    dataset = open_dataset(f"torch/mnist?root={mnist}", validation_share=0.25)
    assert dataset.task == "classification"
    assert dataset.classes[:2] == ("0 - zero", "1 - one")
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [30, 10, 20]
    assert targets(dataset)["test/13"] == 3
    image = dataset.read(dataset.test[0])
    assert (image.mode, image.size) == ("RGB", (28, 28))


def test_no_process_that_reads_them_starts_ghostscript(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that is no copy of the process that has listed them."""
    images = TorchImages({"test": [(Image.new("RGB", (2, 2)), 0)]})
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    images.read("test/0")
    assert EpsImagePlugin.gs_binary is False


def test_torch_folders_are_in_torchvisions_order(shapes: Path) -> None:
    dataset = open_dataset(f"TORCH/image_folder?root={shapes}")
    assert dataset.classes == ("10", "2", "Squares")
    assert len(targets(dataset)) == 36


def test_torch_folders_of_splits(shapes: Path, tmp_path: Path) -> None:
    for name in ("train", "val"):
        shutil.copytree(shapes, tmp_path / "splits" / name)
    dataset = open_dataset(f"torch/image_folder?root={tmp_path / 'splits'}")
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [30, 36, 6]
    shutil.rmtree(tmp_path / "splits" / "val" / "10")
    assert problems(dataset.spec) == ("its splits have different classes",)


def test_torch_names_splits_by_option(shapes: Path, tmp_path: Path) -> None:
    for name in ("fold1", "fold2"):
        shutil.copytree(shapes, tmp_path / "splits" / name)
    spec = f"torch/image_folder?root={tmp_path / 'splits'}&train=fold1&test=fold2"
    dataset = open_dataset(spec)
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [33, 3, 36]


def test_a_damaged_image_of_torchs_is_told(shapes: Path) -> None:
    (shapes / "10" / "00.png").write_bytes(b"text")
    (problem,) = problems(f"torch/image_folder?root={shapes}")
    assert problem.startswith("all/0 is not a readable image")
    assert "10/00.png" in problem


def test_a_set_without_a_list_of_targets(shapes: Path, tmp_path: Path) -> None:
    """iNaturalist's gives a target only with its image; those that cannot be read are listed."""
    for part in ("2021_train", "2021_valid"):
        for number, kind in enumerate(("2", "10", "Squares")):
            name = f"{number:05}_Animalia_Chordata_Aves_Order_Family_Genus_{kind}"
            shutil.copytree(shapes / kind, tmp_path / "inat" / part / name)
    spec = f"torch/inaturalist?root={tmp_path / 'inat'}"
    assert len(targets(open_dataset(spec))) == 72
    bad = tmp_path / "inat" / "2021_train" / "00001_Animalia_Chordata_Aves_Order_Family_Genus_10"
    for name in ("03.png", "07.png"):
        (bad / name).write_bytes(b"text")
    found = problems(spec)
    assert len(found) == 2
    for name in ("03.png", "07.png"):
        assert any("is not a readable image" in text and name in text for text in found)
    dataset = open_dataset(spec, skip_bad=True)
    assert len(dataset.skipped) == 2
    assert len(targets(dataset)) == 70


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("torch/mnist?root={}", "it cannot be opened: Dataset not found"),
        ("torch/nonsense?root={}", "it cannot be opened: Unknown torchvision dataset nonsense"),
        ("torch/mnist?image=x&rot=y", "torch has no option 'image'"),
        ("wds/", "which dataset? wds/NAME"),
        ("wds/{}", "no images"),
        ("wds/x?root=https://shards.org/x", "shards that are not here"),
        ("hfids/beans", "a stream has no order to draw from; hfds/…"),
        ("tfds/beans", "it can only be read from end to end"),
    ],
)
def test_refusals_give_the_reason(tmp_path: Path, spec: str, expected: str) -> None:
    assert problems(spec.format(tmp_path))[0].startswith(expected)


def test_a_folder_may_be_called_as_a_kind_is(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shapes, tmp_path / "wds" / "x")
    monkeypatch.chdir(tmp_path)
    assert len(targets(open_dataset("./wds/x"))) == 36


def test_hfds_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(MissingPackage) as caught:
        open_dataset("hfds/beans")
    assert caught.value.install == "pip install 'zoo-registry[hfds]'"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("torch/image_folder", "torch/image_folder?root={}"),
        ("TORCH/mnist?root=data&download=yes", "torch/mnist?root={}/data&download=yes"),
        ("wds/tars", "wds/tars?root={}/tars"),
        ("wds/x?root=tars&train={{0..9}}.tar|300", "wds/x?root={}/tars&train={{0..9}}.tar|300"),
        ("hfds/org/beans?label=a+b%26c", "hfds/org/beans?label=a%20b%26c"),
        ("hfds/here?root=arrow", "hfds/{}/here?root={}/arrow"),
        ("flowers", "{}/flowers"),
        ("/data/flowers", "/data/flowers"),
    ],
)
def test_it_is_the_same_from_another_folder(
    spec: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    found = absolute(spec.format())
    assert found == expected.format(tmp_path, tmp_path)
    assert absolute(found) == found


def shard(path: Path, members: list[Member]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def members(shapes: Path, number: int, label: Callable[[int], list[Member]]) -> list[Member]:
    """The images of one number of each kind, and what ``label`` puts beside them."""
    found: list[Member] = []
    for kind, name in enumerate(("2", "10", "Squares")):
        data = (shapes / name / f"{number:02}.png").read_bytes()
        found.append((f"./{name}-{number}.png", data))
        found += [(f"./{name}-{number}.{suffix}", text) for suffix, text in label(kind)]
    return found


def classes(kind: int) -> list[Member]:
    return [("cls", str(kind).encode())]


def test_shards(shapes: Path, tmp_path: Path) -> None:
    for number in range(12):
        shard(tmp_path / "tars" / f"{number:04}.tar", members(shapes, number, classes))
    dataset = open_dataset(f"wds/{tmp_path / 'tars'}")
    assert (dataset.task, dataset.classes) == ("classification", ("0", "1", "2"))
    assert len(targets(dataset)) == 36
    assert targets(dataset)["0007.tar/./10-7"] == 1
    sample = next(s for s in dataset.train if s.key.endswith("./10-7"))
    with Image.open(shapes / "10" / "07.png") as image:
        assert dataset.read(sample).tobytes() == image.tobytes()
    one = open_dataset(f"wds/flowers?root={tmp_path / 'tars'}&train={{0000..0009}}.tar|300")
    assert {key[:4] for key in targets(one)} == {f"{n:04}" for n in range(10)}


def test_shards_of_splits(shapes: Path, tmp_path: Path) -> None:
    for number in range(12):
        part = "train" if number < 6 else "val" if number < 9 else "test"
        shard(tmp_path / f"{part}-{number}.tar", members(shapes, number, classes))
    dataset = open_dataset(f"wds/{tmp_path}")
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [18, 9, 9]


@pytest.mark.parametrize("name", ["let-{}-{:04}.tar", "{1:02}_My-Let_{0}.tar", "{}{:03}.tar"])
def test_splits_in_the_names_of_shards(shapes: Path, tmp_path: Path, name: str) -> None:
    """Wherever they are in them: drawn anew, images of the validation would be trained on."""
    for number in range(12):
        part = "train" if number < 6 else "validation" if number < 9 else "TEST"
        shard(tmp_path / name.format(part, number), members(shapes, number, classes))
    dataset = open_dataset(f"wds/{tmp_path}")
    parts = (dataset.train, dataset.validation, dataset.test)
    numbers = [{int(sample.key.rpartition("-")[2]) for sample in part} for part in parts]
    assert numbers == [{*range(6)}, {6, 7, 8}, {9, 10, 11}]
    assert not dataset.remarks


@pytest.mark.parametrize(
    ("name", "odd", "says"),
    [
        (
            "let-train-{}",
            "more-0",
            "11 of 12 tar files have a split's name in theirs, '{}' has none",
        ),
        ("train-{}", "retrain", "11 of 12 tar files have a split's name in theirs, '{}' has none"),
        (
            "train-{}",
            "val-test",
            "12 of 12 tar files have a split's name in theirs, '{}' has several",
        ),
    ],
)
def test_a_shard_of_no_split(shapes: Path, tmp_path: Path, name: str, odd: str, says: str) -> None:
    for number in range(12):
        file = f"{odd if number == 11 else name.format(number)}.tar"
        shard(tmp_path / file, members(shapes, number, classes))
    dataset = open_dataset(f"wds/{tmp_path}")
    assert all((dataset.train, dataset.validation, dataset.test))
    (remark,) = dataset.remarks
    assert remark.startswith(f"{says.format(f'{odd}.tar')}: these splits are not taken (train=")


def test_shards_by_the_name_of_the_dataset(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        shard(tmp_path / f"let-{number}.tar", members(shapes, number, classes))
    shard(tmp_path / "letters-0.tar", members(shapes, 0, classes))
    assert len(targets(open_dataset(f"wds/let?root={tmp_path}"))) == 36
    assert len(targets(open_dataset(f"wds/{tmp_path}"))) == 39
    (problem,) = problems(f"wds/lett?root={tmp_path}")
    assert problem == (
        f"no tar file in {tmp_path} has a name that begins with 'lett': let-0.tar, let-1.tar, "
        "let-10.tar and 10 more"
    )
    monkeypatch.chdir(tmp_path)
    for whole in (f"wds/{tmp_path}", "wds/.", "wds/../" + tmp_path.name):
        assert len(targets(open_dataset(absolute(whole)))) == 39


def test_shards_with_a_list_of_what_is_where(shapes: Path, tmp_path: Path) -> None:
    def label(kind: int) -> list[Member]:
        return [
            ("json", json.dumps({"kinds": [kind, (kind + 1) % 3], "size": 1.5 * kind}).encode())
        ]

    for number in range(12):
        shard(tmp_path / f"a{number}.tar", members(shapes, number, label))
    splits = {
        name: {"name": name, "filenames": [f"a{n}.tar" for n in numbers], "alt_label": "kinds"}
        for name, numbers in (("train", range(9)), ("validation", (9, 10)))
    }
    (tmp_path / "_info.json").write_text(json.dumps({"splits": splits}))
    dataset = open_dataset(f"wds/{tmp_path}")
    assert (dataset.task, dataset.classes) == ("multi-label", ("0", "1", "2"))
    assert targets(dataset)["a9.tar/./2-9"] == (1.0, 1.0, 0.0)
    assert len(dataset.validation) == 6
    sizes = open_dataset(f"wds/{tmp_path}?label=size&train=train&test=validation")
    assert (sizes.task, targets(sizes)["a9.tar/./10-9"]) == ("regression", (1.5,))


def test_faults_in_shards(shapes: Path, tmp_path: Path) -> None:
    found = [*members(shapes, 0, classes), *members(shapes, 1, classes)]
    del found[1]
    found[2] = ("./10-0.cls", b"-1")
    found[3] = ("./Squares-0.png", b"text")
    del found[5]
    shard(tmp_path / "0.tar", found)
    for number in range(2, 5):
        shard(tmp_path / f"{number}.tar", members(shapes, number, classes))
    shard(tmp_path / "5.tar", members(shapes, 5, classes) * 2)
    assert problems(f"wds/{tmp_path}") == (
        "0.tar/./2-0 has no label: None is none of the classes",
        "0.tar/./10-0 has no label: -1 is none of the classes",
        "0.tar/./Squares-0 is not a readable image (UnidentifiedImageError)",
        f"0.tar/./2-1 in {tmp_path / '0.tar'} has no image",
        *(f"5.tar/./{n}-5 in {tmp_path / '5.tar'} is there before" for n in ("2", "10", "Squares")),
    )
    whole = (tmp_path / "5.tar").read_bytes()
    (tmp_path / "5.tar").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ZooError):
        open_dataset(f"wds/{tmp_path}")
    shutil.copy(shapes / "2" / "00.png", tmp_path / "5.tar")
    assert "is not a readable, uncompressed tar file" in problems(f"wds/{tmp_path}")[0]


# webdataset leaves the shards open that it has read.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_shards_are_as_timm_reads_them(shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    from timm.data import create_dataset

    for number in range(4):
        shard(tmp_path / f"{number:04}.tar", members(shapes, number, classes))
    spec = f"wds/x?root={tmp_path}&train={{0000..0003}}.tar"
    ours = open_dataset(spec)
    theirs: Any = create_dataset("wds/x", root=str(tmp_path), split="{0000..0003}.tar|12")
    by_pixels = {ours.read(s).tobytes(): s.target for p in (ours.train, ours.test) for s in p}
    by_pixels |= {ours.read(s).tobytes(): s.target for s in ours.validation}
    assert by_pixels == {image.tobytes(): target for image, target in theirs}


@pytest.fixture
def hub(shapes: Path, tmp_path: Path) -> Path:
    """The shapes in two splits of Parquet files, with classes, marks and sizes."""
    datasets = pytest.importorskip("datasets")
    names = ["bars", "discs", "frames"]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=names),
            "marks": datasets.Sequence(datasets.ClassLabel(names=names)),
            "size": datasets.Value("float32"),
        }
    )
    for part, numbers in (("train", range(8)), ("test", range(8, 12))):
        rows = [
            {
                "image": {"bytes": (shapes / name / f"{n:02}.png").read_bytes(), "path": None},
                "label": kind,
                "marks": [kind, (kind + 1) % 3],
                "size": n + kind / 2,
            }
            for n in numbers
            for kind, name in enumerate(("2", "10", "Squares"))
        ]
        made = datasets.Dataset.from_list(rows, features=features)
        (tmp_path / "hub" / "data").mkdir(parents=True, exist_ok=True)
        made.to_parquet(tmp_path / "hub" / "data" / f"{part}-00000-of-00001.parquet")
    return tmp_path / "hub"


@pytest.mark.filterwarnings("ignore")
def test_hfds(hub: Path, shapes: Path, tmp_path: Path) -> None:
    spec = f"hfds/{hub}?root={tmp_path / 'arrow'}"
    dataset = open_dataset(spec)
    assert (dataset.task, dataset.classes) == ("classification", ("bars", "discs", "frames"))
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [21, 3, 12]
    assert targets(dataset)["test/4"] == 1
    sample = next(s for s in dataset.test if s.key == "test/4")
    with Image.open(shapes / "10" / "09.png") as image:
        assert dataset.read(sample).tobytes() == image.tobytes()
    marks = open_dataset(f"{spec}&label=marks")
    assert (marks.task, targets(marks)["test/4"]) == ("multi-label", (0.0, 1.0, 1.0))
    sizes = open_dataset(f"{spec}&label=size&train=train&validation=test")
    assert (sizes.task, targets(sizes)["validation/4"]) == ("regression", (9.5,))


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_image_of_hfds_is_told(hub: Path, shapes: Path, tmp_path: Path) -> None:
    for n in (3, 4):
        (shapes / "2" / f"{n:02}.png").write_bytes(b"text")
    for name in ("train", "test"):
        shutil.rmtree(tmp_path / "folders" / name, ignore_errors=True)
        shutil.copytree(shapes, tmp_path / "folders" / name)
    found = problems(f"hfds/{tmp_path / 'folders'}?root={tmp_path / 'arrow'}")
    assert len(found) == 4
    assert all("is not a readable image" in text for text in found)
