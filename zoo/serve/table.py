"""Table: all that is answered. Its order counts where two paths fit."""

from __future__ import annotations

from zoo.serve.http.router import Route
from zoo.serve.hub.ask import Hub
from zoo.serve.hub.table import HUB
from zoo.serve.native.table import NATIVE

__all__ = ["ROUTES"]

ROUTES: tuple[Route[Hub], ...] = (*NATIVE, *HUB)
"""All routes."""
