"""Write the page of all limits: ``python -m zoo_cli.limits > docs/limits.md``."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise

import click

from zoo.domain import limits

__all__ = ["page"]

HEADER = """# Limits

What comes from elsewhere (a remote's checkpoint, a weights file, a repository of the HF Hub, an
image) may say of itself what it likes. What it may ask for is limited. All limits are in
`zoo/domain/limits.py`, from which this page is generated; a test fails when it is out of date.
What goes beyond one is refused in a line that names it, before memory is taken for it.

`tests/strangers/test_bombs.py` runs every file that we know of to ask for more than it is, each
under a limit of memory and time. Weights stay within 700 MB and 30 s of CPU beyond the program
itself, narrow images within 300 MB and 10 s, the largest images within 3 GB.

| limit | value | |
| --- | --- | --- |
"""


def page() -> str:
    """The limits with their values and what they are of."""
    return HEADER + "".join(f"| `{name}` | {value} | {text} |\n" for name, value, text in _rows())


def _rows() -> Iterator[tuple[str, str, str]]:
    """Each public name of the module, its value, and the text below it."""
    body = ast.parse(inspect.getsource(limits)).body
    for line, below in pairwise(body):
        if not isinstance(line, ast.Assign) or not isinstance(below, ast.Expr):
            continue
        (target,) = line.targets
        name, text = ast.unparse(target), ast.literal_eval(below.value)
        value = getattr(limits, name)
        shown = f"{value:,}" if isinstance(value, int) else f"{value:g}"
        yield name, shown, " ".join(text.replace("``", "`").split())


if __name__ == "__main__":
    click.echo(page(), nl=False)
