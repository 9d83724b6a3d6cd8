"""A zoo whose every remote is one store."""

from __future__ import annotations

from zoo.remotes import Remotes
from zoo.store import Store
from zoo.workspace import Workspace

__all__ = ["Wired"]


class Wired(Workspace):
    """A zoo whose every remote is ``wire``."""

    wire: Store

    @property
    def remotes(self) -> Remotes:
        made = _OneRemote(self.root, self.own("remotes.json"), lambda: self.registry)
        made.wire = self.wire
        return made


class _OneRemote(Remotes):
    wire: Store

    def connect(self, where: str, *, create: bool = False) -> Store:
        return self.wire
