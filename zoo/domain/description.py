"""Description: what a manifest says of the network itself. It travels beside exported weights."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.domain.adapter import adapter_of
from zoo.domain.manifest import UNKNOWN, Manifest
from zoo.domain.plain import Json
from zoo.domain.surgery import Surgery
from zoo.domain.task import TASKS, task_of
from zoo.errors import Unsupported

__all__ = ["KEY", "described", "description", "only_zoo_builds", "only_zoo_loads"]

KEY = "zoo"
"""Where it is in ``config.json``; other libraries read past it."""
FORMAT = 1
"""That of a description: a manifest has one of its own, for its lineage."""
TELLS = ("backbone", "head", "preprocessing", "classes", "license")
TASK = "task"
"""What the outputs mean, where they are no classes; versions before pass it over."""
PLAIN_HEADS = ("native", "linear")


def description(manifest: Manifest) -> Json:
    """What rebuilds the network of a checkpoint and feeds it; plain data for JSON."""
    whole = manifest.to_json()
    stated = manifest.provenance.get("preprocessing", "")
    guessed = {UNKNOWN: stated} if stated.startswith(UNKNOWN) else {}
    learned = task_of(manifest)
    task = {} if learned == "classification" else {TASK: learned}
    return {"format": FORMAT, **{name: whole[name] for name in TELLS}, **guessed, **task}


def described(raw: Mapping[str, object]) -> Manifest:
    """Inverse of `description`: a manifest without weights.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is malformed.
        Unsupported: It is of another format version, of a surgery that is not known here, or has
            an adapter.
    """
    if raw["format"] != FORMAT:
        raise Unsupported(f"description format {raw['format']}; this program reads {FORMAT}")
    blank: dict[str, object] = {"weights": [], "files": [], "metrics": {}, "parents": []}
    if UNKNOWN in raw:  # versions before pass it over
        blank["provenance"] = {"preprocessing": raw[UNKNOWN]}
    if raw.get(TASK) in TASKS[1:]:
        blank["recipe"] = {TASK: raw[TASK]}
    manifest = Manifest.from_json({**blank, **{name: raw[name] for name in TELLS}})
    if Surgery.parse(manifest.backbone.options).lora is not None:
        raise Unsupported(
            "its weights are those of a parent, and an adapter beside them: zoo pull NAME --from "
            "the URL of the server gets both; zoo export writes them as one"
        )
    return manifest


def only_zoo_builds(manifest: Manifest) -> str | None:
    """Why the network's own library cannot build it; None if it can."""
    if manifest.head.kind not in PLAIN_HEADS:
        return f"its head is of the kind '{manifest.head.kind}'"
    surgery = Surgery.parse(manifest.backbone.options)
    if surgery.taps:
        return f"its head gets features of {', '.join(surgery.ends)}"
    if surgery.truncate:
        return f"it is truncated at {surgery.truncate}"
    if surgery.without:
        return f"it is without {', '.join(surgery.without)}"
    return "its fully connected layers are convolutions" if surgery.convolutional else None


def only_zoo_loads(manifest: Manifest) -> str | None:
    """Why no other library loads the files that a checkpoint has in a store, where an export may
    write others (`only_zoo_builds`); None if its own does.
    """
    if adapter_of(manifest):
        return "its weights are an adapter beside its base: zoo export merges them"
    return only_zoo_builds(manifest)
