"""Benched: how fast a checkpoint ran on a device, as a zoo keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import msgspec
from msgspec import Meta

from zoo.domain.digest import Digest
from zoo.domain.limits import LARGEST
from zoo.domain.result import Result
from zoo.errors import InvalidReference

__all__ = ["Benched", "Timed"]

Whole = Annotated[int, Meta(ge=1, le=LARGEST)]
Number = Annotated[float, Meta(gt=0, lt=1e12)]  # finite
Line = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+\Z")]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Timed(Result):
    """Runs of one batch size.

    Attributes:
        batch: Images at once.
        ms: Milliseconds by the clock from images in memory to outputs there, the median of all
            runs; ``p95``: 95 % of the runs took at most this.
        images_per_second: What the median comes to.
        memory: Bytes that the process took for it, at the peak, beside what it had before the
            network was there; on a GPU those allocated. None where the system does not tell.
    """

    batch: Whole
    ms: Number
    p95: Number
    images_per_second: Number
    memory: Annotated[int, Meta(ge=0, le=LARGEST)] | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Benched(Result):
    """What `zoo bench` measured. A later one on the same kind of device takes its place.

    Attributes:
        manifest: The checkpoint.
        device: The kind of device: ``cpu``, ``cuda``, ``mps``.
        model: Which device that was: ``NVIDIA H100 80GB HBM3``.
        threads: Of the CPU.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        torch: Its version.
        input_size: Channels, height and width of an image.
        bytes: Of the weights.
        batches: The runs, by batch size.
        at: When, UTC, ISO 8601.
    """

    manifest: Digest
    device: Annotated[str, Meta(pattern=r"^[a-z]{1,20}\Z")]
    model: Line
    threads: Whole
    precision: Line
    torch: Line
    input_size: tuple[Whole, Whole, Whole]
    bytes: Annotated[int, Meta(ge=0, le=LARGEST)]
    batches: Annotated[tuple[Timed, ...], Meta(min_length=1, max_length=100)]
    at: Line

    @property
    def metrics(self) -> dict[str, float]:
        """What searches find it by: ``ms.cpu`` of one image by itself, where that was measured, and
        ``images_per_second.cpu`` of the best batch size.
        """
        best = max(each.images_per_second for each in self.batches)
        alone = {f"ms.{self.device}": each.ms for each in self.batches if each.batch == 1}
        return {**alone, f"images_per_second.{self.device}": best}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Read what `to_json` wrote; what a later version wrote beside it is left out.

        Raises:
            ValueError: It is none.
        """
        try:
            return msgspec.convert(data, cls, dec_hook=lambda _, text: Digest.parse(str(text)))
        except (msgspec.ValidationError, InvalidReference) as error:
            raise ValueError(str(error)) from error
