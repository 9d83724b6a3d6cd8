"""Try it: what a checkpoint says of an image that somebody has, and which part of that mattered.

Nothing of the image is kept or logged. It is decoded by a process of its own
(`zoo.serve.keep.tryout`), which could be taken over by one that is made for that: of what it
answers, pictures are made anew of their pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from zoo.domain.limits import TRIED_IMAGE_BYTES
from zoo.domain.words import shortened
from zoo.serve.http.answer import NO_STORE, Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.http.multipart import read_multipart
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.tryout import Picture, TryoutAnswer
from zoo.serve.keep.tryouts import RATE, QueueFull, TooOften, Tryouts
from zoo.serve.pages.chosen import PickedVersion, ShownVersion, pick
from zoo.serve.pages.examples import pixels_of, png
from zoo.serve.pages.page import show, site_of

__all__ = [
    "SENT_SECONDS",
    "Drawn",
    "TryoutResult",
    "TryPage",
    "look_try",
    "try_form",
    "try_image",
    "why_not",
]

FORM_BYTES = 16 * 1024
"""Of a form, beside its image."""
SENT_SECONDS = 60
"""So long may what is sent take: others wait."""
LARGE = f"an image has at most {TRIED_IMAGE_BYTES} bytes here"
LETTERS = 120
SIDE = 512
OFF = "this server tries no images; whoever runs it can have it do so: zoo serve --try"
ABOUT_SENT = ("BadRequest", "TooLarge", "TooSlow", "TooMany", "Busy", "Failed")
"""Refusals that the page tells beside its form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A picture, as a URL that holds it; of an ``output``, what speaks for it, if anything does."""

    url: str
    width: int
    height: int
    output: str = ""
    speaks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A class or label with its probability, or what was learned with its number."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TryoutResult:
    """What a checkpoint says of an image.

    Attributes:
        checkpoint: Its digest.
        outputs: The likeliest classes or labels, best first; numbers in their order.
        probable: Whether their values are probabilities.
        seen: The image as the network sees it.
        explained: What speaks for some of them, over it.
        unit: Where the network was looked into for that.
        unexplained: Why nothing tells what speaks for them.
        guesses: What to know of where the answer comes from.
    """

    checkpoint: str
    outputs: tuple[Value, ...]
    probable: bool
    seen: Drawn | None
    explained: tuple[Drawn, ...]
    unit: str
    unexplained: str
    guesses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TryPage:
    """The page, before and after something was asked.

    Attributes:
        chosen: Which checkpoint.
        problem: Why no image can be tried with it; empty if one can.
        output: The class that was asked for; empty: the likeliest.
        error: What is wrong with what was sent.
        answer: What came of it.
        most: Bytes that an image may have.
    """

    chosen: ShownVersion
    problem: str
    output: str = ""
    error: str = ""
    answer: TryoutResult | None = None
    most: int = field(default=TRIED_IMAGE_BYTES)


def look_try(ask: Ask) -> TryPage:
    """The page on which to choose an image. Raises as `pick`."""
    picked = pick(ask)
    return TryPage(chosen=picked.chosen, problem=why_not(ask, picked))


def why_not(ask: Ask, picked: PickedVersion) -> str:
    """Why who asks can try no image with a checkpoint; empty if they can."""
    if ask.hub.tryouts is None:
        return OFF
    if not ask.actor.name:
        return "who has an account tries images: sign in"
    if picked.manifest is None:
        return "it has no checkpoint: there are files only, or it is still being looked at"
    if not picked.manifest.head.num_classes:
        return f"it gives features, no classes: zoo finetune {ask.repo} --data FOLDER --save NAME"
    return ""


def try_form(ask: Ask) -> Answer:
    """What a checkpoint says of the image that the form has."""
    picked = pick(ask)
    page, refused = TryPage(chosen=picked.chosen, problem=why_not(ask, picked)), None
    try:
        with _admitted(ask, picked) as tryouts:
            body = _sent(ask, FORM_BYTES)
            fields = read_multipart(ask.call.headers.get("content-type", ""), body)
            output = fields.get("output", b"").decode(errors="replace").strip()
            page = replace(page, output=shortened(output, LETTERS))
            result = _answer(tryouts, picked, fields.get("image", b""), output)
            page = replace(page, answer=result)
    except ValueError as error:
        refused = Refused("BadRequest", str(error))
    except Refused as error:
        if error.code not in ABOUT_SENT:
            raise
        refused = error
    if refused is None:
        return show(site_of(ask), "try.html", page, headers=NO_STORE)
    page = replace(page, error=refused.message)
    shown = show(site_of(ask), "try.html", page, refused.status)
    headers = {**refused.answer().headers, **shown.headers, **NO_STORE}
    return replace(shown, headers=headers, code=refused.code, message=refused.message)


def try_image(ask: Ask) -> Answer:
    """What a checkpoint says of the image that is the body."""
    picked = pick(ask)
    with _admitted(ask, picked) as tryouts:
        result = _answer(tryouts, picked, _sent(ask, 0), ask.call.query.get("output", ""))
    return json_answer(result, headers=NO_STORE)


@contextmanager
def _admitted(ask: Ask, picked: PickedVersion) -> Iterator[Tryouts]:
    """What tries images, for who may ask it now.

    Raises:
        Refused: They may not, or have to wait.
    """
    if ask.hub.tryouts is None:
        raise Refused("NotImplemented", OFF)
    if not ask.actor.name:
        raise Refused("NoToken")
    if problem := why_not(ask, picked):
        raise Refused("BadRequest", problem)
    again = {"Retry-After": "10"}
    try:
        with ask.hub.tryouts.admitted(ask.actor.name):
            yield ask.hub.tryouts
    except QueueFull:
        raise Refused("Busy", "others try images: ask again soon", headers=again) from None
    except TooOften:
        text = f"one at a time, and {RATE} in a minute: wait a little"
        raise Refused("TooMany", text, headers=again) from None


def _sent(ask: Ask, more: int) -> bytes:
    """The body, of an image and ``more`` bytes at most."""
    most = TRIED_IMAGE_BYTES + more
    length = ask.call.headers.get("content-length", "0")
    if length.isdigit() and int(length) > most:
        raise Refused("TooLarge", LARGE)
    body = bytearray()
    for piece in ask.call.pieces:
        body += piece
        if len(body) > most:
            raise Refused("TooLarge", LARGE)
    return bytes(body)


def _answer(tryouts: Tryouts, picked: PickedVersion, image: bytes, output: str) -> TryoutResult:
    if not image:
        raise Refused("BadRequest", "no image was chosen")
    if len(image) > TRIED_IMAGE_BYTES:
        raise Refused("TooLarge", LARGE)
    if len(output) > LETTERS:
        text = f"a class of more than {LETTERS} letters is asked for by its number"
        raise Refused("BadRequest", text)
    answer = tryouts.ask(str(picked.checkpoint), image, output)
    if answer.problem:
        raise Refused("Failed" if answer.fault else "BadRequest", answer.problem)
    return _tried(answer, str(picked.checkpoint))


def _tried(answer: TryoutAnswer, checkpoint: str) -> TryoutResult:
    seen, *explained = _drawn(answer) or (None,)
    return TryoutResult(
        checkpoint=checkpoint,
        outputs=tuple(
            Value(name=shortened(each.name, LETTERS), value=each.value) for each in answer.outputs
        ),
        probable=answer.probable,
        seen=seen,
        explained=tuple(each for each in explained if each),
        unit=answer.unit,
        unexplained=answer.unexplained,
        guesses=answer.guesses,
    )


def _drawn(answer: TryoutAnswer) -> tuple[Drawn, ...]:
    return tuple(
        Drawn(
            url=_url(each),
            width=each.width,
            height=each.height,
            output=shortened(each.output, LETTERS),
            speaks=each.speaks,
        )
        for each in answer.pictures
        if 0 < each.width <= SIDE and 0 < each.height <= SIDE
    )


def _url(picture: Picture) -> str:
    pixels = pixels_of(picture.png, picture.width, picture.height)
    encoded = base64.b64encode(png(picture.width, picture.height, pixels)).decode()
    return f"data:image/png;base64,{encoded}"
