"""What the site has besides the pages of this folder: those of the root, and the API reference.

The reference is made from the code. A public name without a docstring is a warning, and with
``strict`` in ``mkdocs.yml`` any warning ends the build.
"""

from __future__ import annotations

import ast
import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import zoo

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LOG = logging.getLogger("mkdocs.hooks")

OUTSIDE = {"README.md": "index.md"} | {
    name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
}
"""Pages in the root of the repository, and what they are called on the site."""

REFERENCE = {
    "zoo": ("The zoo", ["zoo.facade"]),
    "errors": ("Errors", ["zoo.errors"]),
    "contracts": ("Contracts", ["zoo.contracts"]),
    "values": ("Values", ["zoo.domain"]),
    "testing": ("Suites for plugins", ["zoo.testing"]),
}
"""Pages of the reference: title, and what they show. A package stands for its modules."""


def on_config(config: MkDocsConfig) -> None:
    """Complete the navigation: decisions, and the pages of the reference."""
    decisions = [f"adr/{path.name}" for path in sorted((ROOT / "docs/adr").glob("*.md"))]
    reference = [{title: f"api/{page}.md"} for page, (title, _) in REFERENCE.items()]
    config.nav = [*(config.nav or []), {"Python": reference}, {"Decisions": decisions}]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of this folder."""
    from mkdocs.structure.files import File

    for path, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    for page in REFERENCE:
        files.append(File.generated(config, f"api/{page}.md", content=reference(page)))
    for name in undocumented():
        LOG.warning("%s has no docstring", name)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Adapt a page that was written for the repository: its links, and lists without a gap."""
    at = {site: path for path, site in OUTSIDE.items()}.get(page.file.src_uri)
    folder = posixpath.dirname(at or f"docs/{page.file.src_uri}")

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        target = OUTSIDE.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or '.')}"

    parts = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    for index, text in enumerate(parts[::2]):
        spaced = re.sub(r"(?m)^(?![-|#>])(\S.*\n)(?=- )", r"\1\n", text)
        parts[2 * index] = re.sub(r"\]\((?!\w+:|#)([^)#\s]+)", moved, spaced)
    return "".join(parts)


def reference(page: str) -> str:
    """A page of the reference, for mkdocstrings to fill."""
    title, shown = REFERENCE[page]
    lines = [f"# {title}", ""]
    if page == "zoo":
        lines += ["`import zoo` has these names:", "", *map(_link, dir(zoo)), ""]
        shown = ["zoo.facade.Zoo"]
    lines += [f"::: {module}\n" for package in shown for module in modules(package)]
    return "\n".join(lines)


def _link(name: str) -> str:
    thing = getattr(zoo, name)
    home = f"{thing.__module__}.{name}" if isinstance(thing, type) else f"zoo.facade.Zoo.{name}"
    return f"- [`zoo.{name}`][{home}]"


def modules(dotted: str) -> list[str]:
    """The modules of a package; what is none stands for itself."""
    files = sorted((ROOT / dotted.replace(".", "/")).glob("[!_]*.py"))
    return [f"{dotted}.{path.stem}" for path in files] or [dotted]


def undocumented() -> Iterator[str]:
    """Public names of all that the reference shows which have no docstring."""
    for _, shown in REFERENCE.values():
        for module in (each for package in shown for each in modules(package)):
            path = ROOT / f"{module.replace('.', '/')}.py"
            yield from (f"{module}.{name}" for name in _bare(ast.parse(path.read_text())))


def _bare(tree: ast.Module) -> Iterator[str]:
    """Names in ``__all__`` without a docstring, and such members of these classes."""
    public: list[str] = []
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            (target,) = node.targets if isinstance(node, ast.Assign) else [node.target]
            name = ast.unparse(target)
            if name == "__all__":
                public = ast.literal_eval(node.value or ast.List([]))
            elif name in public and not _is_text(after):
                yield name
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in public:
            if not ast.get_docstring(node):
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{name}" for name in _bare_members(node))


def _bare_members(node: ast.ClassDef) -> Iterator[str]:
    """Public methods without a docstring, and fields that no text speaks of.

    The text is the class's docstring, one behind the field, or an argument of its default. A
    TypedDict has the keywords of something else, which says what they mean.
    """
    told = ast.get_docstring(node) or ""
    keywords = any(ast.unparse(base) == "TypedDict" for base in node.bases)
    for each, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(each, ast.FunctionDef):
            if not each.name.startswith("_") and not ast.get_docstring(each):
                yield each.name
        elif (
            isinstance(each, ast.AnnAssign)
            and not keywords
            and not ast.unparse(each.target).startswith("_")
        ):
            given = each.value.args if isinstance(each.value, ast.Call) else []
            texts = any(isinstance(a, ast.Constant) and " " in str(a.value) for a in given)
            if not _is_text(after) and not texts and ast.unparse(each.target) not in told:
                yield ast.unparse(each.target)


def _is_text(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
