"""Plugins are found by entry point; one that is broken breaks nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zoo import plugins
from zoo.errors import BrokenPlugin, MissingPackage, UnknownName
from zoo.exchange.architecture import hierarchy_of
from zoo.exchange.indexing import index_local
from zoo.workspace import Workspace

Install = Callable[..., None]
HEAD = "class Plugin:\n    build = loss = metrics = None\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lay a distribution on the path as pip would: metadata, entry points, one module."""
    monkeypatch.syspath_prepend(tmp_path)
    plugins.load.cache_clear()

    def add(project: str, group: str, point: str, code: str = HEAD) -> None:
        folder = tmp_path / f"{project}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{group}]\n{point}\n")
        (tmp_path / f"{project}.py").write_text(code)

    yield add
    plugins.load.cache_clear()


def test_a_third_partys_plugin_is_found_and_imported_on_use(install: Install) -> None:
    code = HEAD + "    word = 'hello'\n\nopen(__file__ + '.imported', 'w').close()"
    install("acme_a", "zoo.heads", "acme = acme_a:Plugin", code)
    assert "acme" in plugins.names("zoo.heads")
    import importlib.util

    spec = importlib.util.find_spec("acme_a")
    assert spec is not None
    mark = Path(f"{spec.origin}.imported")
    assert not mark.exists()
    assert plugins.head("acme").word == "hello"  # type: ignore[attr-defined]
    assert mark.exists()


def test_two_that_claim_one_name_are_refused_by_name(install: Install) -> None:
    install("acme_b", "zoo.heads", "twice = acme_b:Plugin")
    install("acme_c", "zoo.heads", "twice = acme_c:Plugin")
    with pytest.raises(BrokenPlugin, match=r"'twice'.*acme_b.*acme_c"):
        plugins.head("twice")
    assert plugins.head("linear")


def test_one_that_fails_on_import_is_reported_as_such(install: Install) -> None:
    install("acme_d", "zoo.heads", "bad = acme_d:Plugin", "raise RuntimeError('no licence')")
    with pytest.raises(BrokenPlugin, match=r"'bad' of acme_d fails: no licence"):
        plugins.head("bad")


@pytest.mark.parametrize(
    ("extras", "command"),
    [("", "pip install not_there"), (" [gpu]", "pip install 'acme_e[gpu]'")],
)
def test_a_missing_package_comes_with_the_command_that_helps(
    install: Install, extras: str, command: str
) -> None:
    install("acme_e", "zoo.heads", f"needy = acme_e:Plugin{extras}", "import not_there")
    with pytest.raises(MissingPackage, match="not_there") as caught:
        plugins.head("needy")
    assert caught.value.install == command


def test_an_unknown_name_is_met_with_near_ones() -> None:
    with pytest.raises(UnknownName) as caught:
        plugins.head("liner")
    assert caught.value.near[0] == "linear"


@pytest.mark.parametrize("code", ["raise RuntimeError", "import not_there"])
def test_what_cannot_be_used_keeps_nobody_from_the_others(
    install: Install, tmp_path: Path, code: str
) -> None:
    """Named so that it is asked first."""
    install("acme_f", "zoo.sources", "aaa = acme_f:Plugin", code)
    install("acme_g", "zoo.backbones", "aaa = acme_g:Plugin", code)
    workspace = Workspace.create(tmp_path / "zoo")
    index_local(workspace)
    assert workspace.registry.entry("timm/tf_efficientnet_lite0.in1k")
    assert hierarchy_of(workspace, "test_resnet").units
    workspace.close()


def test_one_that_was_written_for_an_older_zoo_is_told_apart(install: Install) -> None:
    install(
        "acme_g", "zoo.heads", "old = acme_g:Plugin", "class Plugin:\n    build = loss = None\n"
    )
    with pytest.raises(BrokenPlugin, match=r"'old' of acme_g .* lacks metrics"):
        plugins.head("old")


def test_all_are_listed_with_origin_and_what_is_wrong(install: Install) -> None:
    install("acme_h", "zoo.heads", "bad = acme_h:Plugin", "raise RuntimeError('no licence')")
    install("acme_i", "zoo.heads", "linear = acme_i:Plugin")
    install("acme_j", "zoo.remotes", "far = acme_j:Plugin", "import not_there")
    found = {(plugin.group, plugin.name): plugin for plugin in plugins.installed()}
    assert found["zoo.heads", "mlp"].problem is None
    assert found["zoo.heads", "mlp"].origin.startswith("zoo-registry ")
    assert "no licence" in (found["zoo.heads", "bad"].problem or "")
    assert "two plugins claim" in (found["zoo.heads", "linear"].problem or "")
    assert "acme_i 1.0, zoo-registry" in found["zoo.heads", "linear"].origin
    assert "pip install not_there" in (found["zoo.remotes", "far"].problem or "")
    usable = {key for key, plugin in found.items() if plugin.problem is None}
    backbones = {("zoo.backbones", name) for name in ("timm", "torch", "transformers")}
    assert backbones | {("zoo.sources", "hub"), ("zoo.remotes", "folder")} <= usable
