"""Adapters through a server: sent as what they are, and pulled whole."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch
from fakes.adapters import adapted
from fakes.served import serving
from fakes.tuned import small_zoo

import zoo
from zoo.domain.reference import Reference
from zoo.logins import ServerUrl, keep_token
from zoo.serve.keep.view import checkpoint_view
from zoo.transfer.sync import push
from zoo.workspace import Workspace


@pytest.mark.long
def test_an_adapter_is_sent_as_what_it_is(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "team").close()
    with closing(small_zoo(tmp_path, "test_vit")) as mine, serving(tmp_path / "team") as served:
        base = mine.workspace.names.resolve("team/base")[1]
        mine.workspace.move(Reference.parse("ann/base"), base, "tag")
        adapted(mine.workspace, "ann/base", "ann/lora", under="blocks", rank=2)
        keep_token(ServerUrl.parse(served.url), served.token("ann", "write"))
        assert mine.push("ann/base", served.url).only_zoo == ""
        _, sent = push(mine.workspace, "ann/lora", served.url)
        manifest = mine.workspace.store.manifest(sent.manifest)
        shown = checkpoint_view(mine.workspace.store, sent.manifest, manifest, {}).file("README.md")
        assert shown
        assert "**Only zoo loads this checkpoint**" in str(shown.text).split("\n\n")[2]
        own = manifest.weights[1].size + 4 * 65 * 1000  # and a head of its own
        assert sent.sent_bytes < own + 20_000
        assert "an adapter beside its base" in mine.push("ann/lora", served.url).only_zoo
        assert mine.push("ann/lora", str(tmp_path / "folder")).only_zoo == ""
        with closing(zoo.Zoo.init(tmp_path / "other")) as other, torch.no_grad():
            other.pull("ann/lora", remote=served.url)
            images = torch.rand(2, 3, 160, 160)
            assert torch.equal(other.load("ann/lora")(images), mine.load("ann/lora")(images))
