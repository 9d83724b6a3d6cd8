"""Read weights files that were made elsewhere, without running anything that they hold."""

from __future__ import annotations

import argparse
import pickle
import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from zoo.domain.words import up_to
from zoo.errors import InvalidWeights
from zoo.exchange.file_kind import check_kind
from zoo.exchange.pickles import CUT_OFF, ODD, check_pickled, ended, why_code
from zoo.exchange.wrappers import WRAPPERS
from zoo.store.header import is_safetensors, read_header

__all__ = ["ReadWeights", "read_state"]

NESTED = 3
"""So often one of these is within another."""
LISTED = 12
MATRICES = ("weight", "kernel")
"""What a tensor of two dimensions or more is called in any network."""
OPTIMIZER = {"state", "param_groups"}
"""The keys of what `torch.optim.Optimizer.state_dict` gives."""
NAMED = re.compile(r"Unsupported global: GLOBAL ([\w.]{1,100})")
"""How PyTorch names the code that it refuses."""
UNPICKLING = threading.Lock()
"""What torch allows to be unpickled is of the whole process, as warnings are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadWeights:
    """What a file of weights holds.

    Attributes:
        tensors: The weights, under the names that the file has.
        key: The key that they are under; empty where the file is nothing but weights.
        others: Other keys of the file that hold weights.
        left_out: Keys of all else, such as the optimizer's state.
        saved: All that is in the file.
    """

    tensors: dict[str, torch.Tensor]
    key: str = ""
    others: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    saved: Mapping[str, object] = field(default_factory=dict)


def read_state(path: Path, key: str | None = None) -> ReadWeights:
    """The tensors of a safetensors file or of a pickle, which is loaded weights-only.

    Of several sets of weights in a pickle, that under ``key`` is taken, else the likeliest. Where
    there is no such key, it is what all names of a set of weights begin with.

    Raises:
        InvalidWeights: The file is missing, damaged, holds code, or holds no flat set of tensors.
    """
    check_kind(path)
    if is_safetensors(path):
        begins = "" if key is None else f"{key}."
        names = [entry.name for entry in read_header(path).entries]
        if key is not None and not any(name.startswith(begins) for name in names):
            raise InvalidWeights(path, f"is safetensors, which has no keys: leave '{key:.60}' out")
        try:
            loaded: dict[str, torch.Tensor] = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InvalidWeights(path, f"damaged: {error}") from error
        return ReadWeights(
            tensors={n: tensor for n, tensor in loaded.items() if n.startswith(begins)}
        )
    check_pickled(path)
    read = _read(path, _unpickle(path), key)
    for name, tensor in read.tensors.items():
        _check_plain(path, name, tensor)
    return read


def _is_zip(path: Path) -> bool:
    """Whether PyTorch takes a file for a zip file."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _unpickle(path: Path) -> object:
    try:
        with UNPICKLING, warnings.catch_warnings():
            # Of other pickle protocols, and of what it refuses: what counts is whether it loads.
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals([argparse.Namespace]):  # scripts keep theirs
                # Mapped, so that a large file takes no memory; what is older cannot be.
                mapped = _is_zip(path)
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if ended(path, error):
            raise InvalidWeights(path, CUT_OFF) from error
        if "Unsupported operand" in str(error) or "invalid load key" in str(error):
            raise InvalidWeights(path, ODD) from error
        named = NAMED.search(str(error))
        raise InvalidWeights(path, why_code(named[1] if named else "")) from error
    except Exception as error:  # the unpickler raises whatever it likes on damaged bytes
        raise InvalidWeights(path, CUT_OFF if ended(path, error) else ODD) from error


def _read(path: Path, saved: object, key: str | None) -> ReadWeights:
    """The set of weights among all that is ``saved``."""
    if not isinstance(saved, Mapping):
        raise InvalidWeights(path, f"holds a {type(saved).__name__}, not a set of named tensors")
    if key is not None and not isinstance(saved.get(key), Mapping):
        if key not in saved and (under := _under(path, saved, f"{key}.")):
            return under
        has = "holds no weights" if key in saved else "is not there"
        raise InvalidWeights(path, f"'{key:.60}' {has}; {_keys(saved)}")
    taken, mapping = ([key], saved[key]) if key is not None else ([], saved)
    while len(taken) < NESTED and (inner := _wrapper(mapping)):
        taken.append(inner)
        mapping = mapping[inner]
    others = [str(name) for name, value in mapping.items() if not isinstance(value, torch.Tensor)]
    if others or not mapping:
        raise InvalidWeights(path, _why_no_weights(saved, taken, mapping, others))
    beside = [str(name) for name in saved if name != taken[0]] if taken else []
    sets = tuple(name for name in beside if _holds_weights(saved.get(name)))
    return ReadWeights(
        tensors={str(name): tensor for name, tensor in mapping.items()},
        key=".".join(taken),
        others=sets,
        left_out=tuple(name for name in beside if name not in sets),
        saved=saved if taken else {},
    )


def _under(path: Path, saved: Mapping[object, object], prefix: str) -> ReadWeights | None:
    """Of the likeliest set of weights those whose names begin with ``prefix``, if there are any."""
    with suppress(InvalidWeights):
        read = _read(path, saved, None)
        own = {name: each for name, each in read.tensors.items() if name.startswith(prefix)}
        return replace(read, tensors=own) if own else None
    return None


def _wrapper(saved: Mapping[object, object]) -> str | None:
    return next((key for key in WRAPPERS if isinstance(saved.get(key), Mapping)), None)


def _holds_weights(value: object) -> bool:
    """Whether it looks like a network's weights: a loss has a tensor or two as well, an optimizer
    many, under numbers.
    """
    if not isinstance(value, Mapping) or not value:
        return False
    if _wrapper(value) is not None:
        return True
    flat = all(isinstance(each, torch.Tensor) for each in value.values())
    return flat and any(
        str(name).rpartition(".")[2] in MATRICES and each.dim() > 1 for name, each in value.items()
    )


def _why_no_weights(
    saved: Mapping[object, object],
    taken: Sequence[str],
    mapping: Mapping[object, object],
    others: Sequence[str],
) -> str:
    """Why the weights in a file cannot be told; and the option that helps, if one does."""
    if mapping.keys() >= OPTIMIZER or (not taken and _is_state_of_training(saved)):
        what = f"'{'.'.join(taken)}' is" if taken else "holds"
        return f"{what} the state of an optimizer, no weights: import what was saved beside it"
    what = f"'{others[0]:.60}' is not a tensor" if others else "it is empty"
    reason = f"holds no flat set of named tensors: {what}"
    return f"{reason}; {_keys(saved)}" if saved else reason


def _is_state_of_training(saved: Mapping[object, object]) -> bool:
    """Whether what a file holds is an optimizer's state, and no weights."""
    of_optimizer = any(isinstance(v, Mapping) and v.keys() >= OPTIMIZER for v in saved.values())
    return of_optimizer and not any(map(_holds_weights, saved.values()))


def _keys(saved: Mapping[object, object]) -> str:
    """The keys of a file for a message: those that --key takes, and the others."""
    good = [str(name) for name, value in saved.items() if _holds_weights(value)]
    rest = [str(name) for name in saved if str(name) not in good]
    listed = up_to([f"{name:.60}" for name in rest], LISTED)
    if not good:
        return f"none of its keys holds weights: {listed}"
    takes = f"--key {' or '.join(f'{name:.60}' for name in good[:LISTED])} takes weights"
    return f"{takes}; its other keys are {listed}" if rest else takes


def _check_plain(path: Path, name: str, tensor: torch.Tensor) -> None:
    """See that a tensor has values, and a name, that safetensors can hold."""
    if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
        raise InvalidWeights(path, f"the tensor '{name:.100}' is not kept as plain values")
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise InvalidWeights(path, f"a tensor's name is not text: {name!a:.100}")
