"""Devices: what a network can run on here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from zoo.errors import InvalidOption

__all__ = [
    "free_on",
    "out_of_memory",
    "pick_device",
    "pick_devices",
    "random_kept",
    "random_state",
    "set_random_state",
    "wait_for",
]


def pick_device(device: str) -> str:
    """``auto`` becomes the accelerator if there is one; anything else must be usable.

    Raises:
        InvalidOption: There is no such device here.
    """
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator.type if accelerator else "cpu"
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        usable = f"auto, cpu, {accelerator.type}" if accelerator else "auto, cpu"
        text = f"the device '{device}' cannot be used here; these can: {usable}"
        raise InvalidOption(text) from error
    return device


def pick_devices(devices: str) -> list[str]:
    """Those of ``cuda:0,cuda:1``; ``all``: every GPU; of one, see `pick_device`.

    Raises:
        InvalidOption: There is no such device here, or they are of several kinds.
    """
    if devices == "all":
        every = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        return every if len(every) > 1 else [pick_device("auto")]
    names = [pick_device(each.strip()) for each in devices.split(",")]
    kinds = {each.partition(":")[0] for each in names}
    if len(names) > 1 and kinds not in ({"cpu"}, {"cuda"}):
        raise InvalidOption(
            f"'{devices}': several devices are GPUs of one kind, cuda:0,cuda:1, or cpu,cpu"
        )
    return names


def out_of_memory(error: BaseException, device: torch.device) -> torch.device | None:
    """Whose memory is at its end: that of the ``device`` that computes, or of the host; None where
    it is another error. Of the host's, and of MPS, torch says so in words only.
    """
    text = str(error) if isinstance(error, RuntimeError) else ""
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return torch.device("cpu")
    phrases = ("out of memory", "tried to allocate", "Invalid buffer size")
    known = isinstance(error, torch.OutOfMemoryError) or any(each in text for each in phrases)
    return device if known else None


def free_on(device: torch.device) -> int:
    """Bytes that are free on a CUDA device, those included that torch keeps for itself; else 0."""
    if device.type != "cuda":
        return 0
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def random_state(device: torch.device) -> Tensor:
    """Of the generator that dropout draws from on a device."""
    state: Tensor = _generators(device).get_rng_state(*_at(device))
    return state


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Inverse of `random_state`."""
    _generators(device).set_rng_state(state, *_at(device))


@contextmanager
def random_kept(device: torch.device) -> Iterator[None]:
    """After the block, the generators of the CPU and of a device are as they were before."""
    kinds = {torch.device("cpu"), device}
    before = {each: random_state(each) for each in kinds}
    try:
        yield
    finally:
        for each, state in before.items():
            set_random_state(each, state)


def _generators(device: torch.device) -> Any:
    return torch.random if device.type == "cpu" else torch.get_device_module(device)


def _at(device: torch.device) -> tuple[torch.device, ...]:
    # There is one MPS device, and it is not asked which.
    return () if device.type in ("cpu", "mps") else (device,)


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given: an accelerator works on while this goes on,
    and times are wrong without it.
    """
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
