"""Calibration: how far what a network says of an image can be trusted, as a checkpoint keeps it.

It is a file of the checkpoint, `CALIBRATION_FILE`, that a fine-tune makes of its validation images.
A version of zoo that does not know it reads the checkpoint as it always did, without. It is of
those weights, that head and that preprocessing alone, and says of which (`subject`): beside others
it is as good as not there.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Self

from msgspec import Meta, convert

from zoo.domain.bounded import parse
from zoo.domain.limits import CALIBRATION_BYTES, CALIBRATION_VALUES
from zoo.domain.manifest import Manifest, canonical
from zoo.domain.plain import Json
from zoo.domain.words import plural
from zoo.errors import MALFORMED, InvalidManifest

__all__ = [
    "BINS",
    "CALIBRATION_FILE",
    "CALIBRATION_TOLD",
    "CARD_SECTION",
    "WORTH",
    "Bin",
    "Calibration",
    "Effect",
    "Step",
    "Typical",
    "calibration_error",
    "subject",
]

CALIBRATION_FILE = "calibration.json"
"""What the file is called."""
CALIBRATION_TOLD = (
    f"`{CALIBRATION_FILE}` is for `zoo predict` and `zoo evaluate`, which calibrate and judge "
    "answers by it. Other programs do not read it, and it may be deleted."
)
"""What a card says of that file."""
CARD_SECTION = "## Trust"
"""Where a model card tells of it."""
BINS = 15
"""Of a reliability diagram, equally wide (Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017)."""
FORMAT = 1
LEVEL = 0.05
"""Below this p a difference is called one."""
WORTH = (0.9, 0.95, 0.99)
"""Accuracies whose answers are told."""

Count = Annotated[int, Meta(ge=0, le=2**40)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0, le=1e30)]
Loss = Annotated[float, Meta(ge=0, le=1e30)]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers that a network is about as sure of: of classes the likeliest one of each image, of
    labels the probability of each that it is there.

    Attributes:
        count: How many.
        confidence: Their mean probability.
        right: The share of them that is right; of labels, that is there.
    """

    count: Count
    confidence: Share
    right: Share


@dataclass(frozen=True, slots=True)
class Step:
    """What comes of it if a network answers only where it is so sure.

    Attributes:
        confidence: The least probability of the likeliest class.
        answered: Of how many of the images that is so.
        right: Of how many of these the answer is right.
        low: The lower bound of the accuracy of these answers, at 95 %.
    """

    confidence: Share
    answered: Count
    right: Count
    low: Share

    @property
    def accuracy(self) -> float:
        """The share of the answers that is right."""
        return self.right / self.answered

    def to_json(self) -> Json:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical:
    """What features of the training images are like, by which others can be told
    (`zoo.backbones.unlike`): arrays, little-endian, as base64.

    Attributes:
        features: F, how many the head gets.
        rank: R, along how many directions they are described.
        centers: K, one for each class of these images; one for all where there are none.
        mean: Of all features (F), float16.
        basis: The directions (F, R), float16.
        whitening: From these to such of equal spread within a class (R, R), float32.
        places: The centers (K, R) there, float32.
        rest: The mean square of what is left along each of the other directions.
        limit: The distance that 95 % of the validation images stay within.
    """

    features: Annotated[int, Meta(gt=0, le=2**20)]
    rank: Annotated[int, Meta(gt=0, le=2**12)]
    centers: Annotated[int, Meta(gt=0, le=2**20)]
    mean: str
    basis: str
    whitening: str
    places: str
    rest: Positive
    limit: Positive

    def arrays(self) -> dict[str, bytes]:
        """The bytes of each array by its name.

        Raises:
            ValueError: One is no base64, or of another size than it must be.
        """
        f, r, k = self.features, self.rank, self.centers
        sizes = {"mean": 2 * f, "basis": 2 * f * r, "whitening": 4 * r * r, "places": 4 * k * r}
        arrays = {}
        for name, size in sizes.items():
            try:
                arrays[name] = binascii.a2b_base64(getattr(self, name), strict_mode=True)
            except binascii.Error as error:
                raise ValueError(f"its {name} is no base64") from error
            if len(arrays[name]) != size:
                raise ValueError(f"its {name} has {len(arrays[name])} bytes, and not {size}")
        return arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What came of a temperature on the test images, which had no part in it.

    Attributes:
        images: How many there are.
        loss: With it, of an image: what a temperature is fitted by.
        raw_loss: Without it.
        p: How probable so large a difference of these is if there is none.
    """

    images: Count
    loss: Loss
    raw_loss: Loss
    p: Share

    def __str__(self) -> str:
        verdict = "no difference can be seen"
        if self.p < LEVEL and self.loss < self.raw_loss:
            verdict = "it is better with it"
        elif self.p < LEVEL:
            verdict = "it is worse with it (zoo predict --no-calibration leaves it out)"
        return (
            f"loss on {plural(self.images, 'test image')} {self.raw_loss:.3f} without it, "
            f"{self.loss:.3f} with it, p = {self.p:.2g}: {verdict}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the validation images of a fine-tune tell of its answers, and its test images of that.

    Attributes:
        of: What it belongs to (`subject`).
        images: Validation images that it was made of.
        temperature: What outputs are divided by before they become probabilities; None: nothing.
        why: Why there is no temperature, no table or no `typical`; empty if there are all.
        steps: What answers are worth by how sure the network is, the surest first; of classes.
        bins: Of the test images, by probabilities as they are said.
        raw_bins: The same without the temperature; empty where there is none.
        typical: What the training images are like; None where that is not known.
        effect: What the temperature comes to on the test images; None where there is none, or an
            earlier zoo made it.
    """

    of: str
    images: Count
    temperature: Annotated[float, Meta(ge=0.01, le=100)] | None = None
    why: str = ""
    steps: tuple[Step, ...] = ()
    bins: tuple[Bin, ...] = ()
    raw_bins: tuple[Bin, ...] = ()
    typical: Typical | None = None
    effect: Effect | None = None

    def to_bytes(self) -> bytes:
        """As the file has it: canonical JSON."""
        return canonical({"format": FORMAT, **_listed(asdict(self))}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`; what later versions add is left out.

        Raises:
            InvalidManifest: It is none, or of another format.
        """
        try:
            if len(data) > CALIBRATION_BYTES:
                raise ValueError(f"it has {len(data)} bytes; the most is {CALIBRATION_BYTES}")
            raw = parse(data, values=CALIBRATION_VALUES, deepest=8)
            if raw["format"] != FORMAT or type(raw["format"]) is not int:
                raise ValueError(
                    f"its format is {raw['format']!r:.40}; this program reads {FORMAT}"
                )
            canonical(raw)  # Python's JSON has NaN, which is no number and above no bound
            calibration: Self = convert(raw, cls)
            calibration._check()
        except MALFORMED as error:
            raise InvalidManifest(f"not a calibration: {error}") from error
        return calibration

    def _check(self) -> None:
        sure = [step.confidence for step in self.steps]
        if sure != sorted(sure, reverse=True):
            raise ValueError("its steps are in no order")
        if any(not step.answered or step.right > step.answered for step in self.steps):
            raise ValueError("a step has more right answers than answers, or none")
        if any(step.answered > self.images for step in self.steps):
            raise ValueError("a step has more answers than there are images")
        if max(len(self.bins), len(self.raw_bins)) > BINS:
            raise ValueError(f"it has more than {BINS} bins")
        if len(self.why) > 1000 or not (self.why + "x").isprintable():
            raise ValueError("its reason is no line of text")
        if self.typical:
            self.typical.arrays()

    def step_for(self, accuracy: float) -> Step | None:
        """How sure the network must be for answers of that ``accuracy`` on the validation images:
        that of most answers; None: it never is.
        """
        return next((step for step in reversed(self.steps) if step.accuracy >= accuracy), None)

    @property
    def worth(self) -> tuple[Step, ...]:
        """How sure it must be for answers of the accuracies `WORTH`, each once."""
        return tuple(dict.fromkeys(filter(None, map(self.step_for, WORTH))))

    def __str__(self) -> str:
        parts = []
        if self.temperature is not None:
            before, after = map(calibration_error, (self.raw_bins, self.bins))
            parts.append(
                f"temperature {self.temperature:.3g}, of "
                f"{plural(self.images, 'validation image')}: calibration error on the test images "
                f"{before:.3f} without it, {after:.3f} with it"
            )
            parts.append(str(self.effect or ""))
        elif self.bins:
            parts.append(f"calibration error {calibration_error(self.bins):.3f}, no temperature")
        return "; ".join(filter(None, (*parts, self.why)))

    def to_json(self) -> Json:
        """Plain data for people: without arrays, and with all of it in words."""
        typical = self.typical and {
            "features": self.typical.features,
            "rank": self.typical.rank,
            "centers": self.typical.centers,
        }
        data = {"text": str(self), **_listed(asdict(self)), "typical": typical}
        del data["of"]
        return data


def _listed(data: Json) -> Json:
    return {key: list(each) if isinstance(each, tuple) else each for key, each in data.items()}


def subject(manifest: Manifest) -> str:
    """What the answers of a checkpoint come from, as hex digits: another network, head, size or
    byte of weights is another one.
    """
    data = manifest.to_json()
    what = {key: data[key] for key in ("backbone", "head", "preprocessing")}
    weights = [[file.name, str(file.sha256)] for file in manifest.weights]
    return hashlib.sha256(canonical({**what, "weights": weights}).encode()).hexdigest()


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error: by how much shares of right answers are off what is said of
    them, in the mean.
    """
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.confidence - each.right) for each in bins) / max(total, 1)
