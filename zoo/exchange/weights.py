"""Read weights files that were made elsewhere, without running anything that they hold."""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from zoo.errors import InvalidWeights
from zoo.exchange.pickles import CODE, ODD, check_pickled
from zoo.store.header import is_safetensors, read_header

__all__ = ["read_state"]

WRAPPERS = ("state_dict_ema", "state_dict", "model_ema", "model")
"""Keys under which training scripts keep the weights, best first (as timm looks them up)."""


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file or of a pickle, which is loaded weights-only.

    Raises:
        InvalidWeights: The file is missing, damaged, holds code, or holds no flat set of tensors.
    """
    if not path.is_file():
        raise InvalidWeights(path, "is a folder" if path.is_dir() else "no such file")
    if is_safetensors(path):
        read_header(path)
        try:
            loaded: dict[str, torch.Tensor] = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InvalidWeights(path, f"damaged: {error}") from error
        return loaded
    check_pickled(path)
    tensors = _tensors(path, _unpickle(path))
    for name, tensor in tensors.items():
        _check_plain(path, name, tensor)
    return tensors


def _unpickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # Of other pickle protocols, and of what it refuses: what counts is whether it loads.
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals([argparse.Namespace]):  # scripts keep theirs
                return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error) or "invalid load key" in str(error):
            raise InvalidWeights(path, ODD) from error
        raise InvalidWeights(path, CODE) from error
    except Exception as error:  # the unpickler raises whatever it likes on damaged bytes
        raise InvalidWeights(path, ODD) from error


def _tensors(path: Path, loaded: Any) -> dict[str, torch.Tensor]:
    if not isinstance(loaded, Mapping):
        raise InvalidWeights(path, f"holds a {type(loaded).__name__}, not a set of named tensors")
    for key in WRAPPERS:
        if isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    others = [str(key) for key, value in loaded.items() if not isinstance(value, torch.Tensor)]
    if others or not loaded:
        what = f"'{others[0]}' is not a tensor" if others else "it is empty"
        raise InvalidWeights(path, f"holds no flat set of named tensors: {what}")
    prefix = "module."  # added by DataParallel
    strip = all(str(key).startswith(prefix) for key in loaded)
    return {str(key).removeprefix(prefix) if strip else str(key): loaded[key] for key in loaded}


def _check_plain(path: Path, name: str, tensor: torch.Tensor) -> None:
    """See that a tensor has values, and a name, that safetensors can hold."""
    if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
        raise InvalidWeights(path, f"the tensor '{name:.100}' is not kept as plain values")
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise InvalidWeights(path, f"a tensor's name is not text: {name!a:.100}")
