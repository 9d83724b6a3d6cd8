"""Card: what is told of a checkpoint where others find it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice

from zoo.domain.change import trained_on
from zoo.domain.digest import Digest
from zoo.domain.manifest import DECLARED, FOUND, Manifest
from zoo.domain.task import COUNTS, PIPELINES, TASKS, with_intervals
from zoo.domain.words import plural, up_to

__all__ = [
    "ancestors",
    "card_data",
    "card_text",
    "is_made",
    "only_zoo_line",
    "pipeline",
    "plain_text",
]

SHOWN, CLASSES = 50, 20
"""Ancestors and classes that a card lists."""
MADE = "---\n# zoo:made {}\n"
"""How a card that was made of a manifest begins, in YAML, with the SHA-256 of all that follows."""
HOW = {FOUND: "found to derive from", DECLARED: "said to derive from"}
"""Relations that are not what a training did."""


def pipeline(manifest: Manifest) -> str:
    """What the HF Hub calls a checkpoint's task."""
    if not manifest.head.num_classes:
        return "image-feature-extraction"
    task = (manifest.recipe or {}).get("task", "classification")
    return PIPELINES[task][0] if task in TASKS else "image-classification"


def card_data(manifest: Manifest, bases: Sequence[str]) -> dict[str, object]:
    """What the front matter of a checkpoint's card says, without what is unknown; ``bases`` are
    repositories or names of what it derives from.
    """
    facts = {
        "license": manifest.license,
        "library_name": manifest.backbone.plugin,
        "pipeline_tag": pipeline(manifest),
        "tags": ["zoo", manifest.backbone.plugin],
        "base_model": bases,
    }
    return {key: value for key, value in facts.items() if value}


def ancestors(manifest: Manifest) -> Iterator[str]:
    """What a checkpoint derives from, as a list in Markdown, line by line."""
    depths: dict[Digest | None, int] = {None: 0}
    for child, parent in islice(manifest.lineage(), SHOWN):
        depth = depths[child]
        depths[parent.manifest] = depth + 1
        how = HOW.get(parent.relation, f"{parent.relation} of")
        yield f"{'  ' * depth}- {how} `{parent.ref}`, {parent.manifest}"
    if (more := sum(1 for _ in manifest.lineage()) - SHOWN) > 0:
        yield f"- and {more} more"


def only_zoo_line(manifest: Manifest, why: str) -> str:
    """What a card says first of a checkpoint that no other library loads, and ``why``."""
    return (
        f"**Only zoo loads this checkpoint**, by `zoo pull` or `zoo import`: "
        f"{manifest.backbone.plugin} does not, for {plain_text(why)}."
    )


def card_text(
    digest: Digest, manifest: Manifest, front: Mapping[str, object], remarks: Sequence[str]
) -> str:
    """The README of a checkpoint that brings none, with the ``front`` matter of `card_data`; the
    ``remarks`` are what is to be read first. The same checkpoint may have several names, and who
    reads this may not know of them all: it has none.
    """
    how, data = manifest.preprocessing, plain_text(trained_on(manifest))
    size = "x".join(map(str, how.input_size))
    # JSON is YAML, whatever is in the texts.
    lines = [*(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---", ""]
    lines += [f"# {_title(manifest, data)}"]
    for remark in remarks:
        lines += ["", remark]
    lines += ["", f"Checkpoint {digest} of a zoo."]
    lines += ["", f"Images: {size}, {how.interpolation}, mean {how.mean}, std {how.std}."]
    if manifest.classes:
        classes = [f"`{plain_text(name)}`" for name in manifest.classes]
        lines += ["", f"Classes ({len(manifest.classes)}): {up_to(classes, CLASSES)}"]
    if manifest.metrics:
        figures = with_intervals(manifest.metrics).items()
        rows = (f"| {COUNTS.get(name, name)} | {value} |" for name, value in figures)
        lines += ["", "## Results", "", *_whence(manifest, data)]
        lines += ["| metric | value |", "| --- | --- |", *rows]
    if manifest.parents:
        lines += ["", "## Lineage", "", *ancestors(manifest)]
    text = "\n".join(lines) + "\n"
    return MADE.format(sha256(text.encode()).hexdigest()) + text


def is_made(data: bytes) -> bool:
    """Whether a README is as `card_text` made it: nobody has written anything in it."""
    begin = len(MADE.format("0" * 64))
    return data[:begin] == MADE.format(sha256(data[begin:]).hexdigest()).encode()


def _title(manifest: Manifest, data: str) -> str:
    outputs = manifest.head.num_classes
    title = plain_text(manifest.backbone.shown)
    title += f", {plural(outputs, 'output')}" if outputs else ", without a head"
    return f"{title}, trained on {data}" if data else title


def _whence(manifest: Manifest, data: str) -> Iterator[str]:
    """Where its figures are from, if they were not measured here, and of which data they are."""
    source = plain_text(manifest.provenance.get("metrics", ""))
    of = f"The data set is said to be {data}." if data else "Of which data they are is not known."
    if source:
        yield f"The figures are {source}. {of}"
        yield ""


def plain_text(text: str) -> str:
    """Text that is no markup, whatever it holds."""
    return "".join(char if char.isprintable() and char not in "`<>|" else "?" for char in text)
