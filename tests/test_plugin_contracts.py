"""A plugin's class is held against its contract before use: what it lacks is told by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint
from fakes.plugin_code import BACKBONE, HEAD, SOURCE, Install
from fakes.program import zoo

from zoo import plugins
from zoo.errors import BrokenPlugin
from zoo.exchange.architecture import hierarchy_of
from zoo.workspace import Workspace


def test_attributes_of_the_contract_are_asked_for_too(install: Install) -> None:
    code = SOURCE.format(version="pass", entries="pass")
    install("acme_l", "zoo.sources", "old = acme_l:Plugin", code.replace("network = False", "pass"))
    with pytest.raises(BrokenPlugin, match=r"'old' of acme_l .* lacks network"):
        plugins.catalog("old")
    # An instance may have what its class has not.
    later = code.replace("network = False", "def __init__(self): self.network = True")
    install("acme_m", "zoo.sources", "new = acme_m:Plugin", later)
    assert plugins.catalog("new").network


def test_one_that_was_written_for_an_older_zoo_is_told_apart(install: Install) -> None:
    code = HEAD.replace("def metrics", "def figures")
    install("acme_g", "zoo.heads", "old = acme_g:Plugin", code)
    with pytest.raises(BrokenPlugin, match=r"'old' of acme_g .* lacks metrics\n"):
        plugins.head("old")


def test_one_that_is_called_with_what_it_does_not_take_is_blamed(
    install: Install, tmp_path: Path
) -> None:
    code = BACKBONE.format("return ['net']").replace("raise RuntimeError(architecture)", "pass")
    old = code.replace("architecture, module, *, input_size=None", "module")
    assert old != code
    install("acme_x", "zoo.backbones", "aaa = acme_x:Plugin", old)
    with pytest.raises(
        BrokenPlugin, match=r"'aaa' of acme_x fails: .*hierarchy\(\) takes 2 positional"
    ):
        hierarchy_of(Workspace.create(tmp_path / "zoo"), "aaa/net")


def test_a_remote_that_is_connected_with_what_it_does_not_take_is_blamed(
    install: Install, tmp_path: Path
) -> None:
    methods = ("stat", "open", "put", "create", "list", "delete", "now")
    code = "class Plugin:\n    def connect(location): pass\n"
    code += "".join(f"    def {name}(self): pass\n" for name in methods)
    install("acme_y", "zoo.remotes", "old = acme_y:Plugin", code)
    home = tmp_path / "zoo"
    Workspace.create(home).close()
    said = zoo("--home", home, "verify", "old://lab")
    said.refused("the remote 'old' of acme_y fails: ", "unexpected keyword argument 'create'")


def test_a_method_by_its_earlier_name_is_taken_with_a_warning(install: Install) -> None:
    code = BACKBONE.format("return ['net']").replace("def fit_weights", "def adapt")
    install(
        "acme_v",
        "zoo.backbones",
        "old = acme_v:Plugin",
        code.replace("state): pass", "state): return 7"),
    )
    with pytest.warns(DeprecationWarning, match="old: a backbone's method 'adapt'"):
        plugin = plugins.backbone("old")
    assert plugin.fit_weights(None, {}) == 7  # type: ignore[arg-type,comparison-overlap]


@pytest.mark.parametrize("method", ["list(self)", "stat(self)", "put(self, key)"])
def test_a_remote_that_is_asked_for_what_it_does_not_take_is_blamed(
    install: Install, tmp_path: Path, method: str
) -> None:
    code = "from zoo.testing.memory import MemoryBackend\n"
    code += f"class Plugin(MemoryBackend):\n    def {method}: pass\n"
    install("acme_w", "zoo.remotes", "odd = acme_w:Plugin", code)
    workspace = Workspace.create(tmp_path / "zoo")
    add_checkpoint(workspace, "team/net")
    workspace.close()
    said = zoo("--home", tmp_path / "zoo", "push", "team/net", "--to", "odd://lab")
    said.refused("the remote ", "acme_w", " fails: ", "positional argument")
