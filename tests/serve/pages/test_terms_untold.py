"""The license of an ancestor that somebody may not read is not told, nor what it limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.served import Served, serving

from zoo.domain.manifest import Parent
from zoo.workspace import Workspace


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``team/net`` is said to be free, and was made from ``secret/base``, which is not."""
    root: Path = tmp_path_factory.mktemp("terms") / "zoo"
    with closing(Workspace.create(root)) as workspace:
        base = add_checkpoint(workspace, "secret/base", license="cc-by-nc-4.0")
        parent = Parent(manifest=base, relation="finetune", ref="secret/base")
        add_checkpoint(workspace, "team/net", tensors(1), license="mit", parents=(parent,))
    with serving(root) as served:
        served.accounts.set_level("secret", level="private")
        yield served


@pytest.mark.parametrize(("who", "may"), [("ann", False), ("admin", True)])
def test_terms_of_what_may_not_be_read(served: Served, who: str, may: bool) -> None:
    got = served.ask("/team/net/index.json", token=served.token(who))
    found = got.json["checkpoint"]["licensed"]
    (above,) = found["above"]
    assert above["license"] == ("cc-by-nc-4.0" if may else None)
    assert bool(found["limits"]) is bool(found["warning"]) is may
    assert (b"secret" in got.body) is may
    assert (b"non-commercial" in got.body) is may
