from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zoo.domain.catalog import CatalogEntry
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Backbone, Head, Manifest, Parent, Preprocessing, Tensor, WeightsFile
from zoo.domain.reference import Reference
from zoo.registry import Registry

LITE, RESNET, VIT = "timm/lite0.in1k", "timm/resnet50.a1_in1k", "timm/vit_base.augreg"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's file with nothing in it but the tables, which take a while to make."""
    path = tmp_path_factory.mktemp("blank") / "registry.db"
    Registry.open(path).close()
    return path


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The engine that the test's registry is in; ``only_sqlite`` leaves the other out."""
    return str(request.param)


@pytest.fixture
def where(kind: str, request: pytest.FixtureRequest) -> Path | str:
    """A place for a registry: a file, or a database on a server."""
    if kind == "sqlite":
        path: Path = request.getfixturevalue("path")
        shutil.copy(request.getfixturevalue("blank"), path)
        return path
    return str(request.getfixturevalue("database"))


@pytest.fixture
def fresh(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Path | str:
    """A place where no registry is yet."""
    return _empty(kind, tmp_path / "fresh.db", request)


@pytest.fixture
def another(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Path | str:
    """A second such place."""
    return _empty(kind, tmp_path / "another.db", request)


@pytest.fixture
def registry(where: Path | str) -> Iterator[Registry]:
    with Registry.open(where) as registry:
        yield registry


@pytest.fixture(scope="module")
def standing(
    kind: str, blank: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Registry]:
    """A registry of all tests of a file, which fills it once and then only looks at it."""
    path = tmp_path_factory.mktemp("standing") / "standing.db"
    if kind == "sqlite":
        shutil.copy(blank, path)
    with Registry.open(_empty(kind, path, request)) as registry:
        yield registry


@pytest.fixture(scope="session")
def digest() -> Callable[[int], Digest]:
    return _digest


@pytest.fixture
def steps() -> Callable[[Registry, Callable[[], object]], int]:
    return _steps


@pytest.fixture(scope="session")
def make_entry() -> Callable[..., CatalogEntry]:
    return _entry


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., Manifest]:
    return _manifest


@pytest.fixture(scope="session")
def move() -> Callable[..., RefEntry]:
    def move(manifest: int, number: int = 1) -> RefEntry:
        at = "2025-01-01T00:00:00Z"
        digest = _digest(manifest)
        return RefEntry(number=number, manifest=digest, previous=None, at=at, by="me", why="test")

    return move


@pytest.fixture(scope="session")
def hierarchy() -> Hierarchy:
    unit = Unit(
        name="stem",
        stage="stem",
        depth=0,
        modules=("stem", "bn"),
        parameters=("stem.weight", "odd.running_mean"),
        buffers=("bn.table",),
        params=60,
        shape=(1, 4, 8, 8),
        cut=True,
    )
    head = HeadPart(
        modules=("fc",), parameters=("fc.weight",), buffers=(), params=40, shape=None, cut=False
    )
    return Hierarchy(architecture="resnet50", units=(unit,), head=head)


def _empty(kind: str, path: Path, request: pytest.FixtureRequest) -> Path | str:
    if kind == "sqlite":
        return path
    return str(request.getfixturevalue("postgres_server").database(path.stem))


def _steps(registry: Registry, call: Callable[[], object]) -> int:
    """How many hundreds of instructions the database takes for a call."""
    taken: list[None] = []
    with registry._engine.connect() as connection:
        database = connection.connection.driver_connection
    assert isinstance(database, sqlite3.Connection)
    database.set_progress_handler(lambda: taken.append(None), 100)
    call()
    database.set_progress_handler(None, 0)
    return len(taken)


def _digest(number: int) -> Digest:
    return Digest("blake3", f"{number:064x}")


def _entry(name: str, **known: Any) -> CatalogEntry:
    namespace, _, rest = name.partition("/")
    architecture, _, tag = rest.partition(".")
    fields = {"backbone": namespace, "architecture": architecture, "tag": tag or None, **known}
    return CatalogEntry(name=name, **fields)


def _manifest(
    architecture: str = "resnet50",
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...] = (("fc.weight", "F32", (2, 5)),),
    num_classes: int = 5,
    created: str = "2025-01-01T00:00:00Z",
    **known: Any,
) -> Manifest:
    listed = tuple(
        Tensor(name=name, dtype=dtype, shape=shape, object=_digest(1), offset=0, nbytes=0)
        for name, dtype, shape in tensors
    )
    weights = WeightsFile(
        name="model.safetensors", size=64, sha256=_digest(2), header=_digest(3), tensors=listed
    )
    pre = Preprocessing(
        input_size=(3, 32, 48),
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        interpolation="bilinear",
        crop_pct=0.9,
        crop_mode="squash",
    )
    fields: dict[str, Any] = {
        "backbone": Backbone(plugin="timm", architecture=architecture),
        "head": Head(kind="linear", num_classes=num_classes),
        "preprocessing": pre,
        "weights": (weights,),
        "created": created,
        **known,
    }
    return Manifest(**fields)


@pytest.fixture(scope="session")
def fill(
    make_entry: Callable[..., CatalogEntry],
    make_manifest: Callable[..., Manifest],
    move: Callable[..., RefEntry],
    digest: Callable[[int], Digest],
    hierarchy: Hierarchy,
) -> Callable[[Registry], Registry]:
    def fill(registry: Registry) -> Registry:
        """Three entries of timm (lite0 pulled, vit_base on the hub too) and two of a team."""
        vit = make_entry(VIT, num_classes=0)
        resnet = make_entry(RESNET, license="Apache-2.0", hub_id="org/repo", num_classes=1000)
        lite = make_entry(LITE, license="MIT", hub_id="org/lite")
        registry.replace_entries("timm", "1", [vit, resnet, lite], "now")
        registry.replace_entries("hub", "1", [vit], "now")
        registry.keep_hierarchy("timm", "1", hierarchy)
        parent = Parent(manifest=digest(1), relation="finetune", ref=LITE)
        pulled = make_manifest("lite0", num_classes=1000, created="2025-01-02")
        old = make_manifest("lite0", created="2025-01-01", license="CC0-1.0",
                            metrics={"accuracy": 0.5})  # fmt: skip
        classes = ("Gänseblümchen", "cat's ear")
        new = make_manifest("lite0", created="2025-01-03", classes=classes, parents=(parent,))
        for number, manifest, ref in (
            (1, pulled, LITE), (2, old, "team/old"), (3, new, "team/new:v2"),
        ):  # fmt: skip
            registry.add_checkpoint(digest(number), manifest)
            registry.set_ref(Reference.parse(ref), move(number))
        return registry

    return fill
