"""What a result depends on beside recipe and parent, and whether it is so again."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import torch
from threadpoolctl import threadpool_limits

from zoo.backbones.rgb import READING
from zoo.errors import InvalidData
from zoo.finetune.ranks.ranks import Ranks
from zoo.finetune.setup.prepare import COMPUTING, Prepared

__all__ = ["NOTHING", "Earlier", "continued", "latest", "provenance"]

LIBRARIES = (*COMPUTING, "numpy", "scipy", "scikit-learn", "pillow")
TRAINING = 2
"""How a recipe is run; another number gives other bits. Until 2, of equal epochs the latest
was kept, and patience went on through them; probes were not fitted to their optimum; one-cycle was
not torch's; tables of positions decayed in networks of torchvision and transformers; the running
statistics of blends were means."""
UNRECORDED = {"reading": "1", "training": "1"}
"""What is meant where older versions recorded nothing."""
THEN = ", then "
"""Between what a run began with and what it went on with."""


def provenance(prepared: Prepared) -> dict[str, str]:
    """Data, split, device, processes, threads (sums are taken in their order), how images are read
    (`zoo.backbones.rgb`), how training goes, and versions.
    """
    dataset = prepared.dataset
    return {
        "source": "finetune",
        "data_digest": dataset.digest,
        "split_digest": dataset.split_digest,
        "skipped_images": str(len(dataset.skipped)),
        "device": prepared.device.type,
        "processes": str(prepared.ranks),
        "threads": str(torch.get_num_threads()),
        "reading": str(READING),
        "training": str(TRAINING),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def continued(before: Mapping[str, str], prepared: Prepared) -> dict[str, str]:
    """The provenance of a resumed run: ``1, then 2`` of what differs from ``before``."""
    both = {}
    for name, value in provenance(prepared).items():
        was = before.get(name, value)
        both[name] = was if _last(was) == value else f"{was}{THEN}{value}"
    return both


def latest(before: Mapping[str, str]) -> dict[str, str]:
    """What a run was last resumed with."""
    return {name: _last(value) for name, value in before.items()}


def _last(value: str) -> str:
    return value.rpartition(THEN)[2]


@dataclass(frozen=True, slots=True)
class Earlier:
    """The provenance of a run that is resumed or run again, and in words, when that was."""

    provenance: Mapping[str, str]
    when: str

    def check_data(self, prepared: Prepared) -> None:
        """Make sure that images and split are the same: else `InvalidData` is raised, as an image
        that was trained on could be tested on.
        """
        data, dataset = prepared.recipe.data, prepared.dataset
        if dataset.digest != self.provenance.get("data_digest", dataset.digest):
            raise InvalidData(data, [f"it is not what it was {self.when}"])
        # Runs that older versions cut off have none.
        if dataset.split_digest != self.provenance.get("split_digest", dataset.split_digest):
            text = "its images are split into train, validation and test differently than"
            raise InvalidData(data, [f"{text} {self.when}"])

    def remark(self, prepared: Prepared) -> str:
        """What differs from then, and gives other bits; empty if nothing does."""
        if not self.provenance:
            return ""
        current, differences = provenance(prepared), []
        for name in ("device", "processes", "reading", "training", *LIBRARIES):
            before = self.provenance.get(name, UNRECORDED.get(name, current[name]))
            if before != current[name]:
                differences.append(f"{name} {current[name]} (was {before})")
        if not differences:
            return ""
        return f"other bits than {self.when} are to be expected: {', '.join(differences)}"

    @contextmanager
    def threads(self, device: str, ranks: Ranks) -> Iterator[None]:
        """Compute on a CPU in as many threads as it was, where that can give the same bits."""
        before, count = torch.get_num_threads(), self.provenance.get("threads", "")
        alike = self.provenance.get("processes") == str(ranks)
        if device == "cpu" and alike and count.isdecimal():
            torch.set_num_threads(int(count))
        try:
            # A probe is fitted in NumPy's: one number tells of both.
            with threadpool_limits(torch.get_num_threads(), user_api="blas"):
                yield
        finally:
            torch.set_num_threads(before)


NOTHING = Earlier({}, "")
"""Of what is done for the first time."""
