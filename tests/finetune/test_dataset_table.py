"""Tables of paths and labels."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest

from zoo.domain.task import Task
from zoo.errors import InvalidData, MissingPackage
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.dataset.spec import DatasetOptions
from zoo.finetune.dataset.table import listed_images

Rows = list[tuple[object, ...]]


def written(shapes: Path, head: str, rows: Rows, name: str = "table.csv") -> str:
    """A table beside the shapes' folders."""
    lines = [head, *(",".join(map(str, row)) for row in rows)]
    text = "\n".join(lines) + "\n"
    (shapes / name).write_text(text.replace(",", "\t") if name.endswith(".tsv") else text)
    return str(shapes / name)


def paths(shapes: Path) -> list[str]:
    return [path.relative_to(shapes).as_posix() for path in sorted(shapes.rglob("*.png"))]


def targets(dataset: Dataset) -> dict[str, object]:
    return dict([*dataset.train, *dataset.validation, *dataset.test])


def problems(spec: str, task: Task | None = None, *, skip_bad: bool = False) -> tuple[str, ...]:
    with pytest.raises(InvalidData) as caught:
        open_dataset(spec, task=task, skip_bad=skip_bad)
    return caught.value.problems


@pytest.mark.parametrize(
    ("column", "name"), [("path", "table.csv"), ("file", "t.tsv"), ("image", "T.CSV")]
)
def test_classes(shapes: Path, column: str, name: str) -> None:
    rows: Rows = [("anna", path, path.split("/")[0]) for path in paths(shapes)]
    dataset = open_dataset(written(shapes, f"who,{column},label", rows, name))
    assert (dataset.task, dataset.classes) == ("classification", ("2", "10", "Squares"))
    order = {"2": 0, "10": 1, "Squares": 2}
    assert targets(dataset) == {path: order[path.split("/")[0]] for path in paths(shapes)}
    assert dataset.read(dataset.train[0]).size == (32, 32)


def test_a_class_may_be_called_as_what_is_missing(shapes: Path) -> None:
    """As tables say that `zoo advise` writes of class folders: else its own command is refused."""
    (shapes / "10").rename(shapes / "None")
    rows: Rows = [(path, path.split("/")[0]) for path in paths(shapes)]
    dataset = open_dataset(written(shapes, "path,label", rows))
    assert dataset.classes == ("2", "None", "Squares")
    first = next(row for row in rows if row[1] == "None")
    odd = [(*row, "odd" if row == first else "train") for row in rows]
    (problem,) = problems(written(shapes, "path,label,split", odd))
    assert "has the split 'odd'" in problem
    rows[0] = (rows[0][0], "None")  # which is of another folder
    assert problems(written(shapes, "path,label", rows)) == (f"{rows[0][0]} has no label",)


@pytest.mark.parametrize(("listed", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_mac_writes_letters_with_accents_otherwise(
    shapes: Path, listed: Literal["NFC", "NFD"], there: Literal["NFC", "NFD"]
) -> None:
    (shapes / "10").rename(shapes / normalize(there, "Möwe"))
    rows: Rows = [
        (normalize(listed, path.removesuffix(".png") if at % 2 else path), path.split("/")[0])
        for at, path in enumerate(paths(shapes))
    ]
    table = written(shapes, "path,label", rows)
    dataset = open_dataset(table)
    assert targets(dataset).keys() == {*paths(shapes)}
    listed_by_name = [*map(str, listed_images([table], DatasetOptions()))]
    assert sorted(listed_by_name) == sorted(str(path) for path in shapes.rglob("*.png"))


def test_labels_in_one_column(shapes: Path) -> None:
    rows: Rows = [
        (path, ("a10|a9", "", " a9 ", "b|a9|")[index % 4])
        for index, path in enumerate(paths(shapes))
    ]
    dataset = open_dataset(written(shapes, "path,labels", rows))
    assert (dataset.task, dataset.classes) == ("multi-label", ("a9", "a10", "b"))
    expected = ((1.0, 1.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 1.0))
    assert targets(dataset) == {p: expected[i % 4] for i, p in enumerate(paths(shapes))}


def test_labels_in_columns(shapes: Path) -> None:
    cells = (("1", "0"), ("true", "FALSE"), ("0.0", "1.0"))
    rows: Rows = [(path, *cells[index % 3]) for index, path in enumerate(paths(shapes))]
    dataset = open_dataset(written(shapes, "path,wheels,doors", rows))
    assert (dataset.task, dataset.classes) == ("multi-label", ("wheels", "doors"))
    expected = ((1.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    assert targets(dataset) == {p: expected[i % 3] for i, p in enumerate(paths(shapes))}


@pytest.mark.parametrize("head", ["target", "target_y,target_x"])
def test_numbers(shapes: Path, head: str) -> None:
    columns = tuple(head.split(","))
    values = {path: (0.1 * i, -3e-5 * i)[: len(columns)] for i, path in enumerate(paths(shapes))}
    rows: Rows = [(path, *numbers) for path, numbers in values.items()]
    dataset = open_dataset(written(shapes, f"path,{head}", rows))
    assert (dataset.task, dataset.classes) == ("regression", columns)
    assert targets(dataset) == values
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [25, 4, 7]


def test_given_splits(shapes: Path) -> None:
    names = ("train", "Training", "val", "test", "train", "train")
    rows: Rows = [(p, p.split("/")[0], names[i % 6]) for i, p in enumerate(paths(shapes))]
    dataset = open_dataset(written(shapes, "path,label,split", rows))
    assert [key for key, _ in dataset.validation] == paths(shapes)[2::6]
    assert [key for key, _ in dataset.test] == paths(shapes)[3::6]
    assert len(dataset.train) == 24


def test_paths_may_lead_anywhere(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    shutil.copytree(shapes, tmp_path / "moved")
    rows: Rows = [(f"../shapes/{p}", p.split("/")[0]) for p in paths(shapes)]
    rows += [(tmp_path / "moved" / p, p.split("/")[0]) for p in paths(shapes)]
    dataset = open_dataset(written(tmp_path / "tables", "path,label", rows))
    assert len(targets(dataset)) == 72


def test_a_moved_table_with_its_images_has_the_same_digest(shapes: Path, tmp_path: Path) -> None:
    rows: Rows = [(path, path.split("/")[0]) for path in paths(shapes)]
    first = open_dataset(written(shapes, "path,label", rows))
    shutil.copytree(shapes, tmp_path / "moved")
    assert open_dataset(str(tmp_path / "moved" / "table.csv")).digest == first.digest
    backwards = open_dataset(written(shapes, "path,label", rows[::-1]))
    assert (backwards.digest, backwards.split_digest) == (first.digest, first.split_digest)
    rows[0] = (rows[0][0], "Squares")
    assert open_dataset(written(shapes, "path,label", rows)).digest != first.digest


def test_bad_rows_are_told_at_once_and_can_be_skipped(shapes: Path) -> None:
    good: Rows = [(path, path.split("/")[0], "") for path in paths(shapes)]
    kept = good[4:]
    bad: Rows = [
        (good[0][0], "", ""),
        (good[1][0], "NaN", ""),
        ("nowhere.png", "2", ""),
        ("", "2", ""),
        (f"./{good[5][0]}", "10", ""),
    ]
    spec = written(shapes, "path,label,note", [*kept, *bad])
    expected = (
        f"{good[0][0]} has no label",
        f"{good[1][0]} has no label",
        "nowhere.png no such file",
        "row 36 has no path",
        f"{good[5][0]} in row 37 is listed before",
    )
    assert problems(spec) == expected
    dataset = open_dataset(spec, skip_bad=True)
    assert tuple(f"{key} {reason}" for key, reason in dataset.skipped) == expected
    assert set(targets(dataset)) == {path for path, *_ in kept}


@pytest.mark.parametrize("value", ["nan", "", "inf", "tall"])
def test_targets_that_are_no_numbers(shapes: Path, value: str) -> None:
    rows: Rows = [(path, index) for index, path in enumerate(paths(shapes))]
    rows[3] = (rows[3][0], value)
    spec = written(shapes, "path,target", rows)
    reason = f"{rows[3][0]} has '{value}' in the column 'target', which is not a finite number"
    assert problems(spec) == (reason,)
    assert len(targets(open_dataset(spec, skip_bad=True))) == 35


def test_label_columns_of_something_else(shapes: Path) -> None:
    rows: Rows = [(path, index % 2, index % 2) for index, path in enumerate(paths(shapes))]
    rows[3] = (rows[3][0], "2", "1")
    rows[4] = (rows[4][0], "1", "")
    found = problems(written(shapes, "path,a,b", rows))
    assert [text.partition(" has ")[2] for text in found] == [
        "'2' in the column 'a', which is neither 0 nor 1",
        "'' in the column 'b', which is neither 0 nor 1",
    ]


def test_numbers_in_named_columns_are_told_the_task(shapes: Path) -> None:
    rows: Rows = [(path, at / 4, at) for at, path in enumerate(paths(shapes))]
    spec = written(shapes, "file,wide,high", rows)
    chosen = DatasetOptions(label_column="wide,high")
    with pytest.raises(InvalidData) as caught:
        open_dataset(spec, opening=chosen)
    assert "the columns wide, high were taken for labels of 0 and 1: --task regression" in (
        caught.value.advice
    )
    with pytest.raises(InvalidData) as caught:
        open_dataset(spec, task="multi-label", opening=chosen)
    assert "taken for" not in caught.value.advice
    assert open_dataset(spec, task="regression", opening=chosen).classes == ("wide", "high")


def test_a_class_column_of_no_known_name_is_named(shapes: Path) -> None:
    """It is taken for labels of 0 and 1, and some classes are called so."""
    for number, klass in enumerate(("0", "circle")):  # of label 'klass' one image, or none
        rows: Rows = [(path, int(at == 0), 1) for at, path in enumerate(paths(shapes))]
        rows[3] = (rows[3][0], klass, 1)
        with pytest.raises(InvalidData) as caught:
            open_dataset(written(shapes, "file,klass,seen", rows, f"{number}.csv"))
        assert caught.value.advice.startswith(
            "the columns klass, seen were taken for labels of 0 and 1, as no column is called "
        )
        assert "--label-column NAME says which" in caught.value.advice
    with pytest.raises(InvalidData) as caught:
        open_dataset(written(shapes, "file,label", [(path, "same") for path in paths(shapes)]))
    assert "taken for" not in caught.value.advice


def test_of_labels_that_are_such_only_the_image_is_to_blame(shapes: Path) -> None:
    rows: Rows = [(path, at % 2, at // 2 % 2) for at, path in enumerate(paths(shapes))]
    (shapes / paths(shapes)[3]).write_bytes(b"no image")
    with pytest.raises(InvalidData) as caught:
        open_dataset(written(shapes, "path,cat,dog", rows))
    assert caught.value.advice == "--skip-bad leaves out the image that cannot be used"


def test_a_path_with_a_carriage_return_is_found(shapes: Path) -> None:
    """As in the tables that advice writes; and lines may end in one, as of old spreadsheets."""
    folder = paths(shapes)[0].partition("/")[0]
    (shapes / folder).rename(shapes / f"{folder}\rb")
    rows = [(path, path[0]) for path in paths(shapes)]
    for at, end in enumerate(("\n", "\r\n", "\r")):
        spec = shapes / f"{at}.csv"
        lines = [f'"{path}";{label}' for path, label in (("path", "label"), *rows)]
        spec.write_bytes(end.join(lines).encode())
        assert len(targets(open_dataset(str(spec)))) == len(rows)


def test_an_unknown_split(shapes: Path) -> None:
    rows: Rows = [(p, p.split("/")[0], "train") for p in paths(shapes)]
    rows[3] = (*rows[3][:2], "holdout")
    spec = written(shapes, "path,label,split", rows)
    reason = f"{rows[3][0]} has the split 'holdout', which is none of train, val, test"
    assert problems(spec) == (reason,)
    assert len(targets(open_dataset(spec, skip_bad=True))) == 35
    rows[3] = (*rows[3][:2], "")
    assert problems(written(shapes, "path,label,split", rows)) == (
        f"{rows[3][0]} has an empty split, none of train, val, test",
    )


@pytest.mark.parametrize(
    ("head", "row", "expected"),
    [
        ("path,labels", "{},{}", ("label 'rare' has one image; training and test need one each",)),
        ("path,a,b", "{},1,0", ("label 'b' has no image",)),
        (
            "path,label",
            "{},same",
            ("only one class is there: training needs at least two classes",),
        ),
        (
            "path,target",
            "{},4",
            ("the column 'target' has one value only: there is nothing to learn",),
        ),
    ],
)
def test_nothing_to_learn(shapes: Path, head: str, row: str, expected: tuple[str, ...]) -> None:
    lines: Rows = [
        tuple(row.format(path, "rare|b" if index == 7 else "a|b").split(","))
        for index, path in enumerate(paths(shapes))
    ]
    assert problems(written(shapes, head, lines)) == expected


def test_too_few_numbers(shapes: Path) -> None:
    rows: Rows = [(path, index) for index, path in enumerate(paths(shapes)[:2])]
    assert "fewer than three images" in problems(written(shapes, "path,target", rows))[0]


def test_a_label_that_only_the_test_split_has(shapes: Path) -> None:
    rows: Rows = [(path, "a|b", ("train", "test")[i % 2]) for i, path in enumerate(paths(shapes))]
    rows[1] = (rows[1][0], "a|new", "test")
    rows[3] = (rows[3][0], "a|new", "test")
    expected = ("label 'new' is in the test split, but not in that to train on",)
    assert problems(written(shapes, "path,labels,split", rows)) == expected


@pytest.mark.parametrize(
    ("head", "task", "expected"),
    [
        ("name,label", None, "no column 'path' (or file, image, filename, "),
        ("path,labels", "regression", "no columns for regression"),
        ("path,split", None, "no column that says what an image shows"),
        ("path,label,target", None, "it has columns for classification and for regression"),
        ("path,path,label", None, "two columns are called 'path'"),
    ],
)
def test_columns_that_do_not_say_it(
    shapes: Path, head: str, task: Task | None, expected: str
) -> None:
    rows: Rows = [("x.png",) * (head.count(",") + 1)]
    assert problems(written(shapes, head, rows), task)[0].startswith(expected)


def test_the_task_decides_between_columns(shapes: Path) -> None:
    rows: Rows = [(p, p.split("/")[0], i) for i, p in enumerate(paths(shapes))]
    spec = written(shapes, "path,label,target", rows)
    assert open_dataset(spec, task="regression").classes == ("target",)
    assert len(open_dataset(spec, task="classification").classes) == 3


def test_labels_that_are_numbers_are_learned_as_such_where_the_task_says_so(shapes: Path) -> None:
    rows: Rows = [(path, 0.5 * index) for index, path in enumerate(paths(shapes))]
    spec = written(shapes, "path,label", rows)
    dataset = open_dataset(spec, task="regression")
    assert (dataset.task, dataset.classes) == ("regression", ("label",))
    assert targets(dataset) == {path: (value,) for path, value in rows}
    assert problems(spec)[0].startswith("36 of 36 labels are numbers that one image has")
    assert "--task regression" in problems(spec)[0]
    assert "--task" not in problems(spec, "classification")[0]
    rows[3] = (rows[3][0], "tall")
    spec = written(shapes, "path,label", rows)
    assert "--task" not in problems(spec)[0]
    assert problems(spec, "regression") == (
        f"{rows[3][0]} has 'tall' in the column 'label', which is not a finite number",
    )


def test_a_few_rare_classes_that_are_called_by_numbers_are_classes(shapes: Path) -> None:
    rows: Rows = [(path, index % 3) for index, path in enumerate(paths(shapes))]
    rows[3] = (rows[3][0], 7)
    found = problems(written(shapes, "path,label", rows))
    assert found == ("class '7' has one image; training and test need one each",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the table has no rows"),
        (b"path,label\n", "the table has no rows"),
        (b"path,label\nx.png,caf\xe9\n", "the table is not in UTF-8"),
        (b"path,label\na.png,1,2\nb.png,1\nc.png\n", "cells than the head: 1, 3"),
        (b'path,label\n"a.png,1\n', "the table cannot be read"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    assert expected in problems(str(tmp_path / "table.csv"))[0]


def test_a_byte_order_mark_and_windows_lines(shapes: Path) -> None:
    rows: Rows = [(path, path.split("/")[0]) for path in paths(shapes)]
    spec = Path(written(shapes, "path,label", rows))
    plain = open_dataset(str(spec)).digest
    spec.write_bytes(b"\xef\xbb\xbf" + spec.read_bytes().replace(b"\n", b"\r\n"))
    assert open_dataset(str(spec)).digest == plain


def test_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingPackage) as caught:
        open_dataset(str(tmp_path / "table.parquet"))
    assert caught.value.install == "pip install 'zoo-registry[parquet]'"


def test_parquet(shapes: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = shapes / "table.parquet"

    def opened(**columns: list[object]) -> Dataset:
        parquet.write_table(arrow.table({"path": paths(shapes), **columns}), file)
        return open_dataset(str(file))

    numbers = [float(i % 3) for i in range(36)]
    whole = opened(label=list(map(int, numbers)))
    assert whole.classes == ("0", "1", "2")
    assert opened(label=[*numbers]).digest == whole.digest
    assert opened(target=[*numbers]).task == "regression"
    lists = opened(labels=[["a"] if i % 2 else ["a", "b"] for i in range(36)])
    assert (lists.task, lists.classes) == ("multi-label", ("a", "b"))
    assert opened(a=[bool(i % 2) for i in range(36)]).task == "multi-label"
    with pytest.raises(InvalidData) as caught:
        opened(label=[None, *numbers[1:]])
    assert caught.value.problems == (f"{paths(shapes)[0]} has no label",)
    file.write_bytes(b"PAR1 and no more")
    assert "cannot be read" in problems(str(file))[0]
