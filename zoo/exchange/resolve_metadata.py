"""Resolve the class names, the task and the preprocessing of imported weights, and who says so.

What nobody says is unknown, and the manifest says that: the architecture's own preprocessing, which
stands there as a manifest has one, is then a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from zoo.domain.manifest import GUESSED, SETTINGS, UNKNOWN, Manifest, Preprocessing
from zoo.domain.preprocessing import check_preprocessing
from zoo.domain.task import with_task
from zoo.errors import InvalidOption, Unsupported
from zoo.exchange.import_report import ImportReport
from zoo.exchange.metadata import OPTIONS, Metadata
from zoo.exchange.origin import Origin

__all__ = ["resolve_metadata", "restated"]


def resolve_metadata(
    manifest: Manifest, origin: Origin, metadata: Sequence[Metadata], taken: ImportReport
) -> tuple[Manifest, ImportReport]:
    """``manifest`` with what ``metadata`` says, by the best source first; and ``taken`` with who
    said it.

    Args:
        manifest: With the preprocessing of the network as it was built, and class names, if these
            are known.
        origin: What is known of the weights.
        metadata: What is said, by the user first.
        taken: What was taken of the file.

    Raises:
        InvalidOption: The user says what cannot be.
    """
    known = origin.preprocessing_by
    classes, who = manifest.classes, origin.classes_by if manifest.classes else ""
    for facts in metadata:
        if facts.classes and (facts.source == OPTIONS or not classes):
            if facts.source == OPTIONS:
                _check_count(facts.classes, manifest)
            if len(facts.classes) == manifest.head.num_classes:
                classes, who = facts.classes, facts.source
                break
    guessed = SETTINGS if "preprocessing" in manifest.unknown else manifest.unknown
    by_whom = {name: "" if name in guessed else known for name in SETTINGS}
    how, sources = _preprocessing(manifest.preprocessing, by_whom, metadata)
    unsaid = [name for name in SETTINGS if not sources.get(name)]
    by = ", ".join(dict.fromkeys(source for source in sources.values() if source))
    text = UNKNOWN if len(unsaid) == len(SETTINGS) else f"{UNKNOWN}: {', '.join(unsaid)}"
    provenance = dict(manifest.provenance)
    if unsaid or by != known:
        provenance["preprocessing"] = text if unsaid else by
    told_by = {facts.source: facts.guessed for facts in metadata}
    if still := [name for name, by in sources.items() if name in told_by.get(by, ())]:
        provenance[GUESSED] = ", ".join(still)
    if who and who != origin.classes_by:
        provenance["classes"] = who
    manifest = replace(manifest, classes=classes, preprocessing=how, provenance=provenance)
    manifest, task_by = _with_task(manifest, metadata)
    return manifest, replace(
        taken, classes=who, task=task_by, preprocessing=by, unknown=manifest.unknown
    )


def restated(manifest: Manifest, facts: Metadata) -> Manifest:
    """``manifest`` with the classes, the task and the preprocessing that the user says; what is
    not said stays as it is, known or not.

    Raises:
        InvalidOption: That cannot be.
    """
    provenance = dict(manifest.provenance)
    if facts.classes:
        _check_count(facts.classes, manifest)
        provenance["classes"] = OPTIONS
    if changes := _changes(facts, manifest.preprocessing.input_size[0]):
        unsaid = SETTINGS if "preprocessing" in manifest.unknown else manifest.unknown
        unsaid = tuple(name for name in SETTINGS if name in unsaid and name not in changes)
        before = provenance.get("preprocessing", "")
        known = "" if before.startswith(UNKNOWN) or len(changes) == len(SETTINGS) else before
        by = ", ".join(dict.fromkeys(filter(None, (*known.split(", "), OPTIONS))))
        provenance["preprocessing"] = f"{UNKNOWN}: {', '.join(unsaid)}" if unsaid else by
        guessed = provenance.pop(GUESSED, "").split(", ")
        if still := ", ".join(name for name in guessed if name and name not in changes):
            provenance[GUESSED] = still
    how = _with(manifest.preprocessing, changes)
    try:
        check_preprocessing(how)
    except Unsupported as error:
        raise InvalidOption(str(error)) from error
    classes = facts.classes or manifest.classes
    whole = replace(manifest, classes=classes, preprocessing=how, provenance=provenance)
    return _with_task(whole, [facts])[0]


def _with_task(manifest: Manifest, metadata: Sequence[Metadata]) -> tuple[Manifest, str]:
    """``manifest`` with the task that is said, and who says it; the user alone says another one
    than what is known.
    """
    for facts in metadata:
        if facts.task and (facts.source == OPTIONS or not (manifest.recipe or {}).get("task")):
            provenance = {**manifest.provenance, "task": facts.source}
            whole = with_task(manifest, facts.task)
            return replace(whole, provenance=provenance), facts.source
    return manifest, ""


def _check_count(classes: Sequence[str], manifest: Manifest) -> None:
    if len(classes) != (outputs := manifest.head.num_classes):
        raise InvalidOption(
            f"--classes has {len(classes):,} names, the weights have {outputs:,} outputs"
        )


def _preprocessing(
    how: Preprocessing, known: dict[str, str], metadata: Sequence[Metadata]
) -> tuple[Preprocessing, dict[str, str]]:
    """With who says each of its settings."""
    sources = dict(known)
    for facts in metadata:  # the best source first: a later one says only what nobody has said
        changes = _changes(facts, how.input_size[0])
        if facts.source != OPTIONS:
            changes = {name: value for name, value in changes.items() if not sources[name]}
        try:
            check_preprocessing(changed := _with(how, changes))
        except Unsupported as error:
            if facts.source == OPTIONS:
                raise InvalidOption(str(error)) from error
            continue
        how = changed
        names = SETTINGS if facts.as_default else changes
        sources |= {name: facts.source for name in names if name in changes or not sources[name]}
    return how, sources


def _changes(facts: Metadata, channels: int) -> dict[str, object]:
    values_of = ((name, getattr(facts, name)) for name in SETTINGS)
    changes = {name: value for name, value in values_of if value is not None and value != ()}
    for name in ("mean", "std"):
        values = changes.get(name)
        if values and len(values) == 1:
            changes[name] = values * channels
        elif values and len(values) != channels:
            if facts.source == OPTIONS:
                raise InvalidOption(
                    f"--{name} has {len(values)} values, images have {channels} channels"
                )
            del changes[name]
        if facts.source == OPTIONS and any(abs(value) > 1 for value in values or ()):
            raise InvalidOption(f"--{name} is on a scale of 0 to 1: divide by 255")
    return changes


def _with(how: Preprocessing, changes: dict[str, Any]) -> Preprocessing:
    size = changes.get("image_size") or how.input_size[1:]
    rest = {name: value for name, value in changes.items() if name != "image_size"}
    return replace(how, input_size=(how.input_size[0], *size), **rest)
