"""Tried: images by checkpoints of a zoo, one after the other, for a process that answers many."""

from __future__ import annotations

import io
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from PIL import Image
from torch import nn

from zoo.backbones.explained import Explanation, explain, output_called
from zoo.backbones.heat_picture import seen_by
from zoo.backbones.load import Card, hierarchy_of, load
from zoo.backbones.predict import Prediction, guesses, predict
from zoo.backbones.preprocess import decode_image
from zoo.backbones.trust import Trust, trust_of
from zoo.config import cores
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.limits import TRIED_IMAGE_PIXELS
from zoo.errors import InvalidImage, Unsupported
from zoo.lookup.calibrated import calibration_of
from zoo.store import Store
from zoo.trust import check_trusted, import_path

__all__ = ["Trial", "TryoutRunner"]

NETWORKS = 2
"""So many stay in memory: those that were asked for last."""
TOP, EXPLAINED, EXPLAIN_SECONDS = 5, 3, 5.0
"""So many classes are told, and so many of these explained, while no more time has passed."""
SIDE = 448
"""Most pixels of a side of a picture."""
NAME = "the image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a checkpoint says of an image.

    Attributes:
        prediction: The likeliest classes.
        seen: The image as the network sees it, or smaller.
        guesses: What to know of where they come from.
        explained: What of the image speaks for some of them.
        unexplained: Why nothing tells; empty if something does.
    """

    prediction: Prediction
    seen: Image.Image
    guesses: tuple[str, ...]
    explained: tuple[Explanation, ...]
    unexplained: str


@dataclass(frozen=True, slots=True)
class _Network:
    module: nn.Module
    trust: Trust
    hierarchy: Hierarchy | None
    problem: str = ""

    @property
    def card(self) -> Card:
        return cast(Card, self.module.zoo)


class TryoutRunner:
    """Tries images with the checkpoints in a store, on half of the cores: what runs beside it would
    hold up threads that wait for each other.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        torch.set_num_threads(min(torch.get_num_threads(), max(1, cores() // 2)))
        self._kept: OrderedDict[Digest, _Network] = OrderedDict()

    def answer(self, digest: Digest, data: bytes, output: str = "") -> Trial:
        """What a checkpoint says of the image that is ``data``, and what of that speaks for
        ``output``, or for what is likeliest.

        Raises:
            InvalidImage: It is no image, or too large.
            UnknownName: There is no such output.
            Untrusted: The network is built by a module that the zoo's user does not trust.
            Unsupported: It has no head, or does not take such an image.
            ZooError: It cannot be loaded.
        MemoryError: The image takes more memory than there is.
        """
        try:
            image = decode_image(io.BytesIO(data), NAME, TRIED_IMAGE_PIXELS)
        except InvalidImage as error:
            if isinstance(error.__cause__, MemoryError):
                raise MemoryError from error
            # What it advises is an option of commands.
            raise InvalidImage(NAME, error.reason.partition(" (--max")[0]) from error
        network = self._network(digest)
        wanted = [output_called(network.card, output)] if output else []
        (prediction,) = predict(network.module, image, top=TOP, trust=network.trust)
        explained, problem = _explained(network, image, wanted or _likeliest(prediction))
        manifest = network.card.manifest
        seen = seen_by(network.card.preprocess(image), manifest.preprocessing)
        seen.thumbnail((SIDE, SIDE))
        return Trial(
            prediction=prediction,
            seen=seen,
            guesses=(*guesses(manifest), *_unlike(prediction)),
            explained=tuple(replace(each, seen=seen) for each in explained),
            unexplained=problem,
        )

    def _network(self, digest: Digest) -> _Network:
        network = self._kept.pop(digest, None)
        if network is None:
            while len(self._kept) >= NETWORKS:
                self._kept.popitem(last=False)
            module = load(self._store, digest)
            known = calibration_of(self._store, cast(Card, module.zoo).manifest)
            network = _with_units(module, trust_of(module, known, None, calibrated=True))
        elif import_path(name := network.card.manifest.backbone.architecture):
            check_trusted(name)  # it may have been trusted until now
        self._kept[digest] = network
        return network


def _with_units(module: nn.Module, trust: Trust) -> _Network:
    try:
        return _Network(module, trust, hierarchy_of(module))
    except Unsupported as error:
        return _Network(module, trust, None, str(error))


def _unlike(prediction: Prediction) -> Iterator[str]:
    if prediction.unlike:
        yield (
            f"it is unlike the training images: {prediction.distance:.2f} times as far from them "
            "as 95 % of the validation images stay within"
        )


def _likeliest(prediction: Prediction) -> Sequence[int]:
    """The outputs that are explained where none is asked for; of numbers the first."""
    logits = prediction.logits
    order = sorted(range(len(logits)), key=lambda index: -logits[index])
    return (order if prediction.probabilities else range(len(logits)))[:EXPLAINED]


def _explained(
    network: _Network, image: Image.Image, outputs: Sequence[int]
) -> tuple[tuple[Explanation, ...], str]:
    """What speaks for each of some outputs, the first at least, and no more than time allows."""
    if network.hierarchy is None:
        return (), network.problem
    began, explanations = time.monotonic(), list[Explanation]()
    for output in outputs:
        if explanations and time.monotonic() - began > EXPLAIN_SECONDS:
            break
        try:
            explanations += explain(network.module, image, [output], hierarchy=network.hierarchy)
        except Unsupported as error:
            return (), str(error)
    return tuple(explanations), ""
