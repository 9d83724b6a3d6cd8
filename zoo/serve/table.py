"""Table: all that is answered. Its order counts where two paths fit."""

from __future__ import annotations

from zoo.serve.http.router import Route
from zoo.serve.hub.ask import Hub
from zoo.serve.hub.table import HUB
from zoo.serve.native.table import NATIVE
from zoo.serve.pages.table import PAGES

__all__ = ["ROUTES"]

ROUTES: tuple[Route[Hub], ...] = (*NATIVE, *HUB, *PAGES)
"""All routes."""
