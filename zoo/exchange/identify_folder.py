"""Each weights file below a folder, identified."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zoo.errors import Corrupt, InvalidOption, InvalidWeights
from zoo.exchange.identifying import identify_file
from zoo.exchange.import_candidates import PICKLE
from zoo.exchange.import_walk import weights_below
from zoo.exchange.run_names import SUFFIXES
from zoo.lookup.identify import Identified
from zoo.workspace import Workspace

__all__ = ["identify_folder"]


def identify_folder(
    workspace: Workspace, folder: Path, bad: list[InvalidWeights]
) -> Iterator[Identified]:
    """Say of each file of weights below a folder what it is, as it is looked up; what cannot be
    read, or is passed over, is put in ``bad``.

    Raises:
        InvalidOption: There is none, or there are too many.
    """
    left_out: dict[str, str] = {}
    none = True
    suffixes = (*SUFFIXES, PICKLE)
    for walked in [*weights_below(folder, left_out, suffixes)]:  # too many are told at once
        none = False
        try:
            yield identify_file(workspace, walked.weights)
        except InvalidWeights as error:
            bad.append(error)
        except Corrupt as error:  # a checkpoint here that shares weights with it
            bad.append(InvalidWeights(walked.weights, f"cannot be compared: {error}"))
            bad[-1].hint = error.advice
    bad += [InvalidWeights(folder / name, reason) for name, reason in left_out.items()]
    if none and not left_out:
        raise InvalidOption(f"{folder} has no files of weights ({', '.join((*SUFFIXES, PICKLE))})")
