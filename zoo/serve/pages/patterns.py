"""Patterns: what stands for names that stay where they are; for admins."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.serve.hub.ask import Ask
from zoo.serve.pages.form import Form

__all__ = ["FORMS", "Patterns", "look_patterns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """All of them."""

    patterns: tuple[str, ...]


def look_patterns(ask: Ask) -> Patterns:
    """All of them."""
    return Patterns(patterns=tuple(ask.hub.accounts.patterns()))


def _protect(ask: Ask, form: Form) -> None:
    ask.hub.accounts.protect(form.text("pattern"), on=form.text("do") == "protect")


FORMS = {"protect": _protect, "unprotect": _protect}
"""What the forms of the page do."""
