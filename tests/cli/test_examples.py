"""Each example in the pages is run and compared, or says why not; then its commands are parsed."""

from __future__ import annotations

import doctest
import html
import io
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from fakes.own_nets import ConvNet
from fakes.pages import NEEDS, Follower, masked
from fakes.program import Said

import zoo
from zoo_cli.main import cli

ROOT = Path(__file__).parents[2]
JUDGES = re.compile(r"\$ zoo (advise|finetune|predict)")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (not run|run by): (.+?) -->", re.DOTALL)
NEEDED = re.compile(r"<!-- needs: (.+?) -->")
LONG = (
    "README.md", "docs/adapters.md", "docs/compare.md", "docs/evaluate.md", "docs/finetune.md",
    "docs/hierarchy.md", "docs/lookup.md", "docs/plugins.md", "docs/predict.md", "docs/probes.md",
    "docs/python.md", "docs/surgery.md",
)  # fmt: skip
QUICK = 'freeze="blocks.4", epochs=1, image_size=32'
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
            kind, example = block.groups()
            yield Example(name, line, kind, example, marks[-1] if marks else None)
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


def typed_on(template: Path) -> list[list[str]]:
    """What a template of the server's pages shows to be typed, by block."""
    text = re.sub(r"\{%.*?%\}", "", template.read_text(), flags=re.DOTALL)
    text = re.sub(
        r"\{\{[^}]*?\bor \"([^\"]+)\" \}\}", r"\1", text
    )  # what is shown where all is empty
    text = html.unescape(re.sub(r"\{\{.*?\}\}", "1", text))
    blocks = re.findall(r"<code>(zoo [^<]+)</code>", text)
    return [[line for line in block.splitlines() if line.startswith("zoo ")] for block in blocks]


TEMPLATES = ROOT / "zoo" / "serve" / "pages" / "templates"


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.stem)
def test_commands_that_pages_show_are_there_and_work_from_nothing(template: Path) -> None:
    for block in typed_on(template):
        words = [shlex.split(line)[1:] for line in block]
        for typed in words:
            parse(typed)
        names = {name for typed in words for name in typed if name.startswith("timm/")}
        assert not names or words[0] == ["index", "timm"], "else they are unknown in an empty zoo"


def test_pages_of_an_empty_zoo_show_commands() -> None:
    for name in ("home", "runs"):
        assert typed_on(TEMPLATES / f"{name}.html")


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


NOT_RUN: Mapping[str, tuple[int, str]] = {
    "CONTRIBUTING.md": (1, "runs all tests"),
    "README.md": (3, "two install zoo; one needs the HF Hub"),
    "docs/accelerator.md": (4, "figures of one machine; what needs a card"),
    "docs/bench.md": (1, "figures of one machine"),
    "docs/cheatsheet.md": (8, "a list of what other pages show"),
    "docs/completion.md": (1, "a Tab is no command"),
    "docs/finetune.md": (
        11,
        "a minute of training twice; six runs of folds; tables of others; images of others, often; "
        "several processes; a server of others, twice; runs that were cut off",
    ),
    "docs/hub.md": (8, "the HF Hub and timm's tables are other machines"),
    "docs/predict.md": (2, "it is interrupted; a cluster"),
    "docs/operate.md": (
        11,
        "a server that people use, its scrubs, an address to tell, what it does, where a backup "
        "goes, a bucket, its scrubs, twice a bucket and its database",
    ),
    "docs/plugins.md": (7, "four are of a plugin that is installed; two download weights"),
    "docs/rank.md": (2, "two GPUs, and a cluster"),
    "docs/registry.md": (1, "a server of PostgreSQL is another machine"),
    "docs/serve.md": (3, "a proxy is another machine; what is sent needs a server, twice"),
    "docs/store.md": (2, "fine-tunes at three rates, and of other classes, were made for it"),
    "docs/surgery.md": (2, "AlexNet has 244 MB; training and two exports take minutes"),
    "docs/upgrading.md": (1, "replaces what is tested"),
}
"""How many examples of a page are not run here, and why; their marks name the tests of the like."""


def test_the_examples_that_are_not_run_are_listed() -> None:
    unrun = Counter(each.page for each in ALL if each.mark and each.mark[0] == "not run")
    assert unrun == {page: count for page, (count, _) in NOT_RUN.items()}


Scope = dict[str, Any]


@pytest.fixture
def follower(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Follower]]:
    """Somebody in a zoo with what a page says that it needs."""
    (tmp_path / "places").mkdir()

    def needing(page: str) -> Follower:
        text = (ROOT / page).read_text()
        follower = Follower(tmp_path / "places", counts="<!-- counts vary -->" not in text)
        for needs in NEEDED.findall(text):
            for need in needs.split("; "):
                NEEDS[need](request.getfixturevalue)
        return follower

    monkeypatch.syspath_prepend(str(home))
    monkeypatch.setenv("ZOO_AUTHOR", "ana")
    yield needing
    sys.modules.pop("acme", None)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.long] if page in LONG else [])
        for page in sorted({each.page for each in (*SHELL, *PYTHON) if not each.mark})
    ],
)
def test_a_page_can_be_followed(page: str, follower: Callable[[str], Follower]) -> None:
    """All of its examples, one after the other, in one folder."""
    reader = follower(page)
    scope: Scope = {"make_net": ConvNet}
    for example in (each for each in ALL if each.page == page and not each.mark):
        if example.kind == "bash":
            _bash(example, reader)
        elif example.kind == "console":
            _console(example, reader)
        elif example.kind == "python":
            _python(example, reader, scope)
    for opened in scope.values():
        if isinstance(opened, zoo.Zoo):
            opened.close()


@pytest.mark.long
def test_the_demo_prints_the_tour_of_the_readme(
    bare: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_AUTHOR", "you")
    (tour,) = (each.text for each in ALL if each.page == "README.md" and "$ zoo init" in each.text)
    done = bare("demo", "build/demo")
    assert done.code == 0, done
    assert _steps(done.out.replace(str(Path.cwd()), "/home/you")) == _steps(tour)


def _steps(tour: str) -> list[str]:
    """What each step prints, without what varies: with the counts of what is trained or judged, and
    which images advice doubts, or the network finds unlike its own, which are others on another
    processor.
    """
    tour = re.sub(r"  unlike the training images, [\d.]+$", "", tour, flags=re.MULTILINE)
    steps = re.split(r"^(?=\d\. )", tour, flags=re.MULTILINE)
    advice = next(at for at, step in enumerate(steps) if "$ zoo advise" in step)
    steps[advice] = re.split("\n(?=IN TWO SPLITS|DOUBTED|LIKE NO)", steps[advice])[0]
    return [masked(step, counts=bool(JUDGES.search(step))) for step in steps]


def _bash(example: Example, reader: Follower) -> None:
    for line in example.commands:
        if line.strip() and not line.lstrip().startswith("#"):
            said = reader.type(line)
            assert said.code == 0, (line, said)


def _console(example: Example, reader: Follower) -> None:
    for session in re.split(r"^\$ ", example.text, flags=re.MULTILINE)[1:]:
        line, _, shown = session.partition("\n")
        said = reader.type(line)
        wanted = ".*".join(map(re.escape, reader.mask(reader.put(shown)).split("…")))
        # Where lines of stderr came is not known: some before all of stdout, and some after it.
        err = said.err.splitlines(keepends=True)
        printed = [
            reader.mask("".join((*err[:first], said.out, *err[first:])))
            for first in range(len(err) + 1)
        ]
        assert any(re.fullmatch(wanted, each, re.DOTALL) for each in printed), (line, printed)


def _python(example: Example, reader: Follower, scope: Scope) -> None:
    code = reader.put(example.text).replace('freeze="blocks.4"', QUICK)
    if not code.startswith(">>> "):
        exec(code, scope)
        return
    test = doctest.DocTestParser().get_doctest(code, scope, str(example), None, None)
    told = io.StringIO()
    doctest.DocTestRunner(Masked(), optionflags=doctest.ELLIPSIS).run(
        test, out=told.write, clear_globs=False
    )
    scope.update(test.globs)
    if told.getvalue():
        pytest.fail(told.getvalue())


class Masked(doctest.OutputChecker):
    """Compares what Python prints as what commands print is compared."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        wanted = ".*".join(map(re.escape, masked(want).split("…")))
        return re.fullmatch(wanted, masked(got), re.DOTALL) is not None
