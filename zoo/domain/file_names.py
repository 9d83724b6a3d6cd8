"""Names of a checkpoint's files that are harmless wherever they are written.

What a program runs by itself where it lies (``torch.py``, ``sitecustomize.py``, ``.bashrc``,
``Makefile``) nobody can list, so this lists what is text or data for all we know.
"""

from __future__ import annotations

import re

from zoo.domain.manifest import is_file_name

__all__ = ["fits_everywhere", "why_unsafe"]

DATA = (
    ".bib .cff .csv .gif .jpeg .jpg .json .jsonl .log .md .npy .npz .onnx .parquet .pdf "
    ".png .rst .safetensors .tsv .txt .webp .yaml .yml"
)
TEXTS = re.compile(
    r"(AUTHORS|CHANGELOG|CITATION|COPYING|LICEN[CS]E|NOTICE|README)([-_][\w-]*)?"
    r"(\.(apache|bsd|gpl|mit|[\d.-]+|apache-[\d.]+|bsd-\d))?",
    re.IGNORECASE,
)
"""Names that need no suffix, or have one of their own."""
NEVER_ON_WINDOWS = re.compile(r'[<>:"/\\|?*]|[. ]$')
DEVICES = re.compile(r"(CON|PRN|AUX|NUL|COM\d|LPT\d)", re.IGNORECASE)
LONGEST = 255


def fits_everywhere(name: str) -> bool:
    """Whether every system can hold a file of that name."""
    return (
        is_file_name(name)
        and name.isprintable()
        and not NEVER_ON_WINDOWS.search(name)
        and not DEVICES.fullmatch(name.partition(".")[0].strip())
        and len(name.encode()) <= LONGEST
    )


def why_unsafe(name: str) -> str | None:
    """Why a file of that name is not written unasked; None if it is."""
    if not fits_everywhere(name):
        return "has a name that not every system can hold"
    if name.startswith("."):
        return "is a hidden file, which programs read unasked"
    stem, dot, suffix = name.rpartition(".")
    if TEXTS.fullmatch(name) or (stem and f"{dot}{suffix}".lower() in DATA.split()):
        return None
    return "could be run, or loaded as code, where it lies"
