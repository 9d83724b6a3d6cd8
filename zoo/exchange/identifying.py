"""A weights file of unknown origin, read for `zoo.lookup.identify`. Torch only for pickles."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from zoo.domain.hashes import sha256_of
from zoo.errors import InvalidWeights
from zoo.exchange.file_kind import check_kind
from zoo.exchange.infer_architecture import DEFAULT, fitting
from zoo.exchange.run_names import SUFFIXES
from zoo.lookup.identify import Identified, identify
from zoo.lookup.keys import FileKeys, keys_of
from zoo.lookup.match import FileTensor
from zoo.store.header import is_safetensors, parse_header
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.exchange.weights import ReadWeights

__all__ = ["file_keys", "identify_file", "read_tensors"]


def identify_file(workspace: Workspace, path: Path) -> Identified:
    """Say which checkpoint a ``.safetensors`` or ``.pth`` file is (`zoo.lookup.identify.identify`);
    or if it shares weights with none, which architectures it fits, as an import looks for them.

    Raises:
        InvalidWeights: The file is missing, unreadable, or holds more than weights.
        Corrupt: Bytes of a checkpoint are damaged.
    """
    sha256, tensors = _read(path)
    identified = identify(workspace, path, sha256, tensors)
    if identified.matches:
        return identified
    fits = fitting(DEFAULT, {name: tensor.shape for name, tensor in tensors.items()})
    return replace(identified, fits=tuple(fits))


def file_keys(path: Path) -> FileKeys:
    """The keys of a file, by which a server tells which checkpoint it is; no zoo is needed. Raises
    `InvalidWeights`, as `identify_file` does.
    """
    return keys_of(*_read(path))


def _read(path: Path) -> tuple[str, dict[str, FileTensor]]:
    """The SHA-256 of a file of weights, and its tensors."""
    if path.is_dir():
        weights = sorted(
            each.name for each in path.iterdir() if each.name.lower().endswith(SUFFIXES)
        )
        name = quote(str(path / (weights or ["FILE"])[0]))
        error = InvalidWeights(path, "is a folder")
        error.hint = f"name a file in it: zoo identify {name}"
        raise error
    check_kind(path)
    return sha256_of(path), read_tensors(path)[0]


def read_tensors(
    path: Path, key: str | None = None
) -> tuple[dict[str, FileTensor], ReadWeights | None]:
    """The tensors of a file of weights, mapped; and of a pickle, what else is in it.

    Of several sets of weights in a pickle, they are that under ``key``, else the likeliest.

    Raises:
        InvalidWeights: It is unreadable, or holds more than weights.
    """
    check_kind(path)
    if key is None and is_safetensors(path):
        return _safetensors(path), None
    from zoo.exchange.weights import read_state

    read = read_state(path, key)
    return {name: _file_tensor(tensor) for name, tensor in read.tensors.items()}, read


def _safetensors(path: Path) -> dict[str, FileTensor]:
    with path.open("rb") as file:  # the map goes with its last slice
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return {
        entry.name: FileTensor(entry.dtype, entry.shape, data[entry.begin : entry.end])
        for entry in parse_header(path, data).entries
    }


def _file_tensor(tensor: Tensor) -> FileTensor:
    import torch

    from zoo.backbones.mapped import DTYPES

    names = {dtype: name for name, dtype in DTYPES.items()}
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    # What safetensors has no name for is no checkpoint's.
    name = names.get(tensor.dtype, str(tensor.dtype))
    return FileTensor(name, tuple(tensor.shape), data.data)
