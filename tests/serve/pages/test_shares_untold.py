"""That somebody else has the same bytes is told of what may be read, and of nothing else."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from fakes.checkpoints import add_checkpoint, tensors
from fakes.served import serving

from zoo.workspace import Workspace


def test_who_shares_is_told_by_who_may_read_it(tmp_path: Path) -> None:
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        add_checkpoint(workspace, "team/net")
        add_checkpoint(workspace, "team/twin", license="mit")
        hidden = add_checkpoint(workspace, "secret/twin", tensors(), license="apache-2.0")
    with serving(tmp_path / "zoo") as served:
        served.accounts.set_level("secret", level="private")
        for name, seen in (("ann", {"team/twin"}), ("admin", {"team/twin", "secret/twin"})):
            token = served.token(name)
            for path in ("index", "layers"):
                got = served.ask(f"/team/net/{path}.json", token=token)
                shares = (got.json.get("checkpoint") or got.json)["shares"]
                assert {share["other"]["name"] for share in shares} == seen
                assert (hidden.hex.encode() in got.body) is (name == "admin")
