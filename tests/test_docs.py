"""What the documents say is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, tensors

import zoo
from zoo import plugins
from zoo.domain import limits
from zoo.domain.manifest import Parent
from zoo_cli.limits import page
from zoo_cli.reference import reference

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_command_line_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "run: make docs"


def test_the_page_of_limits_is_up_to_date() -> None:
    text = (ROOT / "docs" / "limits.md").read_text()
    assert text == page(), "run: python -m zoo_cli.limits > docs/limits.md"
    for name in limits.__all__:
        assert f"| `{name}` | " in text


@pytest.mark.parametrize("group", ["backbones", "sources", "heads", "remotes"])
def test_every_built_in_plugin_is_listed(group: str) -> None:
    page = (ROOT / "docs" / "plugins.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| `zoo.{group}`"))
    assert set(plugins.names(f"zoo.{group}")) <= set(re.findall(r"`([a-z0-9]+)`", row))


def test_the_python_of_the_docs_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, shared = tmp_path / "zoo", tmp_path / "team"
    with zoo.init(home) as made:
        base = add_checkpoint(made.workspace, "team/base")
        parents = (Parent(manifest=base, relation="finetune", ref="team/base"),)
        add_checkpoint(made.workspace, "team/flowers", tensors(1), parents=parents)
        made.push("team/flowers", str(shared))
    monkeypatch.setenv("ZOO_HOME", str(home))
    text = (ROOT / "docs" / "python.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block.replace("/mnt/team/zoo", str(shared)), names)
    told = capsys.readouterr().out
    assert "team/base Check(share=" in told
    names["z"].close()
    listed = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|.*$", text, re.MULTILINE)))
    assert sorted(listed) == [name for name in dir(zoo.Zoo) if not name.startswith("_")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/reliability.md"])
def test_the_tests_that_hold_a_promise_are_there(page: str) -> None:
    named = re.findall(r"`(\w+/test_\w+\.py)(?:::(\w+))?`", (ROOT / page).read_text())
    assert len(named) > 10
    for file, name in named:
        text = (ROOT / "tests" / file).read_text()
        assert not name or re.search(rf"^(def|class) {name}\b", text, re.MULTILINE), (file, name)
