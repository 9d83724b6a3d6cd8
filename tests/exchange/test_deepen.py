"""All that a source lists is traced once, whatever becomes of the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zoo.domain.catalog import CatalogEntry
from zoo.exchange import deepen as module
from zoo.exchange.architecture import hierarchy_of
from zoo.exchange.deepen import deepen
from zoo.registry import Query
from zoo.workspace import Workspace
from zoo_timm.backbone import TimmBackbone

TINY = ("test_resnet", "test_vit", "test_efficientnet")


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
    traced, failed = deepen(listed, "timm")
    assert traced == 3
    assert list(failed) == ["no_such_network"]
    rows = listed.registry.search(Query())
    assert {row.name: row.params is not None for row in rows} == {
        **{f"timm/{name}.in1k": True for name in TINY}, "timm/no_such_network.in1k": False,
    }  # fmt: skip


def test_architectures_without_weights_are_traced_too(
    listed: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimmBackbone, "architectures", lambda _: (*TINY, "test_convnext"))
    assert deepen(listed, "timm")[0] == 4
    monkeypatch.setattr("zoo.backbones.describe.traced", None)
    assert hierarchy_of(listed, "test_convnext").stages


def test_a_network_that_fails_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "traced", lambda *_: {}["gone"])
    assert module._trace("timm", "test_vit") == "KeyError: 'gone'"


def test_kept_is_what_tracing_here_gives(
    listed: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = hierarchy_of(Workspace.create(listed.root.parent / "other"), "test_vit")
    deepen(listed, "timm")
    monkeypatch.setattr("zoo.backbones.describe.traced", None)
    assert hierarchy_of(listed, "test_vit") == fresh


def test_a_run_goes_on_where_it_was_cut_off(
    listed: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    whole = module._traced

    def cut(wanted: list[tuple[str, str]]) -> Iterator[object]:
        asked.extend(name for _, name in wanted)
        yield next(whole(wanted[1:2]))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_traced", cut)
    with pytest.raises(KeyboardInterrupt):
        deepen(listed, "timm")
    monkeypatch.setattr(module, "_traced", whole)
    first = len(asked)
    traced, failed = deepen(listed, "timm")
    assert (first, traced + len(failed)) == (4, 3)
