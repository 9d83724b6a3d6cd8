"""FolderRecord: what an exported folder says of its weights beside the network.

It lies in zoo's part of ``config.json``, which anybody may have written: it is bounded, counts only
for the very weights that it names by their hash, and is taken as stated, not as measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.domain.change import trained_on
from zoo.domain.digest import Digest
from zoo.domain.hashes import sha256_of
from zoo.domain.limits import RECORD_LETTERS, RECORD_METRICS
from zoo.domain.manifest import DECLARED, FOUND, Manifest, Parent
from zoo.domain.plain import Json, finite
from zoo.domain.reference import Reference
from zoo.errors import MALFORMED
from zoo.exchange.run_records import is_possible

__all__ = ["BY_FOLDER", "RECORD", "FolderRecord", "folder_record", "read_record"]

BY_FOLDER = "stated by the folder"
"""What the provenance of imported weights has of what only their folder says."""
RECORD = "record"
"""Where it is in zoo's part; versions before pass it over."""
RELATIONS = ("average", "finetune", "surgery", FOUND)
HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRecord:
    """What a folder says of its weights.

    Attributes:
        weights: The SHA-256 of each of its files of weights, in hex, by its name.
        metrics: Their figures.
        dataset: What they were trained on; empty if it does not say.
        parent: What they derive from; None if it does not say.
    """

    weights: Mapping[str, str]
    metrics: Mapping[str, float]
    dataset: str
    parent: Parent | None

    def is_of(self, files: Sequence[Path]) -> bool:
        """Whether it is of the weights in these files, which are hashed."""
        return all(self.weights.get(path.name) == sha256_of(path) for path in files)

    def stated_of(self, manifest: Manifest, *, with_parent: bool) -> Manifest:
        """``manifest``, of these weights, with all of it, as stated."""
        provenance = dict(manifest.provenance)
        if self.metrics:
            provenance["metrics"] = f"{BY_FOLDER}, not measured here"
        if self.dataset:
            provenance["dataset"] = self.dataset
        whole = replace(manifest, metrics=self.metrics, provenance=provenance)
        if self.parent is None or not with_parent:
            return whole
        provenance["parent"] = BY_FOLDER
        return replace(whole, parents=(replace(self.parent, relation=DECLARED),))


def folder_record(manifest: Manifest, weights: Mapping[str, str]) -> Json:
    """What an export says of a checkpoint with these files of ``weights``; empty if that is
    nothing.
    """
    record: Json = {}
    if manifest.metrics:
        record["metrics"] = dict(manifest.metrics)
    if dataset := trained_on(manifest):
        record["dataset"] = dataset
    if len(manifest.parents) == 1:  # one of several would pass for all that it derives from
        (parent,) = manifest.parents
        record["parent"] = {
            "ref": parent.ref,
            "manifest": str(parent.manifest),
            "relation": parent.relation,
        }
    return {**record, "weights": dict(weights)} if record else {}


def read_record(raw: object) -> FolderRecord | None:
    """Inverse of `folder_record`; what is malformed, or too much, is left out."""
    if not isinstance(raw, dict):
        return None
    weights, metrics = raw.get("weights"), raw.get("metrics")
    dataset = raw.get("dataset")
    return FolderRecord(
        weights=dict(_hashes(weights)) if isinstance(weights, dict) else {},
        metrics=dict(_figures(metrics)) if isinstance(metrics, dict) else {},
        dataset=dataset if isinstance(dataset, str) and _is_line(dataset) else "",
        parent=_parent(raw.get("parent")),
    )


def _hashes(weights: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, text in weights.items():
        if isinstance(text, str) and HASH.fullmatch(text):
            yield name, text


def _figures(metrics: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for name, value in list(metrics.items())[:RECORD_METRICS]:
        number = None if isinstance(value, bool | str) else finite(value)
        if number is None or not _is_line(name) or not is_possible(name, number):
            continue
        if name != "accuracy" or 0 <= number <= 1:
            yield name, number


def _parent(raw: object) -> Parent | None:
    try:
        digest = Digest.parse(raw["manifest"])  # type: ignore[index]
        ref, relation = str(Reference.parse(raw["ref"])), raw["relation"]  # type: ignore[index]
    except MALFORMED:
        return None
    if digest.algorithm != "blake3" or len(ref) > RECORD_LETTERS:
        return None
    return Parent(
        manifest=digest, relation=relation if relation in RELATIONS else "finetune", ref=ref
    )


def _is_line(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= RECORD_LETTERS and text.isprintable()
