"""Walk a folder that is to be imported: which files in it are weights, and of which run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote

from zoo.domain.limits import IMPORT_FILES
from zoo.errors import InvalidOption, ZooError
from zoo.exchange import run_names as names
from zoo.exchange.import_candidates import weights_in
from zoo.exchange.layouts import CONFIG, INDEX, PublishedLayout, read_layouts
from zoo.exchange.planned import WalkedFile
from zoo.store.refs import MARKER

__all__ = ["weights_below"]


def weights_below(
    root: Path, left_out: dict[str, str], suffixes: tuple[str, ...] = names.SUFFIXES
) -> Iterator[WalkedFile]:
    """All weights below a folder: what has one of ``suffixes``, and what a ``config.json`` beside
    it describes. No link is followed out of it, and no zoo is data.

    What is passed over is put in ``left_out``, by its path and with the reason.

    Raises:
        InvalidOption: There are too many.
    """
    number = 0

    def unread(error: OSError) -> None:
        left_out[os.path.relpath(error.filename, root)] = f"cannot be read: {error.strerror}"

    for at, folders, files in os.walk(root, onerror=unread):
        here = Path(at)
        below = here.relative_to(root)
        if MARKER in files:
            left_out[str(below)] = "is a zoo"
            folders.clear()
            continue
        linked = [name for name in folders if (here / name).is_symlink()]
        left_out |= {str(below / name): "is a link to a folder" for name in linked}
        hidden = [name for name in folders if name.startswith(".")]
        folders[:] = sorted(set(folders) - {*linked, *hidden})
        for each in _in_folder(root, here, sorted(files), left_out, suffixes):
            number += 1
            if number > IMPORT_FILES:
                raise InvalidOption(f"{root} has more than {IMPORT_FILES:,} files of weights")
            yield each


def _in_folder(
    root: Path,
    here: Path,
    files: Sequence[str],
    left_out: dict[str, str],
    suffixes: tuple[str, ...],
) -> Iterator[WalkedFile]:
    below, taken = here.relative_to(root), set[str]()
    out = {name for name in files if _leads_out(root, here / name)}
    own, layout = ([], None) if out else _own_weights(here, files, left_out, str(below))
    taken |= set(own)
    if own and own[0].endswith(INDEX):
        # One hash tells a file of a plan from others, and all epochs of a run have equal indexes.
        how = "its weights are in several files, import it alone: "
        how += f"zoo import {quote(str(here))} --as NAME"
        left_out[str(below)] = how
    elif own:
        moment = names.moment_of(here.name, steps=True) if below.parts else None
        run = names.run_path(below.parent if moment else below)
        yield WalkedFile(
            here, here / own[0], below, moment, (run, moment.base if moment else ""), layout
        )
    for name in files:
        path = below / name
        if name in taken or not name.lower().endswith(suffixes):
            continue
        if names.STATE.fullmatch(name):
            left_out[str(path)] = "is what training resumes from"
            continue
        if name in out:
            left_out[str(path)] = "is a link out of the folder"
            continue
        link = here / name
        real = link.resolve() if link.is_symlink() else link
        moment = names.moment_of(names.stem_of(path))
        run = names.run_path(below)
        base = moment.base if moment else names.stem_of(path)
        yield WalkedFile(link, real, path, moment, (run, base))


def _leads_out(root: Path, path: Path) -> bool:
    """Whether a path is a link to anything but a file below ``root``."""
    if not path.is_symlink():
        return False
    target = path.resolve()
    return not target.is_relative_to(root.resolve()) or not target.is_file()


def _own_weights(
    here: Path, files: Sequence[str], left_out: dict[str, str], below: str
) -> tuple[list[str], PublishedLayout | None]:
    """Names of the weights in a folder whose files say what network they are, the one first that is
    hashed; and what they say.
    """
    try:
        layouts = read_layouts(here, [here.name], files)
        own = weights_in(here, files, layouts[0]) if layouts else []
    except ZooError as error:
        if any(name.endswith((".safetensors", ".bin")) for name in files):
            left_out[str(Path(below) / CONFIG)] = str(error)
        return [], None
    return [path.name for path in own if not path.is_symlink()], layouts[0] if layouts else None
