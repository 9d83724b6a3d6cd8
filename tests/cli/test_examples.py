"""Each example in the pages is run and compared, or says why not; then its commands are parsed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import run as run_program
from typing import Any

import click
import pytest
import torch
from fakes.own_nets import ConvNet
from fakes.prepared import BASE, TUNED
from fakes.program import zoo as program
from PIL import Image

import zoo
from zoo_cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (not run|run by): (.+?) -->", re.DOTALL)
FIGURE = re.compile(r"\b0\.\d{4}\b")
"""A score of training, which another processor rounds to another one."""
PROMPT = re.compile(r"^(?:\w*\$ )")


@dataclass(frozen=True)
class Example:
    """A block of a page; ``mark`` is what stands before it instead of its being run here."""

    page: str
    line: int
    kind: str
    text: str
    mark: tuple[str, str] | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """What is typed, line by line; a quotation may go on over several."""
        if self.kind == "bash":
            return re.findall(r"""(?:"[^"]*"|[^"\n])+""", self.text)
        lines = self.text.splitlines()
        return [PROMPT.sub("", line) for line in lines if PROMPT.match(line)]


def examples() -> Iterator[Example]:
    for page in PAGES:
        text, end = page.read_text(), 0
        for block in BLOCK.finditer(text):
            marks = MARK.findall(text, end, block.start())
            line = text.count("\n", 0, block.start()) + 1
            name = page.relative_to(ROOT).as_posix()
            yield Example(name, line, *block.groups(), marks[-1] if marks else None)
            end = block.end()


ALL = [each for each in examples() if each.page != "docs/cli.md"]  # that is what --help prints
SHELL = [each for each in ALL if each.kind in ("bash", "console")]
PYTHON = [each for each in ALL if each.kind == "python"]


def test_what_is_typed_into_a_shell_is_marked_as_such() -> None:
    plain = [each for each in ALL if each.kind == ""]
    assert [str(each) for each in plain if re.search(r"^(\w*\$ |zoo |pip )", each.text, re.M)] == []


@pytest.mark.parametrize("example", [each for each in ALL if each.mark], ids=str)
def test_the_tests_that_a_mark_names_are_there(example: Example) -> None:
    kind, why = example.mark or ("", "")
    for named in re.findall(r"tests/[\w/.]+\w", why):
        assert (ROOT / named).exists(), named
    if kind == "run by":
        assert Path(example.page).name in (ROOT / why).read_text()


@pytest.mark.parametrize("example", SHELL, ids=str)
def test_its_commands_are_there(example: Example) -> None:
    for line in example.commands:
        for command in re.split(r" (?:&&|\|) ", line):
            words = shlex.split(command, comments=True)
            if words[:1] == ["zoo"]:
                parse(words[1:])
            elif words[:1] == ["make"]:
                assert re.search(f"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), command


def parse(words: list[str]) -> None:
    """See that the words are a command, and options that it takes; nothing is run or looked up."""
    command: click.Command = cli
    context = click.Context(cli, **cli.context_settings)  # a command keeps its first help option
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
        context = click.Context(command, parent=context)
    assert not isinstance(command, click.Group) or words or command.invoke_without_command
    given, left, _ = command.make_parser(context).parse_args(list(words))
    assert left == [], words
    for param in command.params:
        value = given.get(str(param.name))
        assert not param.required or value, (words, param.name)
        if isinstance(param.type, click.Choice) and isinstance(value, str):
            param.type.convert(value, param, context)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.long] if page == "docs/surgery.md" else [])
        for page in sorted({each.page for each in SHELL if not each.mark})
    ],
)
def test_a_page_prints_what_it_shows(page: str, home: Path) -> None:
    for example in (each for each in SHELL if each.page == page and not each.mark):
        assert example.kind == "console", (
            f"{example}: show what it prints, or say why it is not run"
        )
        for session in re.split(r"^\$ ", example.text, flags=re.MULTILINE)[1:]:
            line, _, shown = session.partition("\n")
            wanted = ".*".join(map(re.escape, FIGURE.sub("0.0", shown).strip().split("…")))
            printed = [FIGURE.sub("0.0", each).strip() for each in typed(line)]
            assert any(re.fullmatch(wanted, each, re.DOTALL) for each in printed), (line, printed)


def typed(line: str) -> tuple[str, ...]:
    """What a line prints, through its filter if there is one; a page may show stderr first."""
    words, _, behind = line.partition(" | ")
    said = program(*shlex.split(words)[1:])
    if not behind:
        return said.out + said.err, said.err + said.out
    filtered = run_program(shlex.split(behind), input=said.out, capture_output=True, text=True)
    return (filtered.stdout,)


Scope = dict[str, Any]


@pytest.fixture
def scope(home: Path, tmp_path: Path) -> Iterator[Scope]:
    """What the examples in Python speak of."""
    (tmp_path / "team").mkdir()
    team = tmp_path / "team/zoo"
    for words in (
        ("tag", TUNED, "team/birds"),
        ("push", "team/birds", "--to", team),
        ("delete", "team/birds"),
        ("tag", BASE, "team/base"),
        ("tag", TUNED, "team/flowers"),
        ("push", "team/flowers", "--to", team),
    ):
        program(*words).done()
    torch.save(ConvNet().state_dict(), "best.pth")
    with zoo.open() as z:
        yield {"zoo": zoo, "z": z, "image": Image.new("RGB", (32, 32)), "make_net": ConvNet}


@pytest.fixture
def adapted(few: Path, tmp_path: Path) -> Callable[[str], str]:
    """An example with this test's places, and a fine-tune that is quick."""

    def adapt(text: str) -> str:
        text = text.replace('"flowers/"', repr(str(few))).replace("/mnt/team", f"{tmp_path}/team")
        return text.replace('freeze="blocks.4"', 'freeze="blocks.4", epochs=1, image_size=32')

    return adapt


@pytest.mark.parametrize("example", [e for e in PYTHON if not e.mark], ids=str)
def test_it_runs(
    example: Example,
    scope: Scope,
    adapted: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(adapted(example.text), scope)
