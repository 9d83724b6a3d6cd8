"""Info: what is told of a repository."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, WeightsFile
from zoo.domain.network import CONFIG
from zoo.domain.plain import Json
from zoo.errors import NoCheckpoint
from zoo.lookup.edited import children
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.hub.ask import Ask, iso_time
from zoo.serve.hub.seen import VisibleNames, readable_name, repo_in
from zoo.serve.keep.card import card_metadata
from zoo.serve.keep.git import pointer
from zoo.serve.keep.history import MAIN, Commit
from zoo.serve.keep.view import View, ViewedFile, config_summary
from zoo.store.manifests import checkpoint_of

__all__ = ["ModelInfo", "auth_check", "chosen", "lfs", "model_info", "texts"]

USUAL = (
    "author",
    "cardData",
    "config",
    "createdAt",
    "disabled",
    "downloads",
    "gated",
    "lastModified",
    "library_name",
    "likes",
    "pipeline_tag",
    "private",
    "safetensors",
    "sha",
    "siblings",
    "tags",
    "usedStorage",
)
"""What is told where nobody chooses."""


WEIGHTS, SHARD = "model.safetensors", re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


def lfs(file: ViewedFile) -> Json:
    """What is told of a file that is kept by Git LFS; empty of others."""
    if not file.sha256:
        return {}
    size = len(pointer(file.sha256, file.size))
    return {
        "lfs": {"sha256": file.sha256, "oid": file.sha256, "size": file.size, "pointerSize": size}
    }


@dataclass
class ModelInfo:
    """A repository; what is expensive to know is worked out if it is asked for.

    Attributes:
        ask: The request.
        repo: The repository.
        digest: The checkpoint that it has.
        modified: Since when.
        revision: What the commit is called that it has it in.
        view: Its files, if they were sent.
    """

    ask: Ask
    repo: str
    digest: Digest
    modified: datetime
    revision: str
    view: View | None = None

    @cached_property
    def commit(self) -> Commit:
        """The commit."""
        return self.ask.commit(self.revision, self.repo)

    @cached_property
    def manifest(self) -> Manifest | None:
        """What the checkpoint says of itself; None if it holds files only."""
        with suppress(NoCheckpoint):
            return self.ask.manifest(self.digest)
        return None

    @cached_property
    def weights(self) -> tuple[WeightsFile, ...]:
        """The files of the network: of files that are no checkpoint, those that clients load."""
        if self.manifest:
            return self.manifest.weights
        files = {file.name: file for file in self.ask.hub.files.document(self.digest).weights}
        if whole := files.get(WEIGHTS):
            return (whole,)
        return tuple(file for name, file in files.items() if SHARD.fullmatch(name))

    @cached_property
    def card(self) -> Json:
        """What it says of itself, first what its README does, if that was sent."""
        metadata = card_metadata(self.manifest) if self.manifest else {}
        return {**metadata, **(json.loads(self.view.front) if self.view else {})}

    def text(self, name: str) -> str | None:
        """What the card says under a name, where that is a text."""
        value = self.card.get(name)
        return value if isinstance(value, str) else None

    @property
    def license(self) -> str | None:
        """Its license id; where that is ``other``, the name that the card gives it."""
        named = ", ".join(texts(self.card.get("license")))
        return self.text("license_name") or named if named == "other" else named or None

    @property
    def tags(self) -> list[str]:
        """The words that it is found by."""
        tags = {*texts(self.card.get("tags"))}
        tags |= {text for name in ("library_name", "pipeline_tag") if (text := self.text(name))}
        tags |= {"safetensors"} if self.weights else set()
        for name in ("license", "base_model"):
            tags |= {f"{name}:{text}" for text in texts(self.card.get(name))}
        return sorted(tags)

    @property
    def storage(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.ask.view(self.commit).files)

    def siblings(self) -> list[Json]:
        """The files, with their sizes and ids if they are asked for."""
        blobs = self.ask.call.flag("blobs")
        return [
            {"rfilename": file.path}
            | ({"size": file.size, "blobId": file.git, **lfs(file)} if blobs else {})
            for file in self.ask.view(self.commit).files
        ]

    def safetensors(self) -> Json | None:
        """How many numbers the weights have, by their type."""
        counts: Counter[str] = Counter()
        for file in self.weights:
            for tensor in file.tensors:
                counts[tensor.dtype] += math.prod(tensor.shape)
        return {"parameters": counts, "total": counts.total()} if counts else None

    def config(self) -> Json:
        """What transformers look at before they download anything."""
        view = self.ask.view(self.commit)
        if view.sent:
            return config_summary(view.config)
        file = view.file(CONFIG)
        return config_summary(file.text if file and file.text else "")

    def bases(self) -> list[str] | None:
        """The other repositories that it derives from, by its lineage or its card, of those that
        whoever asks may read.
        """
        seen = VisibleNames(self.ask)
        parents = [seen.parent(each) for each in (self.manifest.parents if self.manifest else ())]
        names = [each.name for each in parents if not each.hidden]
        all_rules = self.ask.knowing_all()
        names += [readable_name(all_rules, each) for each in texts(self.card.get("base_model"))]
        paths = dict.fromkeys(map(repo_in, names))
        return [path for path in paths if path not in ("", self.repo)] or None

    def children(self) -> int | None:
        """How many other repositories, of those that whoever asks may read, have what derives
        directly from it.
        """
        digest = checkpoint_of(self.ask.hub.workspace.store, self.digest)
        if digest is None:
            return None
        named = VisibleNames(self.ask).names(children(self.ask.hub.workspace, digest))
        return len({ref.path for refs in named.values() for ref in refs} - {self.repo})

    def created(self) -> str:
        """When the oldest commit was made."""
        history = self.ask.hub.history
        newest = history.version(self.repo, MAIN) or history.versions(self.repo)[0]
        return iso_time(history.began(newest))

    def value(self, name: str) -> object:
        """What is told under a name; None if nothing is."""
        known: Mapping[str, Callable[[], object]] = {
            "author": lambda: self.repo.partition("/")[0],
            "baseModels": self.bases,
            "cardData": lambda: self.card or None,
            "childrenModelCount": self.children,
            "config": self.config,
            "createdAt": self.created,
            "disabled": lambda: False,
            "downloads": lambda: self.ask.hub.accounts.downloads.of(self.repo).lately,
            "downloadsAllTime": lambda: self.ask.hub.accounts.downloads.of(self.repo).all,
            "gated": lambda: False,
            "lastModified": lambda: iso_time(self.modified),
            "library_name": lambda: self.text("library_name"),
            "likes": lambda: 0,  # not counted; clients before 0.21 want a number
            "pipeline_tag": lambda: self.text("pipeline_tag"),
            "private": lambda: self.ask.rules.access(self.repo).level != "public",
            "safetensors": self.safetensors,
            "sha": lambda: self.commit.id,
            "siblings": self.siblings,
            "tags": lambda: self.tags,
            "usedStorage": lambda: self.storage,
        }
        return known[name]() if name in known else None

    def to_json(self, names: Iterable[str]) -> Json:
        """What is told under these names."""
        values = ((name, self.value(name)) for name in names)
        return {"_id": self.repo, "id": self.repo, "modelId": self.repo} | {
            name: value for name, value in values if value is not None
        }


def texts(value: object) -> list[str]:
    """A text, or several, as a card has them."""
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, str)]


def chosen(ask: Ask, usual: Iterable[str]) -> Iterable[str]:
    """The names of what is to be told: those that are asked for, else the usual ones."""
    asked = ask.call.query.getlist("expand") or ask.call.query.getlist("expand[]")
    return asked or usual


def model_info(ask: Ask, revision: str = "") -> Answer:
    """What is told of a repository at a revision; of an empty one, that it is there, unless its
    commit is asked for.
    """
    commitless = not revision or "sha" not in chosen(ask, USUAL)
    if commitless and ask.is_empty(revision or MAIN):
        return json_answer(_empty(ask))
    commit = ask.commit(revision or MAIN)
    view = ask.view(commit)
    sent = view if view.sent else None
    described = ModelInfo(ask, ask.repo, commit.manifest, commit.at, commit.id, sent)
    return json_answer(described.to_json(chosen(ask, USUAL)))


def _empty(ask: Ask) -> Json:
    """What is told of a repository without a version: what clients before 0.21 want."""
    return {
        **dict.fromkeys(("_id", "id", "modelId"), ask.repo),
        "author": ask.repo.partition("/")[0],
        "private": ask.access.level != "public",
        **dict.fromkeys(("disabled", "gated"), False),
        **dict.fromkeys(("downloads", "likes"), 0),
        **dict.fromkeys(("siblings", "tags"), ()),
    }


def auth_check(ask: Ask) -> Answer:
    """That the repository is there, and that who asks may do what the route is for."""
    if not ask.hub.exists(ask.repo):
        raise ask.no_repo()
    return json_answer({})
