from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint
from fakes.few import few_published  # noqa: F401 - a fixture
from fakes.traced import traced_once  # noqa: F401 - as above

import zoo as z

BASE = "timm/tf_efficientnet_lite0.in1k"


def answers(zoo: z.Zoo, unknown: Path) -> dict[str, Any]:
    """What a user may ask, without the times at which things were asked."""
    return {
        "search": [(row.name, row.kind, row.params, row.sources) for row in zoo.search(limit=9999)],
        "log": zoo.log(BASE).to_json(),
        "show": zoo.show("team/mine").to_json(),
        "diff": zoo.diff(BASE, "team/mine").to_json(),
        "identify": zoo.identify(unknown).to_json(),
        "list-arch": zoo.architectures("*lite*").to_json(),
    }


@pytest.mark.long
@pytest.mark.parametrize("loss", ["deleted", "none", "damaged"])
@pytest.mark.usefixtures("few_published")
def test_everything_answers_as_before(tmp_path: Path, loss: str) -> None:
    with z.init(tmp_path / "zoo") as zoo:
        zoo.pull(BASE)
        zoo.adapt(BASE, "team/mine", classes=3)
        zoo.tag("team/mine", "team/gone")
        zoo.delete("team/gone")
        zoo.export("team/mine", tmp_path / "out")
        unknown = tmp_path / "out" / "model.safetensors"
        before = answers(zoo, unknown)
        zoo.workspace.close()
        if loss == "deleted":
            (zoo.root / "registry.db").unlink()
        elif loss == "damaged":
            (zoo.root / "registry.db").write_bytes(b"no database at all" * 100)
        done = zoo.reindex().to_json()
        assert done == {"refs": 2, "checkpoints": 2, "replaced": loss != "none"}
        assert answers(zoo, unknown) == before
        assert before["diff"]["units_known"] is True


def test_names_whose_files_are_gone_are_forgotten(tmp_path: Path) -> None:
    with z.init(tmp_path / "zoo") as zoo:
        for name in ("team/a", "team/b"):
            add_checkpoint(zoo.workspace, name)
        shutil.rmtree(zoo.root / "refs" / "team" / "a")
        assert zoo.workspace.reindex().to_json()["refs"] == 1
        assert [row.name for row in zoo.search()] == ["team/b"]
