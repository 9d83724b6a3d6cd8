"""Whatever zoo imports is named in pyproject.toml, and not only there because something else is."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {path.name for folder in ("", "cli", "plugins") for path in (ROOT / folder).glob("zoo*")}
CALLED = {
    "OpenSSL": "pyopenssl",
    "PIL": "pillow",
    "markdown_it": "markdown-it-py",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Projects whose modules have another name."""


def imported() -> Iterator[tuple[str, Path]]:
    """Top-level modules of other projects, wherever they are imported, and where."""
    for folder in ("zoo", "cli", "plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module:
                    names.append(node.module)
                yield from ((name.partition(".")[0], path) for name in names)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    return {normal(re.split(r"[\[><=~!; ]", each)[0]) for each in listed}


@pytest.mark.long
def test_every_import_is_declared() -> None:
    known = declared()
    lacking = {
        (module, str(path.relative_to(ROOT)))
        for module, path in imported()
        if module not in sys.stdlib_module_names | OURS
        if normal(CALLED.get(module, module)) not in known
    }
    assert lacking == set()
