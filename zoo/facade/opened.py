"""A zoo that is open: its workspace, and who is told how far work is."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from zoo.domain.progress import Progress, silent
from zoo.workspace import Workspace

__all__ = ["Opened"]


class Opened:
    """A zoo on disk. A context manager; `close` releases its registry.

    Args:
        workspace: The folder, its store and its registry.
        progress: Told how far long work is.
    """

    def __init__(self, workspace: Workspace, *, progress: Progress = silent) -> None:
        self.workspace = workspace
        self.progress = progress

    @classmethod
    def open(cls, home: Path | str | None = None, *, progress: Progress = silent) -> Self:
        """Open ``home``, else what ``ZOO_HOME`` names, else the nearest zoo upward from here.

        Raises:
            NoZoo: There is none.
        """
        return cls(Workspace.find(Path(home) if home else None), progress=progress)

    @classmethod
    def init(cls, home: Path | str = ".", *, progress: Progress = silent) -> Self:
        """Make a zoo in the folder ``home``; one that is there is kept as it is."""
        return cls(Workspace.create(Path(home).resolve()), progress=progress)

    def close(self) -> None:
        """Release the registry; what this zoo trusts is trusted no more."""
        self.workspace.close()
        self.workspace.trust.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def root(self) -> Path:
        """The zoo's folder."""
        return self.workspace.root
