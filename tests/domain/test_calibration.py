"""What a checkpoint keeps of how far its answers can be trusted: read with care."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from fakes.checkpoints import manifest_of

from zoo.domain.calibration import (
    Bin,
    Calibration,
    Effect,
    Step,
    Typical,
    calibration_error,
    subject,
)
from zoo.domain.digest import Digest
from zoo.domain.limits import CALIBRATION_BYTES
from zoo.domain.manifest import WeightsFile
from zoo.errors import InvalidManifest

STEPS = (Step(0.9, 10, 10, 0.74), Step(0.6, 15, 14, 0.72), Step(0.5, 20, 15, 0.54))


def coded(kind: str, count: int) -> str:
    return base64.b64encode(struct.pack(f"<{count}{kind}", *[0.5] * count)).decode()


KNOWN = Calibration(
    of="ab",
    images=20,
    temperature=1.5,
    steps=STEPS,
    bins=(Bin(5, 0.4, 0.5), Bin(15, 0.9, 0.8)),
    raw_bins=(Bin(20, 0.95, 0.7),),
    typical=Typical(
        features=3, rank=2, centers=2, mean=coded("e", 3), basis=coded("e", 6),
        whitening=coded("f", 4), places=coded("f", 4), rest=0.1, limit=2.0,
    ),
    effect=Effect(images=30, loss=0.5, raw_loss=0.4, p=0.3),
)  # fmt: skip


def test_it_comes_back_as_it_was() -> None:
    data = KNOWN.to_bytes()
    assert Calibration.from_bytes(data) == KNOWN
    assert Calibration.from_bytes(data).to_bytes() == data
    assert "0.400 without it, 0.500 with it, p = 0.3: no difference can be seen" in str(KNOWN)
    earlier = {name: each for name, each in json.loads(data).items() if name != "effect"}
    found = Calibration.from_bytes(json.dumps(earlier).encode())
    assert found == replace(KNOWN, effect=None)
    later = json.dumps({**json.loads(data), "more": 1}).encode()
    assert Calibration.from_bytes(later) == KNOWN


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"temperature": float("nan")}, "JSON"),
        ({"temperature": float("inf")}, "JSON"),
        ({"temperature": 0.0}, ">= 0.01"),
        ({"temperature": "1"}, "Expected `float"),
        ({"temperature": True}, "Expected `float"),
        ({"format": 2}, "format is 2"),
        ({"format": True}, "format is True"),
        ({"images": 19}, "more answers than there are images"),
        ({"images": 2**80}, "<= "),
        ({"steps": [[0.5, 1, 1, 0.1]]}, "Expected `object`"),
        ({"steps": [{"confidence": 2, "answered": 1, "right": 1,
                    "low": 0}]}, "<= 1"),
        ({"effect": {"images": 1, "loss": -1, "raw_loss": 0, "p": 0}}, ">= 0"),
        ({"effect": {"images": 1, "loss": 1, "raw_loss": 0, "p": 2}}, "<= 1"),
        ({"why": "a\x1b[2Jb"}, "no line of text"),
        ({"why": "x" * 1001}, "no line of text"),
        ({"bins": [{"count": 1, "confidence": 0.1, "right": 0.1}] * 16}, "more than 15 bins"),
        ({"bins": [{"count": -1, "confidence": 0.1, "right": 0.1}]}, ">= 0"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused(changed: dict[str, Any], why: str) -> None:
    data = {**json.loads(KNOWN.to_bytes()), **changed}
    with pytest.raises(InvalidManifest, match=why):
        Calibration.from_bytes(json.dumps(data).encode())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"features": 2**20, "rank": 2**12, "centers": 2**20}, "mean has 6 bytes, and not 2097152"),
        ({"rank": 3}, "basis has 12 bytes, and not 18"),
        ({"mean": "****"}, "mean is no base64"),
        ({"limit": 0}, "> 0"),
        ({"rest": -1}, "> 0"),
        ({"centers": 0}, ">= 1"),
    ],
)
def test_arrays_are_of_their_size(changed: dict[str, Any], why: str) -> None:
    """Before any memory is taken for what they say of themselves."""
    data = json.loads(KNOWN.to_bytes())
    data["typical"] |= changed
    with pytest.raises(InvalidManifest, match=why):
        Calibration.from_bytes(json.dumps(data).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 5000, b" " * (CALIBRATION_BYTES + 1),
     json.dumps({"format": 1, "steps": [0] * 20_000}).encode()],
)  # fmt: skip
def test_no_calibration_at_all(data: bytes) -> None:
    with pytest.raises(InvalidManifest):
        Calibration.from_bytes(data)


@pytest.mark.parametrize(
    "steps", [STEPS[::-1], (Step(0.9, 0, 0, 0.0),), (Step(0.9, 3, 4, 0.5),)]
)  # fmt: skip
def test_steps_are_in_order_and_have_answers(steps: tuple[Step, ...]) -> None:
    with pytest.raises(InvalidManifest, match="step"):
        Calibration.from_bytes(replace(KNOWN, steps=steps).to_bytes())


def test_the_step_for_an_accuracy_has_the_most_answers() -> None:
    assert KNOWN.step_for(0.75) == STEPS[2]
    assert KNOWN.step_for(0.9) == STEPS[1]
    assert KNOWN.step_for(0.99) == STEPS[0]
    assert replace(KNOWN, steps=STEPS[1:]).step_for(0.99) is None


def test_the_error_is_a_mean_over_answers() -> None:
    assert calibration_error(KNOWN.bins) == pytest.approx((5 * 0.1 + 15 * 0.1) / 20)
    assert calibration_error(()) == 0


def test_other_weights_or_settings_are_another_subject() -> None:
    digest = Digest("sha256", "1" * 64)
    file = WeightsFile(name="a", size=0, sha256=digest, header=digest, tensors=())
    one = manifest_of(file)
    seen = {subject(one)}
    for other in (
        replace(one, head=replace(one.head, num_classes=one.head.num_classes + 1)),
        replace(one, backbone=replace(one.backbone, options={"lora": 4})),
        replace(one, preprocessing=replace(one.preprocessing, crop_pct=0.5)),
        replace(
            one, weights=tuple(replace(w, sha256=Digest("sha256", "2" * 64)) for w in one.weights)
        ),
    ):
        seen.add(subject(other))
    assert len(seen) == 5
    assert subject(replace(one, license="mit", provenance={"note": "x"})) == subject(one)


def test_a_step_that_is_enough_for_several_accuracies_is_told_once() -> None:
    assert KNOWN.worth == (STEPS[1], STEPS[0])  # for 90 %, and for 95 and 99 %
