"""Devices: what a network can run on here."""

from __future__ import annotations

import torch

from zoo.errors import InvalidOption

__all__ = ["pick_device", "wait_for"]


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


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given: an accelerator works on while this goes on,
    and times are wrong without it.
    """
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
