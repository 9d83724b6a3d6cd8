"""Remarks: what a client is told of a commit that was taken. It shows each to its user once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import islice

from zoo.domain.digest import Digest
from zoo.domain.snapshot import SnapshotFile
from zoo.domain.words import up_to
from zoo.errors import ZooError
from zoo.lookup.license import come_to, licenses
from zoo.serve.http.errors import Refused, header_line
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.info import ModelInfo, texts
from zoo.serve.hub.seen import VisibleNames, repo_in
from zoo.serve.keep.history import MAIN, Commit
from zoo.serve.keep.view import CARD, WEIGHTS

__all__ = ["remarks"]

LOG = logging.getLogger("zoo.serve")
MOST = 20
"""Parents, and ancestors of each, that are looked at."""


def remarks(ask: Ask, done: Commit, sent: Iterable[object]) -> Mapping[str, str]:
    """The header that says what is to be known of a commit; none if nothing is. What ``sent`` does
    not touch was told when it came.
    """
    files = [each for each in sent if isinstance(each, SnapshotFile)]
    weights = [each for each in files if each.path.endswith(WEIGHTS)]
    told = {"license": "", "safetensors": _unsound(weights)}
    try:
        if weights or any(each.path == CARD for each in files):
            told["license"] = _conflict(ask.knowing_all(), done)
    except (Refused, ZooError, OSError) as error:  # the commit was taken all the same
        LOG.warning("the license of %s is not looked at: %s", ask.repo, error)
    except Exception:
        LOG.exception("the license of %s is not looked at", ask.repo)
    told = {topic: text for topic, text in told.items() if text}
    if not told:
        return {}
    text = f"{' and '.join(told)} of {ask.repo}; {ask.repo}: {'; '.join(told.values())}"
    return {"X-HF-Warning": header_line(text)}


def _unsound(weights: Iterable[SnapshotFile]) -> str:
    """Of files that came as weights, those that are none."""
    paths = [f"{each.path:.100}" for each in weights if each.weights is None]
    why = "cannot be read as tensors, as if the end were missing: kept as sent, but no network"
    return f"{up_to(paths, 3)} {why}" if paths else ""


def _conflict(ask: Ask, done: Commit) -> str:
    """Where the license of a commit leaves out a limit of what it derives from, by its README or by
    its lineage, as far as whoever sent it may see that.
    """
    seen, info = VisibleNames(ask), _info(ask, ask.repo, done.manifest, done.at)
    above = [*_lineage(ask, seen, info)]
    for name in islice(texts(info.card.get("base_model")), MOST):
        above += _declared(ask, seen, name)
    return come_to(ask.repo, info.license, above).warning


def _info(ask: Ask, repo: str, digest: Digest, at: datetime) -> ModelInfo:
    view = None
    with suppress(ZooError, OSError):  # one that is not described yet
        view = ask.hub.views.of(digest, 0)
    return ModelInfo(ask, repo, digest, at, MAIN, view if view and view.sent else None)


def _lineage(ask: Ask, seen: VisibleNames, info: ModelInfo) -> Iterator[tuple[str, str | None]]:
    """The ancestors of a checkpoint that may be seen, with their licenses."""
    found = licenses(ask.hub.workspace, info.manifest) if info.manifest else ()
    for parent, license_ in islice(found, MOST):
        other = seen.parent(parent)
        if not other.hidden:
            yield other.name or other.digest, license_


def _declared(ask: Ask, seen: VisibleNames, name: str) -> Iterator[tuple[str, str | None]]:
    """A parent that a README names, and its ancestors: a repository here, or what a source lists
    under that name.
    """
    path = repo_in(name)
    if path and path != ask.repo and ask.may("read", path):
        version = ask.hub.history.version(path, MAIN)
        if version and version.entry.when:
            info = _info(ask, path, version.entry.manifest, version.entry.when)
            yield path, info.license
            yield from _lineage(ask, seen, info)
            return
    if path:
        yield path, ask.hub.workspace.registry.entry_licenses([path]).get(path)
