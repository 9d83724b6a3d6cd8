"""A prepared zoo, and two ways to run the program in it: in this process, and as a user does."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import warm
from fakes.checkpoints import add_checkpoint, tensors
from fakes.once import once
from fakes.pictures import blank_pictures  # noqa: F401 - a fixture of all tests here
from fakes.prepared import BASE, NET, PROBES, TUNED, copy_zoo
from fakes.program import Said, zoo
from fakes.traced import traced_once  # noqa: F401 - as above
from fakes.unusable import write_unusable
from PIL import Image
from sklearn.datasets import load_digits

from zoo.domain.manifest import Parent
from zoo.workspace import Workspace

PER_CLASS = 20


@dataclass(frozen=True)
class Prepared:
    """The zoo that tests copy, and what the commands that made it printed."""

    root: Path
    finetune: dict[str, Any]
    index: dict[str, Any]
    pull: dict[str, Any]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 scanned digits in class folders."""
    root = tmp_path_factory.mktemp("data") / "digits"
    data = load_digits()
    seen: Counter[int] = Counter()
    for number, (pixels, label) in enumerate(zip(data.images, data.target, strict=True)):
        seen[label] += 1
        if seen[label] > PER_CLASS:
            continue
        folder = root / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        scan = (pixels * (255 / 16)).round().astype("uint8")
        Image.fromarray(scan).save(folder / f"{number:04d}.png")
    return root


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """Twelve digits each of three kinds, for fine-tunes whose result does not matter."""
    root = tmp_path_factory.mktemp("few") / "digits"
    for kind in "123":
        (root / kind).mkdir(parents=True)
        for path in sorted((digits / kind).iterdir())[:12]:
            shutil.copy(path, root / kind)
    return root


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Prepared:
    """A zoo with timm's catalog, ImageNet weights from a package, and a quick fine-tune."""
    folder = once(tmp_path_factory, "prepared", partial(prepare, digits))
    index, pull, finetune = json.loads((folder / "printed.json").read_text())
    return Prepared(folder / "zoo", index=index, pull=pull, finetune=finetune)


def prepare(digits: Path, folder: Path) -> None:
    root = folder / "zoo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("HF_HOME", str(folder / "hf"))
        patch.setenv("ZOO_AUTHOR", "tester")
        patch.delenv("ZOO_HOME", raising=False)
        done = [
            zoo("--home", root, *command, "--json")
            for command in (
                ("init",),
                ("index", "timm"),
                ("pull", BASE),
                ("finetune", BASE, "--data", digits, "--save", TUNED, "--freeze", "blocks.4",
                 "--batch-norm", "live",  # which does not keep the probe
                 "--image-size", 32, "--epochs", 1, "--quiet"),
            )
        ]  # fmt: skip
    assert [(ran.code, ran.err) for ran in done] == [(0, "")] * 4
    (folder / "printed.json").write_text(json.dumps([ran.json for ran in done[1:]]))


@pytest.fixture
def home(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the prepared zoo, for this test alone; the current folder."""
    root = copy_zoo(prepared.root, tmp_path / "zoo")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def run(home: Path) -> Callable[..., Said]:
    """``run("search", "--json")``: the program in this process, in a copy of the prepared zoo."""
    return zoo


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """As ``run``, in an empty folder that is no zoo."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return zoo


@pytest.fixture
def empty(bare: Callable[..., Said]) -> Callable[..., Said]:
    """As ``run``, in an empty zoo."""
    assert bare("init").code == 0
    return bare


@pytest.fixture(scope="session")
def small_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `small` copies."""
    from fakes.hub_zoo import make_zoo  # timm, which most tests here do without

    return make_zoo(tmp_path_factory.mktemp("small") / "zoo")


@pytest.fixture
def small(
    small_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare: Callable[..., Said]
) -> Callable[..., Said]:
    """As ``run``, in a zoo that has nothing but the small network ``team/net``."""
    monkeypatch.chdir(shutil.copytree(small_zoo, tmp_path / "small"))  # no links: tests damage it
    return bare


@pytest.fixture(scope="session")
def probed(tmp_path_factory: pytest.TempPathFactory, small_zoo: Path, few: Path) -> Path:
    """A zoo with two probes of three kinds of digits, tested on other images each."""
    root = Path(shutil.copytree(small_zoo, tmp_path_factory.mktemp("probed") / "zoo"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_AUTHOR", "tester")  # as in tests: their ``last`` is a run of their own
        for seed, name in enumerate(PROBES):
            tune = ("finetune", NET, "--data", few, "--strategy", "probe", "--image-size", 32)
            zoo("--home", root, *tune, "--seed", seed, "--save", name).done()
    return root


@pytest.fixture
def other(tmp_path: Path, digits: Path) -> Path:
    """Digits that nothing was trained on: one kind more, and one that no image shows."""
    for folder, kind in (("1", "1"), ("2", "2"), ("odd_one", "7")):
        (tmp_path / "other" / folder).mkdir(parents=True)
        for path in sorted((digits / kind).iterdir())[12:]:
            shutil.copy(path, tmp_path / "other" / folder)
    return tmp_path / "other"


@pytest.fixture(scope="session")
def toy_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `toy` copies."""
    values = tensors()
    root = tmp_path_factory.mktemp("toy") / "zoo"
    with closing(Workspace.create(root)) as workspace:
        base = add_checkpoint(workspace, "team/base", values)
        conv = "layer1.0.conv.weight"
        values[conv] = values[conv] * values[conv].dtype.type(1.0001)
        parent = Parent(manifest=base, relation="finetune", ref="team/base")
        add_checkpoint(workspace, TUNED, values, parents=(parent,))
    return root


@pytest.fixture
def toy(toy_zoo: Path, bare: Callable[..., Said]) -> Callable[..., Said]:
    """As ``run``, in a zoo with ``team/digits``, a fine-tune of ``team/base``; each is of a few
    tensors, and of no network.
    """
    shutil.copytree(toy_zoo, Path.cwd(), dirs_exist_ok=True)  # no links: tests damage it
    return bare


@pytest.fixture
def console() -> Callable[..., Said]:
    """The program in a process of its own, its output in pipes."""

    def run_program(*arguments: object, **options: Any) -> Said:
        done = warm.run("-m", "zoo_cli", *arguments, **options)
        return Said(done.returncode, done.stdout, done.stderr)

    return run_program


@pytest.fixture
def contents() -> Callable[[Path], dict[str, int]]:
    """Files of a folder with their sizes, without the registry, whose journal comes and goes, and
    without the cache, which can be lost.
    """

    def read(folder: Path) -> dict[str, int]:
        found: dict[str, int] = {}
        # Not `Path.rglob`, which takes six times as long: tests look at some hundred files, twice.
        for inside, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name != "cache"]
            for name in names:
                if name != "cache" and not name.startswith("registry.db"):
                    path = f"{inside}/{name}"
                    found[path.removeprefix(f"{folder}/")] = os.stat(path).st_size  # noqa: PTH116
        return found

    return read


@pytest.fixture
def files(home: Path) -> Path:
    """A folder of files that are not what a command wants."""
    folder = home.parent / "files"
    write_unusable(folder)
    return folder


@pytest.fixture
def fails(
    run: Callable[..., Said], home: Path, contents: Callable[[Path], dict[str, int]]
) -> Callable[..., str]:
    """Run a command line that must fail, say all of ``says``, print no data, and leave no trace."""

    def check(*arguments: object, says: tuple[str, ...], code: int = 1) -> str:
        before = contents(home.parent)
        done = run(*arguments)
        assert (done.code, done.out) == (code, ""), done
        text = done.err
        for part in says:
            assert part in text
        assert text.startswith("error: " if code == 1 else "Usage: ")
        assert "Traceback" not in text
        assert "Warning" not in text
        assert all(char.isprintable() or char == "\n" for char in text)
        assert contents(home.parent) == before
        return text

    return check


@pytest.fixture(scope="session")
def made_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `at_runs` copies."""
    from fakes.import_runs import make_runs  # timm, as above

    root = tmp_path_factory.mktemp("made") / "runs"
    make_runs(root)
    return root


@pytest.fixture
def at_runs(empty: Callable[..., Said], made_runs: Path) -> Callable[..., Said]:
    """As ``empty``, with a folder ``runs`` of what training scripts wrote."""
    shutil.copytree(made_runs, "runs", symlinks=True)
    return empty


@pytest.fixture(scope="session")
def state() -> dict[str, Any]:
    """Weights of a small network with 3 outputs."""
    from fakes.import_files import small_state

    return small_state()


@pytest.fixture
def imported(empty: Callable[..., Said]) -> Callable[..., dict[str, Any]]:
    """Save what is given as a file, import it, and answer with the JSON of the result."""
    import torch
    from fakes.import_files import AS

    def run(saved: object, *options: object) -> dict[str, Any]:
        torch.save(saved, "net.ckpt")
        told: dict[str, Any] = empty("import", "net.ckpt", *AS, *options, "--json").done().json
        return told

    return run
