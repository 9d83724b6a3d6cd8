"""Pull a checkpoint from wherever it is; push one to a store, or publish it at the model hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from zoo.domain.change import Change
from zoo.domain.description import only_zoo_loads
from zoo.domain.digest import Digest
from zoo.domain.location import hub_address, is_http
from zoo.domain.plain import Json
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.result import Result, plain
from zoo.errors import (
    Forbidden,
    InvalidOption,
    InvalidReference,
    Protected,
    Unsigned,
    ZooError,
)
from zoo.lookup.details import warning_of
from zoo.transfer import sync
from zoo.transfer.signed import check_published
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.domain.catalog import Release
    from zoo.exchange.hub_cache import Filled
    from zoo.exchange.publishing import Published
    from zoo.transfer.copy import Copied

__all__ = ["Pulled", "Pushed", "pull", "push", "push_all_tags"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Pulled(Result):
    """A checkpoint that was brought in.

    Attributes:
        ref: Its name here.
        manifest: Its identity.
        moved_from: What the name pointed at before, if that was another checkpoint.
        change: What differs from that for those who use the name.
        remote: The store it came from, as that was named; empty if it was published.
        copied: What came from there.
        release: What was published.
        hub_cache: Where it is in the cache of huggingface_hub, if that was asked for.
    """

    ref: Reference
    manifest: Digest
    moved_from: Digest | None = None
    change: Change | None = None
    remote: str = ""
    copied: Copied | None = None
    release: Release | None = None
    hub_cache: Filled | None = None

    def to_json(self) -> Json:
        """Plain data for JSON."""
        named = ("ref", "manifest", "moved_from", "change")
        data: dict[str, object] = {name: plain(getattr(self, name)) for name in named}
        if self.copied is not None:
            data |= _counts(self.copied, "received")
            for field in ("deprecated", "signed_by"):
                if text := getattr(self.copied, field):
                    data[field] = text
        if (release := self.release) is not None:
            data |= {
                "source": release.source,
                "locator": release.locator,
                "revision": release.revision,
            }
        if self.hub_cache is not None:
            data["hub_cache"] = self.hub_cache.to_json()
        return data


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Pushed(Result):
    """A checkpoint that was sent.

    Attributes:
        manifest: Its identity.
        to: Where, as that was named.
        ref: Its name in the store.
        copied: What was sent to the store.
        published: What was published, if that was at the model hub.
        warning: What its training, import or `zoo verify` said against it, and where its license
            leaves out a limit of what it derives from; else empty.
        only_zoo: Why clients of the hub do not load it from the server that it was sent to; empty
            where they do, and of stores that are no server.
    """

    manifest: Digest
    to: str
    ref: Reference | None = None
    copied: Copied | None = None
    published: Published | None = None
    warning: str = ""
    only_zoo: str = ""

    def to_json(self) -> Json:
        """Plain data for JSON."""
        if self.published is not None:
            return self.published.to_json()
        data: dict[str, object] = {"ref": str(self.ref), "manifest": str(self.manifest)}
        if (copied := self.copied) is not None:
            data |= {
                "moved_from": plain(copied.moved_from),
                "change": plain(copied.change),
                **_counts(copied, "sent"),
                "shared_read": copied.read,
                "damaged_bases": sorted(map(str, copied.damaged)),
                "signatures": copied.signatures,
            }
        texts = {"warning": self.warning, "only_zoo": self.only_zoo}
        return data | {name: text for name, text in texts.items() if text}


def _counts(copied: Copied, done: str) -> dict[str, int]:
    return {
        "logical_bytes": copied.logical_bytes,
        f"{done}_bytes": copied.sent_bytes,
        f"{done}_objects": copied.sent_objects,
        "shared_objects": copied.shared_objects,
        "healed_objects": len(copied.healed),
    }


def pull(
    workspace: Workspace,
    name: str,
    *,
    remote: str | None = None,
    source: str | None = None,
    save: str | None = None,
    force: bool = False,
    into_hf_cache: bool = False,
    progress: Progress = silent,
) -> Pulled:
    """Bring in ``name``, as `zoo.Zoo.pull` says.

    Where neither ``remote`` nor ``source`` is given, a remote that was fetched and has it counts,
    unless a catalog publishes something under that name; else what is published.
    """
    if remote and source:
        raise InvalidOption("--from names a store, --source a publisher: give one of them")
    remote = remote or (None if source else sync.holder(workspace, name))
    if not into_hf_cache:
        return _pull(workspace, name, remote, source, save, force=force, progress=progress)
    if not remote:
        raise InvalidOption("--into-hf-cache needs --from: https://zoo.lab.org, or hf://org/name")
    from zoo.exchange.hub_cache import fill_hub_cache, repository_at

    repository = repository_at(workspace, name, remote)
    done = _pull(workspace, name, remote, source, save, force=force, progress=progress)
    _, held = workspace.names.target(str(done.ref))  # all files, not those of a checkpoint alone
    filled = fill_hub_cache(workspace, held, repository, progress)
    return replace(done, hub_cache=filled)


def _pull(
    workspace: Workspace,
    name: str,
    remote: str | None,
    source: str | None,
    save: str | None,
    *,
    force: bool,
    progress: Progress,
) -> Pulled:
    address = hub_address(remote) if remote else None
    if not remote or address:
        if save:
            raise InvalidOption(
                "--as is for what comes from a store; what is published is kept under the name "
                "NAME: zoo pull NAME --from hf://…"
            )
        return _pull_published(workspace, name, address, source, force=force, progress=progress)
    with _another_name():
        ref, copied = sync.pull(workspace, name, remote, save=save, force=force, progress=progress)
    return Pulled(
        ref=ref,
        manifest=copied.manifest,
        moved_from=copied.moved_from,
        change=copied.change,
        remote=remote,
        copied=copied,
    )


def _pull_published(
    workspace: Workspace,
    name: str,
    address: str | None,
    source: str | None,
    *,
    force: bool,
    progress: Progress,
) -> Pulled:
    """From a repository of the model hub; without an ``address``, from a source that lists it."""
    with suppress(InvalidReference):  # what takes it says what is wrong
        _check_published(workspace, Reference.parse(name), listed=not address, progress=progress)
    # What comes from a store needs none of what builds networks.
    from zoo.exchange.acquire import acquire, acquire_at

    if address:
        kept, release = acquire_at(workspace, name, address, force=force, progress=progress)
    else:
        kept, release = acquire(workspace, name, source=source, force=force, progress=progress)
    return Pulled(
        ref=kept.ref,
        manifest=kept.manifest,
        moved_from=kept.moved_from,
        change=kept.change,
        release=release,
    )


def _check_published(
    workspace: Workspace, ref: Reference, *, listed: bool, progress: Progress
) -> None:
    """See that what is published may be called ``ref`` here; of what has to be ``listed``, whether
    it is comes first.
    """
    try:
        check_published(workspace, ref)
    except Unsigned:
        if listed:
            from zoo.exchange.acquire import entry_of

            entry_of(workspace, str(ref), progress)
        raise


@contextmanager
def _another_name() -> Iterator[None]:
    try:
        yield
    except InvalidReference as error:
        if error.hint == "":  # it is well formed, but not every system can hold it
            error.hint = "a pull takes another name as --as NAME"
        raise


def push(
    workspace: Workspace,
    name: str,
    to: str,
    *,
    save: str | None = None,
    force: bool = False,
    smallest: bool = False,
    private: bool = False,
    note: str = "",
    progress: Progress = silent,
) -> Pushed:
    """Send ``name`` to the store ``to``, or publish it at ``hf://org/name``, as `zoo.Zoo.push`."""
    if address := hub_address(to):
        if save:
            raise InvalidOption(f"--as is for stores: {to} is itself a name")
        from zoo.exchange.publishing import publish

        done = publish(workspace, name, address, force=force, private=private, note=note)
        warning = warning_of(workspace, done.manifest)
        return Pushed(manifest=done.manifest, to=address, published=done, warning=warning)
    if private:
        raise InvalidOption("--private is for hf:// only")
    send = partial(sync.push, workspace, name, to, save=save, force=force)
    try:
        ref, copied = send(smallest=smallest, note=note, progress=progress)
    except (Forbidden, Protected) as error:
        if isinstance(error, Protected) or not error.mend:  # else it is no matter of the name
            other = "send it under a name that you may move: push --as NAME"
            error.hint = f"{error.advice}\nor {other}" if error.advice else other
        raise
    return _pushed(workspace, to, ref, copied)


def _pushed(workspace: Workspace, to: str, ref: Reference, copied: Copied) -> Pushed:
    warning, why = warning_of(workspace, copied.manifest), ""
    if is_http(workspace.remotes.all().get(to, to)):
        manifest = workspace.store.manifest(copied.manifest)
        why = only_zoo_loads(manifest) or ""
    return Pushed(
        manifest=copied.manifest, to=to, ref=ref, copied=copied, warning=warning, only_zoo=why
    )


def push_all_tags(
    workspace: Workspace,
    name: str,
    to: str,
    *,
    force: bool = False,
    smallest: bool = False,
    note: str = "",
    progress: Progress = silent,
) -> Iterator[Pushed]:
    """Send ``name`` with all its tags to the store ``to``, as `zoo.Zoo.push_all_tags`."""
    if hub_address(to):
        raise InvalidOption(f"{to} takes one checkpoint at a time: all tags go to a store")
    sent: list[str] = []
    try:
        for ref, copied in sync.push_all_tags(
            workspace, name, to, force=force, smallest=smallest, note=note, progress=progress
        ):
            sent.append(str(ref))
            yield _pushed(workspace, to, ref, copied)
    except (ZooError, KeyboardInterrupt) as error:
        remark = f"sent before that: {', '.join(sent)}"
        if sent and isinstance(error, ZooError):
            error.hint = f"{error.advice}\n{remark}".strip()
        elif sent:
            error.add_note(remark)
        raise
