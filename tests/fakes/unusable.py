"""Files that are not what a command wants."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

__all__ = ["write_unusable"]


class Trap:
    """A pickle that would make a file named ``trapped`` if it were run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch trapped",)


def write_unusable(folder: Path) -> None:
    """Text, code, lists and half files by names of checkpoints; images, one of which is none."""
    (folder / "folder").mkdir(parents=True)
    (folder / "text.pth").write_text("hello world\nthis is text\n")
    (folder / "text.safetensors").write_text("hello world\nthis is text\n")
    (folder / "table.csv").write_text("a,b,c\n1,2,3\n")
    (folder / "empty.pth").touch()
    (folder / "empty.safetensors").touch()
    (folder / "code.pth").write_bytes(pickle.dumps({"a": Trap()}, protocol=2))
    (folder / "code4.pth").write_bytes(pickle.dumps({"a": Trap()}, protocol=4))
    torch.save({"a": Trap()}, folder / "zipped.pth")
    torch.save({"weight": torch.zeros(3)}, folder / "other.pth")
    torch.save([1, 2], folder / "list.pth")
    save_file({"weight": torch.zeros(3)}, folder / "cut.safetensors")
    whole = (folder / "cut.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-4])
    (folder / "bad.png").write_text("not an image")
    Image.new("L", (8, 8)).save(folder / "good.png")
