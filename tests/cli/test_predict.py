"""zoo predict --out: any number of images in batches, cut off and resumed, on several devices."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.prepared import BASE, NET, Run
from PIL import Image
from sklearn.datasets import load_sample_images

import zoo
from zoo.backbones import many, predict
from zoo.domain.progress import Task
from zoo.errors import Conflict
from zoo.store.rows import open_rows

ODD = "bad \udcff.png"
"""Of two bytes that are no UTF-8."""


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 pieces of two photos, and two files among them that are no images."""
    root = tmp_path_factory.mktemp("photos")
    for number, photo in enumerate(load_sample_images().images):
        (root / str(number)).mkdir()
        for at in range(11):
            piece = Image.fromarray(photo).crop((50 * at, 20 * at, 50 * at + 120, 20 * at + 100))
            piece.save(root / str(number) / f"{at:02}.jpg", quality=90)
    (root / "0" / "05 bad.png").write_bytes(b"text")
    (root / "1" / ODD).write_bytes((root / "1" / "00.jpg").read_bytes()[:600])
    return root


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8", "surrogateescape"))))


class Stops:
    """A progress that is interrupted after so many batches."""

    def __init__(self, after: int) -> None:
        self.after, self.totals = after, list[float | None]()

    @contextmanager
    def __call__(self, label: str, total: float | None, unit: str = "") -> Iterator[Task]:
        self.totals.append(total)
        yield self

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.after -= 1
        if not self.after:
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        pass


def write(after: int, photos: Path, out: str, **how: Any) -> tuple[list[float | None], list[str]]:
    """Predict until so many batches are done; what was to be done, and the notes of its end."""
    stops = Stops(after)
    with zoo.open(Path(), progress=stops) as z:
        try:
            z.write_predictions(NET, photos, out, batch_size=4, **{"workers": 0, **how})
        except KeyboardInterrupt as error:
            return stops.totals, error.__notes__
    return stops.totals, []


@pytest.mark.long
def test_it_agrees_with_image_by_image(run: Run, home: Path, photos: Path) -> None:
    alone = run("predict", BASE, photos, "--json")
    assert alone.code == 1
    out = ("--out", "p.csv", "--batch-size", 5, "--workers", 2)
    said = run("predict", BASE, photos, *out).refused("p.csv: 2 of 24 images cannot be read")
    assert said.out.startswith("p.csv  24 images by ")
    rows = table(home / "p.csv")
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    fine = [row for row in rows if not row["problem"]]
    assert [row["path"] for row in fine] == [one["image"] for one in alone.json]
    for row, one in zip(fine, alone.json, strict=True):
        assert row["class_1"] == one["classes"][0]
        shares = [float(row[f"probability_{at}"]) for at in (1, 2, 3)]
        assert shares == pytest.approx(one["probabilities"], abs=1e-4)
    assert len({row["class_1"] for row in fine}) > 3
    skipped = run("predict", BASE, photos, *out, "--force", "--skip-bad").done()
    assert skipped.err == "2 bad images left out\n"
    text, torn = (row for row in rows if row["problem"])
    assert text["path"].endswith("05 bad.png")
    assert text["problem"] == "is not a readable image"
    assert torn["path"].endswith(ODD)
    assert torn["problem"].startswith("cannot be read: ")
    assert not any(text[f"class_{at}"] or torn[f"probability_{at}"] for at in (1, 2, 3))


def test_bad_images_are_told_alike_or_counted(small: Run, photos: Path) -> None:
    asked = ("predict", NET, photos / "0" / "00.jpg", "gone.png", photos / "0" / "05 bad.png")
    said = small(*asked).refused("error: gone.png: no such file")
    assert said.err.count("error: ") == 2
    counted = small(*asked, "--skip-bad").done()
    assert len(counted.out.splitlines()) == 1
    assert counted.err.endswith("\n2 bad images left out\n")
    small("predict", NET, "gone.png", "--skip-bad").refused("error: gone.png: no such file")


def test_it_is_cut_off_and_goes_on(small: Run, photos: Path) -> None:
    whole, _ = write(-1, photos, "whole.csv")
    assert whole == [24]
    _, notes = write(3, photos, "p.csv")
    assert notes == ["p.csv.partial has what was predicted; --resume continues it"]
    assert not Path("p.csv").exists()
    asked = ("predict", NET, photos, "--batch-size", 4, "--out", "p.csv")
    left = small(*asked).refused("p.csv.partial is left of a run that was cut off")
    assert "--resume continues it, --force begins anew" in left.err
    with Path("p.csv.partial").open("ab") as file:  # what a crash leaves
        file.write(b'["photos/a.jp')
    left_over, _ = write(2, photos, "p.csv", resume=True)
    assert left_over == [24 - 12]
    left_over, _ = write(-1, photos, "p.csv", resume=True)
    assert left_over == [24 - 20]
    assert Path("p.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert not Path("p.csv.partial").exists()


def test_a_job_that_is_done_is_not_done_again(small: Run, photos: Path) -> None:
    """Nothing is predicted: there is no progress. What another made stays as it is."""
    for out in ("p.csv", *(["p.parquet"] if find_spec("pyarrow") else [])):
        write(-1, photos / "0", out)
        before = Path(out).read_bytes()
        assert write(-1, photos / "0", out, resume=True) == ([], [])
        asked = ("predict", NET, photos / "0", "--out", out)
        again = small(*asked, "--resume").done()  # whoever wrote it was told
        assert again.out == f"{out}  already complete, 12 rows, 1 of them with a problem\n"
        small(*asked).refused(f"{out} exists; --force replaces it")
        small(*asked, "--resume", "--top", 2).refused("top was 3, and is 2 now", "--force replaces")
        small("predict", NET, photos, *asked[3:], "--resume").refused(f"{out} is of other images")
        assert Path(out).read_bytes() == before
        Path(out).write_bytes(before + b"\n")
        small(*asked, "--resume").refused("this zoo does not know that it wrote it as it is")
    fine = ("predict", NET, photos / "0/00.jpg", "--out", "one.csv", "--resume")
    small(*fine).done()
    Path("one.csv.partial").write_text(json.dumps({}) + "\n")
    small(*fine).refused("one.csv.partial was begun in another way")
    Path("one.csv.partial").unlink()
    assert small(*fine, "--json").done().json["already"] is True
    assert not Path("one.csv.partial").exists()
    with zoo.open(Path(), progress=False) as z:
        pixels = np.zeros((8, 8, 3), dtype=np.uint8)
        z.write_predictions(NET, pixels, "memory.csv", resume=True)
        with pytest.raises(Conflict, match="images in memory may be others"):
            z.write_predictions(NET, pixels, "memory.csv", resume=True)


@pytest.mark.long
def test_it_does_not_go_on_with_something_else(small: Run, photos: Path, few: Path) -> None:
    write(3, photos, "p.csv")
    before = Path("p.csv.partial").read_bytes()
    asked = ("predict", NET, photos, "--out", "p.csv", "--resume")
    small(*asked, "--top", 2).refused("top was 3, and is 2 now")
    small(*asked, "--max-pixels", 99).refused("max-pixels was None, and is 99 now")
    small("predict", NET, few, *asked[3:]).refused("number 1 was ", "0/00.jpg, and is ", "1/0001")
    small("predict", NET, photos / "0/00.jpg", *asked[3:]).refused("number 2 was", "is none now")
    small("edit", NET, "--mean", "0.4,0.4,0.4").done()
    small(*asked).refused("checkpoint was blake3:", "is blake3:")
    assert Path("p.csv.partial").read_bytes().startswith(before[:500])
    small(*asked[:-1], "--force").refused("p.csv: 2 of 24 images")


def test_labels_that_are_decided(small: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "task_of", lambda _: "multi-label")
    monkeypatch.setattr(predict, "task_of", lambda _: "multi-label")
    outputs = len(
        small("predict", NET, photos / "0/00.jpg", "--top", 99, "--json").json[0]["classes"]
    )
    small("predict", NET, photos / "0", "--top", outputs, "--out", "p.csv")
    for row in table(Path("p.csv")):
        if row["problem"]:
            assert row["labels"] == ""
            continue
        each = range(1, outputs + 1)
        said = {row[f"class_{at}"] for at in each if float(row[f"probability_{at}"]) > 0.5}
        assert {*filter(None, row["labels"].split("|"))} == said


def test_parquet_goes_on_too(small: Run, photos: Path) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    write(3, photos, "p.parquet", top=1)
    write(-1, photos, "p.parquet", top=1, resume=True)
    write(-1, photos, "p.csv", top=1)
    found = parquet.read_table("p.parquet")
    assert [str(kind) for kind in found.schema.types] == ["string", "string", "double", "string"]
    for one, other in zip(found.to_pylist(), table(Path("p.csv")), strict=True):
        assert one["path"] == other["path"].replace("\udcff", "\\udcff")
        assert (one["problem"] or "") == other["problem"]
        assert one["probability_1"] == (float(other["probability_1"] or "nan") or None) or (
            one["probability_1"] is None and not other["probability_1"]
        )


def test_one_process_writes_a_table(small: Run, photos: Path) -> None:
    with open_rows(Path("p.csv"), {}, resume=False, force=False):
        for option in ("--force", "--resume"):
            said = small("predict", NET, photos, "--out", "p.csv", option)
            said.refused("another process is writing p.csv.partial")


def test_what_is_of_tables_needs_one(small: Run, photos: Path) -> None:
    assert (
        "--force replaces a file: it goes with --out or"
        in small("predict", NET, photos, "--force").err
    )
    for option in ("--resume", ("--workers", 1), ("--batch-size", 32), ("--on", "ray"), "--quiet"):
        words = option if isinstance(option, tuple) else (option,)
        said = small("predict", NET, photos, *words)
        assert said.code == 2
        assert f"{words[0]} is for a table: it goes with --out." in said.err
    small("predict", NET, photos, "--out", "p.csv", "--device", "cpu,mps").refused("mps")
    small("predict", NET, "no", "nope", "--out", "p.csv").refused("no: no such file")
    assert not Path("p.csv").exists()


@pytest.mark.long
def test_views_of_images_are_averaged(small: Run, photos: Path) -> None:
    alone = small("predict", NET, photos / "0", "--tta", 4, "--json").json
    small("predict", NET, photos / "0", "--tta", 4, "--out", "p.csv").refused("1 of 12")
    fine = [row for row in table(Path("p.csv")) if not row["problem"]]
    for row, one in zip(fine, alone, strict=True):
        assert row["class_1"] == one["classes"][0]
        assert float(row["probability_1"]) == pytest.approx(one["probabilities"][0], abs=1e-5)
    write(3, photos, "q.csv", tta="flip")
    small("predict", NET, photos, "--out", "q.csv", "--resume").refused("views was 2, and is 1 now")
    small("predict", NET, photos, "--out", "q.csv", "--tta", 99).refused("tta must be flip")


def test_images_in_memory_and_of_no_known_number(small: Run, photos: Path) -> None:
    pixels = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    with zoo.open(Path(), progress=False) as z:
        few = (each for each in (pixels, Image.fromarray(pixels), np.zeros((2, 2))))
        written = z.write_predictions(NET, few, "p.csv", top=1, workers=1)
        assert (written.images, written.unreadable) == (3, 1)
        assert z.write_predictions(NET, [], "none.csv").images == 0
    first, second, third = table(Path("p.csv"))
    assert {**first, "path": ""} == {**second, "path": ""}
    assert (third["path"], third["class_1"]) == ("image 2", "")
    assert third["problem"].startswith("holds floats, and nothing says")
    assert Path("none.csv").read_text().startswith("path,class_1,")


def test_devices_share_the_images(small: Run, photos: Path) -> None:
    write(-1, photos, "one.csv")
    write(-1, photos, "two.csv", device="cpu,cpu")
    for one, other in zip(table(Path("one.csv")), table(Path("two.csv")), strict=True):
        assert {**one, **rounded(one)} == {**other, **rounded(other)}


UNGUARDED = """
import sys, zoo
from zoo.backbones import reading_processes
reading_processes.STARTED = {"cpu": sys.argv[3]}
with zoo.open(progress=False) as z:
    written = z.write_predictions("team/net", sys.argv[1], sys.argv[2], workers=2, batch_size=4)
    print(written.images)
"""


@pytest.mark.long
def test_beside_a_card_processes_that_decode_are_no_copies(small: Run, photos: Path) -> None:
    """They decode the same, and do not run the script again, which has no guard."""
    Path("script.py").write_text(UNGUARDED)
    for out, started in (("one.csv", "fork"), ("two.csv", "forkserver")):
        command = [sys.executable, "script.py", str(photos), out, started]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.stdout == "24\n", done.stderr
        assert done.stderr == "the names of the classes are unknown: each is called by its index\n"
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()


def rounded(row: dict[str, str]) -> dict[str, str]:
    """Numbers without what another number of threads changes."""
    numbers = (name for name in row if name.startswith("probability") and row[name])
    return {name: f"{float(row[name]):.4f}" for name in numbers}


@pytest.mark.long
def test_a_killed_process_loses_nothing(small: Run, tmp_path: Path, photos: Path) -> None:
    """With workers, which go with it; the table is the same to the byte."""
    data = tmp_path / "many"
    data.mkdir()
    for copy in range(60):
        for path in sorted(photos.rglob("*.*")):
            os.link(path, data / f"{copy:03} {path.parent.name} {path.name}")
    asked = ("predict", NET, str(data), "--batch-size", "8", "--workers", "2", "--device")
    small(*asked, "cpu", "--out", "whole.csv").refused("120 of 1440 images")
    program = [sys.executable, "-m", "zoo_cli", *asked, "cpu", "--out", "p.csv"]
    partial = Path("p.csv.partial")
    for times in range(1, 3):
        with subprocess.Popen([*program, "--resume"], stderr=subprocess.DEVNULL) as killed:
            while not partial.exists() or partial.read_bytes().count(b"\n") < 300 * times:
                assert killed.poll() is None
                time.sleep(0.01)
            small(*asked, "cpu", "--out", "p.csv", "--resume").refused("another process is writing")
            killed.send_signal(signal.SIGKILL)
    assert not Path("p.csv").exists()
    small(*asked, "cpu", "--out", "p.csv", "--resume").refused("120 of 1440 images")
    assert Path("p.csv").read_bytes() == Path("whole.csv").read_bytes()
    small(*asked, "cpu,cpu", "--out", "two.csv").refused("120 of 1440 images")
    one, two = table(Path("whole.csv")), table(Path("two.csv"))
    assert [(row["path"], row["class_1"]) for row in one] == [
        (row["path"], row["class_1"]) for row in two
    ]


MEMORY = """
import resource, sys, zoo
with zoo.open(sys.argv[1], progress=False) as z:
    z.write_predictions("team/net", sys.argv[2], sys.argv[3], workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
@pytest.mark.parametrize("out", ["p.csv", "p.parquet"])
def test_memory_does_not_grow_with_images(small: Run, tmp_path: Path, out: str) -> None:
    """Of files that are no images: no time goes into the network."""
    if out.endswith("parquet"):
        pytest.importorskip("pyarrow")
    most = []
    for count in (12_000, 60_000):
        data = tmp_path / str(count)
        for at in range(count):
            if at % 1000 == 0:
                (data / f"{at:06}").mkdir(parents=True)
            (data / f"{at - at % 1000:06}" / f"{at:06}.png").touch()
        program = (sys.executable, "-c", MEMORY, Path(), data, f"{count} {out}")
        most.append(int(subprocess.run(program, check=True, capture_output=True).stdout))
        assert Path(f"{count} {out}").stat().st_size > 5 * count
    assert most[1] - most[0] < 20_000, "kB"
