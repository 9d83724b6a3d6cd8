"""What training scripts put around the names of a network: keys of a pickle, prefixes of names."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["WRAPPED", "WRAPPERS", "best_prefix", "ambiguity", "wrapped_in"]

WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "model_state_dict",
    "state_dict",
    "model",
    "net",
    "module",
    "weights",
    "params",
    "ema",
)
"""Keys under which training scripts keep the weights, best first (as timm looks them up)."""
WRAPPED = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
"""What wrappers put before all names, where the network's own names are no help: the file has those
of another library, or the network was never traced here."""
MOST_WRAPPED = 8
"""Wrappers around one another that are looked for: a name may be megabytes long."""
RANKED = (*WRAPPERS, "_orig_mod", "backbone", "encoder_q", "base_encoder")
"""Which of several prefixes is the network: the last two are MoCo's, beside moving averages."""


def best_prefix(prefixes: Sequence[str]) -> str | None:
    """The prefix of the likeliest of several networks in one file, which is none if one has its own
    names; None if that is a guess.
    """
    if len(prefixes) == 1 or "" in prefixes:
        return min(prefixes, key=len)
    split = [prefix.split(".") for prefix in prefixes]
    apart = next(n for n, parts in enumerate(zip(*split, strict=False)) if len({*parts}) > 1)
    first = {parts[apart]: prefix for parts, prefix in zip(split, prefixes, strict=True)}
    return next((first[name] for name in RANKED if name in first), None)


def ambiguity(prefixes: Sequence[str]) -> str:
    """Why a file that holds a network under several prefixes is refused, and the way out."""
    under = " and ".join(f"'{prefix:.60}'" for prefix in prefixes[:4])
    keys = " or ".join(f"--key {prefix.removesuffix('.'):.60}" for prefix in prefixes[:4])
    return f"the same network is in it {len(prefixes)} times, under {under}: {keys} takes one"


def wrapped_in(names: Collection[str]) -> str:
    """What wrappers have put before all ``names``."""
    prefix = ""
    for _ in range(MOST_WRAPPED):
        prefix += next((w for w in WRAPPED if all(n.startswith(prefix + w) for n in names)), "")
    return prefix if names else ""
