"""Names of a checkpoint's files that are harmless wherever they are written.

What a program runs by itself where it lies (``torch.py``, ``sitecustomize.py``, ``.bashrc``,
``Makefile``) nobody can list, so this lists what is text or data for all we know.
"""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote

from zoo.domain.manifest import is_file_name
from zoo.errors import InvalidOption

__all__ = ["check_folder", "fits_everywhere", "why_unsafe"]

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
OF_FILES = frozenset(
    {".bin", ".ckpt", ".engine", ".h5", ".onnx", ".pt", ".pt2", ".pth", ".safetensors", ".tar"}
    | {".tflite", ".xml", ".zip"}
)
"""What files are called that other programs write networks into."""

FORMATS = {".onnx": "onnx", ".pt2": "pt2", ".xml": "openvino"}
"""The format that such a file is of, among those of an export."""


def fits_everywhere(name: str) -> bool:
    """Whether every system can hold a file of that name."""
    return (
        is_file_name(name)
        and name.isprintable()
        and not NEVER_ON_WINDOWS.search(name)
        and not DEVICES.fullmatch(name.partition(".")[0].strip())
        and len(name.encode()) <= LONGEST
    )


def check_folder(folder: Path) -> None:
    """See that a folder is not called as a file of weights is.

    Raises:
        InvalidOption: It is: who asks for that expects a file.
    """
    if (suffix := folder.suffix.lower()) not in OF_FILES:
        return
    form = f" --format {FORMATS[suffix]}" if suffix in FORMATS else ""
    raise InvalidOption(
        f"{folder}: export writes a folder, and no {suffix} file",
        hint=f"name a folder: zoo export NAME {quote(str(folder.with_suffix('')))}{form}",
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
