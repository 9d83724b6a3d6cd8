"""All that a source lists is traced once, whatever becomes of the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import warm
from fakes.spawned import warm_processes  # noqa: F401 - a fixture

from zoo import plugins
from zoo.domain.catalog import CatalogEntry
from zoo.domain.hierarchy import Hierarchy
from zoo.exchange import tracing as module
from zoo.exchange.architecture import hierarchy_of
from zoo.exchange.tracing import trace_all
from zoo.facade import Zoo
from zoo.registry import Query
from zoo.workspace import Workspace
from zoo_timm.backbone import TimmBackbone

TINY = ("test_resnet", "test_vit", "test_efficientnet")
UNGUARDED = """
from zoo.exchange.tracing import _traced
print(list(_traced([("timm", "test_vit"), ("timm", "test_resnet")])))
"""


pytestmark = pytest.mark.usefixtures("warm_processes")


@pytest.fixture
def listed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(TimmBackbone, "architectures", lambda _: TINY)
    entries = [
        CatalogEntry(name=f"timm/{name}.in1k", architecture=name, backbone="timm", tag="in1k")
        for name in (*TINY, "no_such_network")
    ]
    workspace.registry.replace_entries("timm", "1", entries, "2026-01-01T00:00:00Z")
    return workspace


def test_all_are_traced_and_what_cannot_be_is_told(listed: Workspace) -> None:
    done = trace_all(listed, "timm")
    assert done.traced == 3
    assert list(done.failed) == ["no_such_network"]
    rows = listed.registry.search(Query())
    assert {row.name: row.params is not None for row in rows} == {
        **{f"timm/{name}.in1k": True for name in TINY}, "timm/no_such_network.in1k": False,
    }  # fmt: skip


def test_architectures_without_weights_are_traced_too(
    listed: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimmBackbone, "architectures", lambda _: (*TINY, "test_convnext"))
    assert trace_all(listed, "timm").traced == 4
    monkeypatch.setattr("zoo.backbones.describe.traced", None)
    assert hierarchy_of(listed, "test_convnext").stages


def test_a_network_that_fails_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: dict[str, Hierarchy] = {}
    monkeypatch.setattr(module, "traced", lambda *_: nothing["gone"])
    assert module._trace("timm", "test_vit") == "KeyError: 'gone'"


@pytest.mark.long
def test_networks_that_end_their_process_are_rows_and_all_others_are_traced(
    workspace: Workspace,
) -> None:
    """Before, between and after them; more than one, so that a second pool breaks, too."""
    names = ("ConvNet", "FORMER", "killed", "make_encoder", "make_killed", "make_maps")
    entries = [
        CatalogEntry(name=f"own/{name}", architecture=f"fakes.own_nets:{name}", backbone="torch")
        for name in names
    ]
    workspace.registry.replace_entries("own", "1", entries, "2026-01-01T00:00:00Z")
    for name in names:
        Zoo(workspace).trust(f"fakes.own_nets:{name}")
    done = trace_all(workspace, "own")
    assert set(done.failed) == {"fakes.own_nets:killed", "fakes.own_nets:make_killed"}
    assert all("ended the process" in why for why in done.failed.values())
    assert done.traced == 4
    kept = workspace.registry.traced("torch", plugins.backbone_version("torch"))
    assert {name.partition(":")[2] for name in kept} == set(names) - {"killed", "make_killed"}


@pytest.mark.long
def test_processes_that_cannot_start_are_no_network_s_fault(
    tmp_path: Path,
) -> None:
    """As in a script without ``if __name__ == "__main__"``: told at once, not for each network."""
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = warm.run(script)
    assert done.returncode == 1
    assert "BrokenProcessPool" in done.stderr


def test_kept_is_what_tracing_here_gives(
    listed: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = hierarchy_of(Workspace.create(listed.root.parent / "other"), "test_vit")
    trace_all(listed, "timm")
    monkeypatch.setattr("zoo.backbones.describe.traced", None)
    assert hierarchy_of(listed, "test_vit") == fresh


def test_a_run_goes_on_where_it_was_cut_off(
    listed: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    whole = module._traced

    def cut(wanted: list[tuple[str, str]], root: Path | None) -> Iterator[object]:
        asked.extend(name for _, name in wanted)
        yield next(whole(wanted[1:2], root))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_traced", cut)
    with pytest.raises(KeyboardInterrupt):
        trace_all(listed, "timm")
    monkeypatch.setattr(module, "_traced", whole)
    first = len(asked)
    done = trace_all(listed, "timm")
    assert (first, done.traced + len(done.failed)) == (4, 3)
