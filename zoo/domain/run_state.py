"""The state of a run that does not run, as a user asks for it."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["STATES", "State"]

State = Literal["done", "failed", "interrupted", "damaged"]
"""``damaged``: it cannot be read."""
STATES: tuple[State, ...] = get_args(State)
"""All of them."""
