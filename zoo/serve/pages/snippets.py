"""Snippets: how to use a repository, in lines to copy that work as they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from shlex import quote as shell
from urllib.parse import quote

from zoo.domain.description import KEY, only_zoo_loads
from zoo.domain.manifest import Manifest
from zoo.domain.network import CONFIG
from zoo.domain.reference import DEFAULT_TAG
from zoo.errors import Unavailable
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.history import ID, MAIN
from zoo.serve.pages.chosen import PickedVersion

__all__ = ["Snippet", "only_zoo", "snippets"]

LIBRARIES = "timm", "transformers"
"""Those that load what zoo has exported."""
TOKEN = "HF_TOKEN=zoo_XXXX"  # noqa: S105 - none
"""In the place of a token: a header takes ASCII alone, also from who pastes this as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """Lines to copy for a ``tool``, in a ``language``, and what is to be known first."""

    tool: str
    language: str
    text: str
    note: str = ""


def snippets(ask: Ask, picked: PickedVersion) -> tuple[Snippet, ...]:
    """How to use what a page is about; nothing if there is nothing yet."""
    if picked.digest is None:
        return ()
    if ask.hub.alone:
        return tuple(_own(ask, picked))
    snippets = [_zoo(ask, picked)] if picked.manifest and not _is_commit(picked) else []
    if picked.manifest and _has_config(ask, picked):
        snippets += _libraries(ask, picked, picked.manifest)
    snippets.append(_hub(ask, picked))
    if file := _file(picked):
        snippets.append(_curl(ask, picked, file))
    return tuple(snippets)


def only_zoo(picked: PickedVersion) -> str:
    """Why its own library does not load it; empty where it does, or is none of `LIBRARIES`."""
    manifest = picked.manifest
    if manifest is None or manifest.backbone.plugin not in LIBRARIES:
        return ""
    why = only_zoo_loads(manifest)
    return f"{manifest.backbone.plugin} does not load it, for {why}" if why else ""


def _is_commit(picked: PickedVersion) -> bool:
    return ID.fullmatch(picked.chosen.revision) is not None


def _revision(picked: PickedVersion) -> str:
    """The revision, unless it is the one that clients take where none is said."""
    return "" if picked.chosen.revision == MAIN else picked.chosen.revision


def _exports(ask: Ask) -> str:
    token = "" if ask.access.level == "public" else f" {TOKEN}"
    return f"export HF_ENDPOINT={shell(ask.call.base)}{token}"


def _name(picked: PickedVersion) -> str:
    """What commands call it."""
    tag = _revision(picked)
    return f"{picked.chosen.repo}:{tag}" if tag and tag != DEFAULT_TAG else picked.chosen.repo


def _own(ask: Ask, picked: PickedVersion) -> Iterator[Snippet]:
    """In one's own zoo, which answers no other program."""
    if picked.manifest is None or picked.checkpoint is None:
        return
    library = picked.manifest.backbone.plugin
    name = picked.checkpoint.short if _is_commit(picked) else _name(picked)
    home = f"export ZOO_HOME={shell(str(ask.hub.workspace.root))}"
    text = f"{home}\npython -c \"import zoo; print(zoo.open().load('{name}'))\""
    yield Snippet(tool="zoo", language="shell", text=text)
    folder = f"{picked.chosen.repo.partition('/')[2]}-model"
    loads = {
        "timm": f"import timm; print(timm.create_model('local-dir:{folder}', pretrained=True))",
        "transformers": (
            f"import transformers as t; print(t.AutoModel.from_pretrained('{folder}'))"
        ),
    }
    if library in loads and _has_config(ask, picked):
        text = f'{home}\nzoo export {shell(name)} {shell(folder)}\npython -c "{loads[library]}"'
        yield Snippet(tool=library, language="shell", text=text)


def _zoo(ask: Ask, picked: PickedVersion) -> Snippet:
    name, public = _name(picked), ask.access.level == "public"
    return Snippet(
        tool="zoo",
        language="shell",
        text=(
            f"zoo pull {shell(name)} --from {shell(ask.call.base)}\n"
            f"python -c \"import zoo; print(zoo.open().load('{name}'))\""
        ),
        note="" if public else f"once: zoo login {ask.call.base}",
    )


def _libraries(ask: Ask, picked: PickedVersion, manifest: Manifest) -> list[Snippet]:
    """By the libraries that build the network."""
    revision, library = _revision(picked), manifest.backbone.plugin
    at = f"@{revision}" if revision else ""
    snippets = []
    if library == "timm":
        text = (
            f"{_exports(ask)}\n"
            f"python -c \"import timm; print(timm.create_model('hf-hub:{ask.repo}{at}', "
            f'pretrained=True))"'
        )
        snippets.append(Snippet(tool="timm", language="shell", text=text))
    if library in LIBRARIES:
        kind = "AutoModelForImageClassification" if manifest.head.num_classes else "AutoModel"
        rest = f", revision='{revision}'" if revision else ""
        text = (
            f"{_exports(ask)}\n"
            f'python -c "from transformers import {kind}; '
            f"print({kind}.from_pretrained('{ask.repo}'{rest}))\""
        )
        snippets.append(Snippet(tool="transformers", language="shell", text=text))
    return snippets


def _has_config(ask: Ask, picked: PickedVersion) -> bool:
    """Whether clients find a ``config.json`` that their library builds a network by, as far as that
    is known without waiting. Of a network that only zoo builds, what was made is for zoo alone.
    """
    assert picked.digest
    if only_zoo(picked):
        return False
    with suppress(Unavailable):
        file = ask.hub.views.of(picked.digest, 0).file(CONFIG)
        return file is not None and not (file.text and json.loads(file.text).keys() <= {KEY})
    return picked.snapshot is None


def _hub(ask: Ask, picked: PickedVersion) -> Snippet:
    revision = _revision(picked)
    rest = f" --revision {shell(revision)}" if revision else ""
    text = f"{_exports(ask)}\nhf download {ask.repo}{rest}"
    return Snippet(tool="hf", language="shell", text=text)


def _file(picked: PickedVersion) -> str:
    """The file that most people want: the weights, else the first one."""
    if picked.snapshot:
        names = [file.path for file in picked.snapshot.files]
        return next((name for name in names if name.endswith(".safetensors")), (names or [""])[0])
    weights = picked.manifest.weights if picked.manifest else ()
    # Of several files one alone is not the weights: shards, or those without their adapter.
    return weights[0].name if len(weights) == 1 else ""


def _curl(ask: Ask, picked: PickedVersion, file: str) -> Snippet:
    revision = quote(picked.chosen.revision, safe="")
    url = f"{ask.call.base}/{ask.repo}/resolve/{revision}/{quote(file)}"
    text = f"curl -fLO {shell(url)}"
    if ask.access.level != "public":
        header = '-H "Authorization: Bearer $HF_TOKEN"'
        text = f"export {TOKEN}\ncurl -fLO {header} {shell(url)}"
    return Snippet(tool="curl", language="shell", text=text)
