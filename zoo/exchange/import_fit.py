"""Whether files fit the networks that a plan says they are of, found as their import finds it."""

from __future__ import annotations

from pathlib import Path

from zoo.backbones.describe import outline_of
from zoo.domain.import_options import ImportOptions
from zoo.errors import ZooError
from zoo.exchange.check_weights import check_weights
from zoo.exchange.importing import first_candidate
from zoo.exchange.planned import PlannedFile
from zoo.exchange.survey import Surveyed, problem_of
from zoo.lookup.match import prefix_of
from zoo.workspace import Workspace

__all__ = ["Fits"]


class Fits:
    """Asks once for files that have the same tensors: those of a run mostly have. Of the options of
    their import the image size tells of the network.
    """

    def __init__(self, workspace: Workspace, options: ImportOptions) -> None:
        self._workspace, self._options = workspace, options
        self._known: dict[tuple[object, ...], tuple[str, str]] = {}

    def look(self, path: Path, planned: PlannedFile, surveyed: Surveyed) -> tuple[str, str]:
        """Why the weights are not of the network that is planned, empty if they are; and what the
        names of those begin with that are taken.
        """
        plain = not path.is_dir() and not self._options.get("image_size")
        if plain and (prefix := _as_outlined(planned, surveyed)) is not None:
            return "", prefix
        # What lies beside a file, or in its folder, tells of its network, too; and what is here
        # that it resembles.
        near = path if path.is_dir() else path.parent
        network = (planned.backbone, planned.architecture, planned.of)
        key = (near, *network, surveyed.key, *surveyed.shapes.items())
        if key not in self._known:
            self._known[key] = self._asked(path, planned)
        return self._known[key]

    def _asked(self, path: Path, planned: PlannedFile) -> tuple[str, str]:
        try:
            checked = first_candidate(
                self._workspace,
                path,
                check_weights,
                self._options,
                architecture=planned.architecture,
                backbone=planned.backbone,
            )
        except (ZooError, OSError) as error:
            return problem_of(error), ""
        return "", checked.taken.stripped


def _as_outlined(planned: PlannedFile, surveyed: Surveyed) -> str | None:
    """The prefix but for which all tensors are those of the outline, which needs no torch; None if
    they are not.
    """
    outline = outline_of(planned.backbone, planned.architecture)
    if outline is None:
        return None
    prefix = prefix_of(surveyed.shapes, outline.shapes)
    shapes = {name.removeprefix(prefix): shape for name, shape in surveyed.shapes.items()}
    fits = len(shapes) == len(surveyed.shapes) and outline.fits(shapes) is not None
    return prefix if fits else None
