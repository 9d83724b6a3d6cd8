"""The page of advice: one file that needs no other, for people who do not use a command line.

Names of files and classes are somebody's: all text is escaped, and the page may load nothing.
"""

from __future__ import annotations

from base64 import b64encode
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment

from zoo.domain.duration import time_of
from zoo.domain.recipe import data_name

if TYPE_CHECKING:
    from zoo.advice.advise import Advice

__all__ = ["page_of"]

TEMPLATE = "page.html"


def page_of(advice: Advice, picture: Path | None, sheet: Path) -> str:
    """The page, with these two pictures in it."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files(__package__) / TEMPLATE).read_text("utf-8"))
    facts, plan = advice.facts, advice.plan
    return template.render(
        base=advice.base,
        data=data_name(advice.data),
        size=" x ".join(map(str, advice.image_size)),
        images=f"{sum(facts.images.values()):,}",
        leaks=facts.leaks,
        classes=facts.classes,
        plan=plan,
        seconds=time_of(plan.seconds) if plan else "",
        picture=picture and _inlined(picture),
        sheet=_inlined(sheet),
    )


def _inlined(path: Path) -> str:
    return b64encode(path.read_bytes()).decode()
