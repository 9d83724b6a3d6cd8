"""A plugin's class is held against its contract before use: what it lacks is told by name."""

from __future__ import annotations

import pytest
from fakes.plugin_code import BACKBONE, FAILS, HEAD, REMOTE, SOURCE, Install

from zoo import plugins
from zoo.errors import BrokenPlugin


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
    with pytest.raises(BrokenPlugin, match=r"'old' of acme_g .* lacks metrics$"):
        plugins.head("old")


@pytest.mark.parametrize(
    ("group", "code", "ours", "theirs", "problem"),
    [
        (
            "zoo.backbones",
            BACKBONE.format("pass"),
            "build(self, architecture, **how)",
            "build(self, architecture, num_classes=1000)",
            "it has build(architecture, num_classes=1000) for build(architecture, *, tag=None, "
            "num_classes=None, image_size=None, channels=None)",
        ),
        (
            "zoo.backbones",
            BACKBONE.format("pass"),
            "hierarchy(self, architecture, module, *, input_size=None)",
            "hierarchy(self, module: object) -> list",
            "it has hierarchy(module) for hierarchy(architecture, module, *, input_size=None)",
        ),
        (
            "zoo.heads",
            HEAD,
            "loss(self, task='classification')",
            "loss(self, task)",  # which the contract lets out
            "it has loss(task) for loss(task='classification')",
        ),
        ("zoo.heads", HEAD, "def loss(self, task='classification'): pass", "loss = None",
         "its loss is no method"),
        (
            "zoo.sources",
            SOURCE.format(version="pass", entries="pass")
            + "    def resolve(self, locator): pass\n"
            + "    def open(self, release, path, offset=0): pass\n",
            "open(self, release, path, offset=0)",
            "open(self, release, path)",
            "it has open(release, path) for open(release, path, offset=0)",
        ),
    ],
    ids=["build", "hierarchy", "required", "none", "optional"],
)  # fmt: skip
def test_methods_that_take_other_things_are_those_of_another_zoo(
    install: Install, group: str, code: str, ours: str, theirs: str, problem: str
) -> None:
    assert ours in code
    install("acme_x", group, "new = acme_x:Plugin", code)
    install("acme_y", group, "old = acme_y:Plugin", code.replace(ours, theirs))
    install("acme_z", group, "odd = acme_z:Plugin", code.replace(ours, theirs) + FAILS)
    found = {plugin.name: plugin.problem for plugin in plugins.installed()}
    kind = group.removeprefix("zoo.").removesuffix("s")
    assert found["old"] == f"the {kind} 'old' of acme_y was written for another zoo: {problem}"
    assert problem in (found["odd"] or "")  # before it is made
    assert "another zoo" not in (found["new"] or "")


def test_a_remote_is_called_as_the_contract_says(install: Install) -> None:
    """On the class, and on what that connects to."""
    code = REMOTE.format(connect="connect(cls, location, *, create)")
    install("acme_aa", "zoo.remotes", "new = acme_aa:Plugin", code)
    code = REMOTE.format(connect="connect(cls, location)")
    install("acme_ab", "zoo.remotes", "old = acme_ab:Plugin", code)
    assert plugins.remote("new")
    with pytest.raises(BrokenPlugin, match=r"has connect\(location\) for connect\(.*create\)$"):
        plugins.remote("old")


@pytest.mark.parametrize(
    "method",
    [
        "def loss(self, *args): pass",
        "def loss(self, kind='classification', weights=None, *, smooth=0): pass",
        "def loss(*args, **more): pass",
        "@staticmethod\n    def loss(task=''): pass",
        "@classmethod\n    def loss(cls, task=''): pass",
        "from functools import cache\n    @cache\n    def loss(self, task=''): pass",
        "from functools import partial\n    loss = partial(print, end='')",
        "loss = dict",  # in C: it does not tell what it takes
    ],
)
def test_methods_that_take_more_are_fine(install: Install, method: str) -> None:
    code = HEAD.replace("def loss(self, task='classification'): pass", method)
    install("acme_ac", "zoo.heads", "acme = acme_ac:Plugin", code)
    assert code != HEAD
    assert plugins.head("acme")
