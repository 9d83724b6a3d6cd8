"""Images inside Parquet files, as data sets of the Hugging Face hub have them."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.bounded import bounded_python
from fakes.sampled import sampled

from zoo.backbones.preprocess import EncodedImage
from zoo.domain.owner import renewing
from zoo.errors import InvalidData, InvalidOption
from zoo.finetune.dataset import packed as module
from zoo.finetune.dataset.images import sizes, state_of
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.dataset.shards import ByteRange, samples
from zoo.finetune.dataset.spec import DatasetOptions, tables_in
from zoo.finetune.dataset.table import listed_images
from zoo.lookup.caches import list_caches
from zoo.lookup.runs import CACHE, CHECKED
from zoo.lookup.space import DAY

arrow: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")

KINDS = ("Squares", "10", "2")
NAMES = ["frames", "discs", "bars"]


def written(
    file: Path, images: list[object], label: list[object], names: object = NAMES, group: int = 5
) -> Path:
    """A Parquet file as `datasets` writes one, in small groups of rows."""
    rows = arrow.table({"image": images, "label": label})
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    about = json.dumps({"info": {"features": features}}) if names else "{]"
    file.parent.mkdir(parents=True, exist_ok=True)
    table = rows.replace_schema_metadata({"huggingface": about})
    parquet.write_table(table, file, row_group_size=group)
    return file


def drawings(shapes: Path, numbers: range) -> tuple[list[object], list[object]]:
    each = [(shapes / kind / f"{n:02}.png", at) for n in numbers for at, kind in enumerate(KINDS)]
    images: list[object] = [{"bytes": path.read_bytes(), "path": path.name} for path, _ in each]
    return images, [at for _, at in each]


def test_a_folder_of_them(shapes: Path, tmp_path: Path) -> None:
    data = tmp_path / "hub" / "data"
    written(data / "train-00000-of-00002.parquet", *drawings(shapes, range(5)))
    written(data / "train-00001-of-00002.parquet", *drawings(shapes, range(5, 8)))
    written(data / "test-00000-of-00001.parquet", *drawings(shapes, range(8, 12)))
    (tmp_path / "hub" / "README.md").write_text("---\n---\n")
    cache = tmp_path / "cache"
    dataset = open_dataset(str(tmp_path / "hub"), cache=cache)
    assert (dataset.task, dataset.classes) == ("classification", ("bars", "discs", "frames"))
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [21, 3, 12]
    found = dict(dataset.test)
    assert found["test-00000-of-00001.parquet/4"] == dataset.classes.index("discs")
    folders = open_dataset(str(shapes))
    at_8 = folders.digests["10/08.png"], folders.digests["10/09.png"]
    assert at_8 == tuple(dataset.digests[f"test-00000-of-00001.parquet/{n}"] for n in (1, 4))
    assert dataset.read(dataset.test[0]).size == (32, 32)
    assert sizes(dataset.images, [dataset.test[0].key]) == [32]
    # The next one finds the copies; of a file that is another now there are both: a run may have
    # the older one open.
    kept = {file.parent.name: file.stat().st_mtime_ns for file in cache.glob("*/*.tar")}
    assert len(kept) == 3
    assert open_dataset(str(tmp_path / "hub"), cache=cache).digest == dataset.digest
    assert {file.parent.name: file.stat().st_mtime_ns for file in cache.glob("*/*.tar")} == kept
    written(data / "test-00000-of-00001.parquet", *drawings(shapes, range(7, 12)))
    assert len(open_dataset(str(tmp_path / "hub"), cache=cache).test) == 15
    assert len(set(kept) & {file.parent.name for file in cache.glob("*/*.tar")}) == 3
    assert len(list(cache.glob("*/*.tar"))) == 4
    assert dataset.read(dataset.test[0]).size == (32, 32)


def test_copies_are_in_use_as_long_as_the_images(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def age(days: float) -> None:
        for path in (home / "images.tar", home):
            os.utime(path, (time.time() - days * DAY,) * 2)

    file = written(tmp_path / "a.parquet", *drawings(shapes, range(12)))
    cache = tmp_path / CACHE / CHECKED
    open_dataset(str(file), cache=cache)
    (home,) = (each.parent for each in cache.glob("*/*.tar"))
    age(3)
    (found,) = list_caches(tmp_path)
    assert (found.file, found.taken) == (home.relative_to(tmp_path).as_posix(), False)
    before, threads = state_of(home / "images.tar"), threading.active_count()
    monkeypatch.setattr(module, "renewing", partial(renewing, every=0.01))
    dataset = open_dataset(str(file), cache=cache)
    assert [each.taken for each in list_caches(tmp_path)] == [True]
    assert state_of(home / "images.tar") == before, "else all images would be decoded again"
    age(3)
    for _ in range(500):
        if next(list_caches(tmp_path)).taken:
            break
        time.sleep(0.01)
    else:
        raise AssertionError("nobody renews the time of what is open")
    del dataset
    gc.collect()
    assert threading.active_count() == threads


@pytest.mark.parametrize("names", [None, [1, 2, 3], "bars"])
def test_classes_without_names_are_numbers(shapes: Path, tmp_path: Path, names: object) -> None:
    file = written(tmp_path / "a.parquet", *drawings(shapes, range(12)), names)
    dataset = open_dataset(str(file))
    assert dataset.classes == ("0", "1", "2")
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 36


def test_bytes_alone_and_other_columns(shapes: Path, tmp_path: Path) -> None:
    images, _ = drawings(shapes, range(12))
    rows = {
        "scan": [dict(each)["bytes"] for each in images],  # type: ignore[call-overload]
        "split": ["train" if n < 24 else "test" for n in range(36)],
        "size": [n / 2 for n in range(36)],
    }
    parquet.write_table(arrow.table(rows), tmp_path / "a.parquet")
    opening = DatasetOptions(path_column="scan", label_column="size")
    dataset = open_dataset(str(tmp_path / "a.parquet"), task="regression", opening=opening)
    assert dict(dataset.test)["a.parquet/35"] == (17.5,)
    assert len(dataset.test) == 12


def test_two_columns_of_images_are_kept_apart(shapes: Path, tmp_path: Path) -> None:
    images, label = drawings(shapes, range(12))
    rows = {"image": images, "mask": [images[-1], *images[:-1]], "label": label}
    file, cache = tmp_path / "a.parquet", tmp_path / "cache"
    parquet.write_table(arrow.table(rows), file)
    digests = [
        open_dataset(str(file), opening=DatasetOptions(path_column=column), cache=cache).digests
        for column in ("image", "mask", "image")
    ]
    assert digests[0] == digests[2]
    assert digests[0]["a.parquet/0"] == digests[1]["a.parquet/1"] != digests[1]["a.parquet/0"]
    assert len(list(cache.glob("*/*.tar"))) == 2


def test_hostile_bytes_are_images_like_any_other(shapes: Path, tmp_path: Path) -> None:
    images, label = drawings(shapes, range(12))
    images[3] = {"bytes": b"%!PS-Adobe", "path": "/etc/passwd"}
    images[4] = {"bytes": None, "path": "/etc/passwd"}
    images[5] = None
    label[6] = -1
    file = written(tmp_path / "a.parquet", images, label)
    with pytest.raises(InvalidData) as caught:
        open_dataset(str(file))
    said = [line.removeprefix("a.parquet/") for line in caught.value.problems]
    assert sorted(said) == [
        "3 is not a readable image (UnidentifiedImageError)",
        "4 has no image",
        "5 has no image",
        "6 has no label",
    ]
    assert len(open_dataset(str(file), skip_bad=True).skipped) == 4
    images[4] = images[3] = images[0]
    listed = list(listed_images([file], DatasetOptions()))
    assert [each.name for each in listed if not isinstance(each, Path) and not each.data] == [
        f"{file}/4",
        f"{file}/5",
    ]


def test_names_are_paths_as_they_were_given_and_read_no_image(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        written(Path(folder, "test-0.parquet"), *drawings(shapes, range(1)))
    given = ["a/test-0.parquet", "b"]
    called = [f"{folder}/test-0.parquet/{row}" for folder in "ab" for row in range(3)]
    whole = [
        each for each in listed_images(given, DatasetOptions()) if isinstance(each, EncodedImage)
    ]
    assert [each.name for each in whole] == called
    assert all(each.data for each in whole)
    monkeypatch.setattr(module, "_cells", None)
    assert [*listed_images(given, DatasetOptions(), names=True)] == [
        EncodedImage(n, b"") for n in called
    ]


def test_limits(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, label = drawings(shapes, range(12))
    huge: list[object] = [{"bytes": bytes(1 << 20), "path": None}] * 36
    file = written(tmp_path / "a.parquet", huge, label, group=36)  # some kilobytes
    with pytest.raises(InvalidData, match="its images are more than 100 times as large as it"):
        open_dataset(str(file))
    monkeypatch.setattr(module, "PACKED_IMAGE_BYTES", 100)
    file = written(tmp_path / "b.parquet", images, label)
    with pytest.raises(InvalidData, match=r"an image in it has \d+ bytes; the limit is"):
        open_dataset(str(file))
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes(2000) + whole[2200:])
    monkeypatch.undo()
    with pytest.raises(InvalidData, match="cannot be read"):
        open_dataset(str(file))


def test_copies_without_a_cache_go_with_the_images(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    dataset = open_dataset(str(written(tmp_path / "a.parquet", *drawings(shapes, range(12)))))
    assert list((tmp_path / "temporary").glob("*/*/*.tar"))
    del dataset
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())


def test_only_a_column_groups_them(shapes: Path, tmp_path: Path) -> None:
    images, label = drawings(shapes, range(12))
    who = [f"p{n // 6}" for n in range(36)]
    rows = arrow.table({"image": images, "label": label, "patient": who})
    parquet.write_table(rows, tmp_path / "a.parquet")
    for rule in ("folder", "([0-9]+)"):
        with pytest.raises(InvalidOption, match=r"a column .* \(it has: image, label, patient\)"):
            open_dataset(str(tmp_path / "a.parquet"), group_by=rule)
    dataset = open_dataset(str(tmp_path / "a.parquet"), group_by="patient")
    assert len({*dataset.groups.values()}) == 6


def test_what_does_not_go_together(shapes: Path, tmp_path: Path) -> None:
    images, label = drawings(shapes, range(12))
    written(tmp_path / "both" / "a.parquet", images, label)
    paths: list[object] = [f"{n}.png" for n in range(36)]
    written(tmp_path / "both" / "b.parquet", paths, label)
    with pytest.raises(InvalidData, match="'image' holds paths in some files, images in others"):
        open_dataset(str(tmp_path / "both"))
    parquet.write_table(arrow.table({"image": images}), tmp_path / "both" / "b.parquet")
    with pytest.raises(InvalidData, match=r"has other columns than a\.parquet"):
        open_dataset(str(tmp_path / "both"))
    opening = DatasetOptions(root=str(tmp_path))
    with pytest.raises(InvalidData, match="'image' holds images: --root is for paths"):
        open_dataset(str(tmp_path / "both" / "a.parquet"), opening=opening)


def test_a_table_beside_images_does_not_take_their_place(shapes: Path, tmp_path: Path) -> None:
    """Such as one of predictions of these images."""
    for data in (tmp_path / "flat", tmp_path / "hub" / "data"):
        file = written(data / "p.parquet", *drawings(shapes, range(2)))
        (data / "notes.txt").write_text("")
        assert tables_in(data) == (file,)
        shutil.copy(shapes / "2" / "00.png", data / "a.PNG")
        assert tables_in(data) == ()
        assert list(listed_images([data], DatasetOptions())) == [data]
    assert tables_in(tmp_path / "hub") == ()
    (tmp_path / "hub" / "data" / "a.PNG").rename(tmp_path / "hub" / "a.PNG")  # the page's picture
    assert tables_in(tmp_path / "hub") == (tmp_path / "hub" / "data" / "p.parquet",)


@pytest.mark.parametrize("cached", [False, True])
def test_a_file_that_changes_while_it_is_opened(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, cached: bool
) -> None:
    """Its images and labels would be of two files, each right in itself."""
    images, label = drawings(shapes, range(12))
    first = written(tmp_path / "a" / "train-0.parquet", images, label)
    second = written(tmp_path / "a" / "train-1.parquet", images, label)
    cache = tmp_path / "cache"
    if cached:
        open_dataset(str(tmp_path / "a"), cache=cache)
    before, found = len(list(cache.glob("*/*.tar"))), samples

    def swapped(tar: Path) -> Iterator[tuple[str, dict[str, ByteRange]]]:
        written(second, images[::-1], label[::-1])
        return found(tar)

    monkeypatch.setattr(module, "samples", swapped)  # as the copy of the first is read
    with pytest.raises(InvalidData, match=r"train-1\.parquet: the file changed while it was read"):
        open_dataset(str(tmp_path / "a"), cache=cache)
    monkeypatch.undo()
    assert len(list(cache.glob("*/*.tar"))) == max(before, 1), "a copy under a name of another"
    assert first.exists()
    assert len(open_dataset(str(tmp_path / "a"), split_copies=True, cache=cache).digests) == 72


def test_a_file_that_changes_while_it_is_copied(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, label = drawings(shapes, range(12))
    file, tar = written(tmp_path / "a.parquet", images, label), module._tar

    def swapped(images: Iterable[EncodedImage]) -> Iterator[bytes]:
        yield from tar(images)
        os.utime(file)

    monkeypatch.setattr(module, "_tar", swapped)
    with pytest.raises(InvalidData, match="the file changed while it was read"):
        open_dataset(str(file), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/*.tar"))


def repeated(value: str, count: int) -> object:
    """A column that is written as one value, and so many times its number."""
    indices = arrow.array(np.zeros(count, np.int32))
    return arrow.DictionaryArray.from_arrays(indices, [value])


OPEN = """
import sys
from zoo.errors import InvalidData
from zoo.finetune.dataset.open import open_dataset
try:
    open_dataset(sys.argv[1])
except InvalidData as error:
    print(error)
"""
BOMBS: dict[str, Callable[[list[object]], dict[str, object]]] = {
    "rows": lambda _: {
        "image": arrow.nulls(2_000_000, arrow.binary()),
        "label": repeated("a", 2_000_000),
    },
    "rows of other columns": lambda images: {
        "image": [*images, *[None] * 99_964],
        "label": repeated("a" * 5000, 100_000),
    },
    "a label": lambda images: {"image": images * 20, "label": repeated("x" * (3 << 20), 720)},
    "lists of labels": lambda images: {
        "image": images,
        "labels": arrow.ListArray.from_arrays(
            [n * 20 for n in range(37)], repeated("x" * (3 << 20), 720)
        ),
    },
    "pages": lambda images: {
        "image": images,
        "label": [f"{n}" + "x" * (3 << 20) for n in range(36)],
    },
}


@pytest.mark.parametrize("name", sampled(BOMBS, sorted({*BOMBS} - {"pages"})))
def test_bombs_in_other_columns(shapes: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.parquet"
    table = arrow.table(BOMBS[name](drawings(shapes, range(12))[0]))
    parquet.write_table(table, file, compression="zstd", store_schema=False)
    assert file.stat().st_size < 100_000
    done = bounded_python("-c", OPEN, file, megabytes=1000, seconds=20)
    assert re.search("it has 2,000,000 rows|what is used of the table takes more than", done.out)


def test_what_is_not_used_is_not_read(shapes: Path, tmp_path: Path) -> None:
    """However large it is, or whatever Python makes of it."""
    images, label = drawings(shapes, range(12))
    large = repeated("x" * (3 << 20), 36)
    late = arrow.array([1 << 59] * 36, arrow.timestamp("ms"))
    odd = {"image.bytes": [b"%d" % n for n in range(36)], "note": large, "on": late}
    table = arrow.table({**odd, "image": images, "label": [f"c{n}" for n in label]})
    parquet.write_table(table, tmp_path / "a.parquet", compression="zstd")
    dataset = open_dataset(str(tmp_path / "a.parquet"), cache=tmp_path / "cache")
    assert dataset.classes == ("c0", "c1", "c2")
    assert dataset.read(dataset.train[0]).size == (32, 32)
    opening = DatasetOptions(label_column="on")
    with pytest.raises(InvalidData, match="the table cannot be read"):
        open_dataset(str(tmp_path / "a.parquet"), opening=opening)


@pytest.mark.parametrize(
    "made",
    [
        lambda data: [{"a": {"x": 1, "bytes": each}} for each in data],
        lambda data: [[each] for each in data],
        lambda data: arrow.array(data).dictionary_encode(),
        lambda data: [{"bytes": None, "path": "a.png"} for _ in data],
    ],
)
def test_columns_that_hold_neither_images_nor_text(
    shapes: Path, tmp_path: Path, made: Callable[[list[bytes]], object]
) -> None:
    images, label = drawings(shapes, range(12))
    column = made([dict(each)["bytes"] for each in images])  # type: ignore[call-overload]
    parquet.write_table(arrow.table({"image": column, "label": label}), tmp_path / "a.parquet")
    with pytest.raises(InvalidData, match="'image' holds neither text nor images, but "):
        open_dataset(str(tmp_path / "a.parquet"))


def test_names_that_are_there_twice(shapes: Path, tmp_path: Path) -> None:
    images, label = drawings(shapes, range(12))
    file = written(tmp_path / "a.parquet", images, label, ["a", "b", "a "])
    with pytest.raises(InvalidData, match="two classes of the column 'label' are called 'a'"):
        open_dataset(str(file))
    columns = [arrow.array(images), arrow.array(label), arrow.array(label)]
    table = arrow.Table.from_arrays(columns, ["image", "label", "label"])
    parquet.write_table(table, file)
    with pytest.raises(InvalidData, match="two columns are called 'label'"):
        open_dataset(str(file))


def test_a_path_that_is_too_long_for_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"path,label\n{'x' * 5000},a\n")
    with pytest.raises(InvalidData, match="is not a readable image"):
        open_dataset(str(tmp_path / "a.csv"))
