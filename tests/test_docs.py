"""What the documents say is so."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import pytest

import zoo
from zoo import plugins
from zoo.domain import limits
from zoo_cli.limits import page
from zoo_cli.main import cli
from zoo_cli.reference import reference

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.skipif(
    tuple(map(int, version("click").split(".")[:2])) < (8, 5), reason="click formats help otherwise"
)
def test_the_command_line_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "run: make docs"


def test_the_page_of_limits_is_up_to_date() -> None:
    text = (ROOT / "docs" / "limits.md").read_text()
    assert text == page(), "run: python -m zoo_cli.limits > docs/limits.md"
    for name in (each for each in vars(limits) if each.isupper() and each != "MIB"):
        assert f"| `{name}` | " in text


@pytest.mark.parametrize("group", ["backbones", "sources", "heads", "remotes"])
def test_every_built_in_plugin_is_listed(group: str) -> None:
    page = (ROOT / "docs" / "plugins.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| `zoo.{group}`"))
    assert set(plugins.names(f"zoo.{group}")) <= set(re.findall(r"`([a-z0-9]+)`", row))


def test_the_page_on_python_has_every_method_and_every_command() -> None:
    rows = re.findall(
        r"^\| (`zoo .*|command) \| (.*) \|$", (ROOT / "docs/python.md").read_text(), re.M
    )
    methods = re.findall(r"`(\w+)`", "".join(method for _, method in rows))
    assert sorted(methods) == [name for name in dir(zoo.Zoo) if not name.startswith("_")]
    commands = set(
        re.findall(r"[`,] ?`?(?:zoo )?([a-z-]+)[ `]", "".join(f"{each}," for each, _ in rows))
    )
    hidden = {name for name, each in cli.commands.items() if each.hidden}
    assert set(cli.commands) - hidden - commands <= {"demo", "help"}


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


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """What builds the site; it needs none of the site's packages."""
    spec = spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_has_a_docstring(hooks: ModuleType) -> None:
    assert list(hooks.undocumented()) == []


def test_names_without_a_docstring_are_found(
    hooks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = '__all__ = ["A", "B", "C", "D", "f"]\nA = 1\n"""Told."""\nB = 2\ndef f(): "Told."\n'
    fields = "class D:\n  '''Has x.'''\n  x: int\n  y: int\n  def g(self): pass\n"
    (tmp_path / "m.py").write_text(f"{code}class C: pass\n{fields}def hidden(): pass\n")
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    monkeypatch.setattr(hooks, "REFERENCE", {"m": ("M", ["m"])})
    assert list(hooks.undocumented()) == ["m.B", "m.C", "m.D.y", "m.D.g"]


def test_the_reference_has_every_name_of_the_package(hooks: ModuleType) -> None:
    page = hooks.reference("zoo")
    assert [name for name in dir(zoo) if f"`zoo.{name}`" not in page] == []


def test_what_contributing_names_is_there() -> None:
    text = re.sub(r"```.*?```", "", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)
    named = [
        name for name in re.findall(r"`([^`]+)`", text) if re.fullmatch(r"[\w.]+/[\w./]*", name)
    ]
    assert len(named) > 40
    made = ("build/site", "NAME")
    assert [n for n in named if not (ROOT / n).exists() and not any(m in n for m in made)] == []
    for dotted in re.findall(r"`(zoo\.facade[\w.]*)`", text):
        assert resolve_name(dotted)
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert re.search(f"^{target}:", targets, re.MULTILINE), target


def test_each_word_of_the_glossary_is_used_and_told_once() -> None:
    page = ROOT / "docs" / "glossary.md"
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| .{10,} \|$", page.read_text(), re.MULTILINE)
    words = [word for row in rows for word in row.split(", ")]
    assert len(words) == len(set(words)) > 50
    pages = "\n".join(each.read_text().lower() for each in PAGES if each != page)
    assert [word for word in words if not re.search(rf"\b{word}", pages)] == []


def test_the_pages_that_begin_with_words_of_ours_link_to_the_glossary() -> None:
    pages = ("README.md", "docs/finetune.md", "docs/hierarchy.md", "docs/plugins.md",
             "docs/store.md")  # fmt: skip
    assert [page for page in pages if "glossary.md" not in (ROOT / page).read_text()] == []
