"""Presets: recipes that come with zoo, each a TOML file here, whose first line says its purpose."""

from __future__ import annotations

import difflib
from pathlib import Path

from zoo.errors import InvalidOption

__all__ = ["PRESETS", "find", "purpose"]

PRESETS = ("small-data", "standard", "long")
FOLDER = Path(__file__).parent


def purpose(preset: str) -> str:
    """What a preset is for, in a line."""
    return _text(preset).partition("\n")[0].removeprefix("# ")


def find(source: Path | str) -> tuple[str, str]:
    """The preset that ``source`` names, or nothing for a file, and the text of either.

    A file is what has a separator in it, ends in ``.toml`` or is a `Path`.

    Raises:
        InvalidOption: There is no such preset, or the file cannot be read.
    """
    name = str(source)
    if name in PRESETS and isinstance(source, str):
        return name, _text(name)
    if isinstance(source, str) and not ("/" in name or "\\" in name or name.endswith(".toml")):
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        beside = f"./{name} is the file; " if Path(name).is_file() else ""
        raise InvalidOption(
            f"there is no preset '{name}': {hint}{beside}presets are {', '.join(PRESETS)}, and a "
            "file's path has a / or ends in .toml"
        )
    try:
        return "", Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidOption(f"the recipe {name} cannot be read: {why}") from error


def _text(name: str) -> str:
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
