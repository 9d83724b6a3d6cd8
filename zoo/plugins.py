"""Plugins: found by entry point, imported on use."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module, metadata
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from zoo import packages
from zoo.contracts import Backbone, Backend, Catalog, Head, Known, Naming, Tracker
from zoo.domain.hierarchy import TRACE_VERSION
from zoo.domain.result import Result
from zoo.errors import BrokenPlugin, MissingPackage, UnknownName, ZooError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = [
    "architectures",
    "backbone",
    "backbone_version",
    "blaming",
    "catalog",
    "check_packages",
    "head",
    "installed",
    "known",
    "names",
    "origin",
    "own_names",
    "remote",
    "tracker",
]

CONTRACTS: dict[str, type] = {
    "zoo.backbones": Backbone,
    "zoo.sources": Catalog,
    "zoo.heads": Head,
    "zoo.remotes": Backend,
    "zoo.trackers": Tracker,
}


def backbone(name: str) -> Backbone:
    """The backbone plugin ``name``. Raises as `load` does."""
    return cast(Backbone, _instance("zoo.backbones", name))


def backbone_version(name: str) -> str:
    """What the hierarchies of a backbone plugin depend on: its own code, the library that it wraps,
    and how zoo traces.

    The plugin is not imported, as that takes seconds. A function ``version`` in the package that
    its module lies in tells of the library; without one, all that the distribution requires counts.

    Raises:
        UnknownName: No plugin of that name.
        BrokenPlugin: Two distributions claim the name.
    """
    claim = _claim("zoo.backbones", name)
    library = _library(claim)
    if not library:
        packages = sorted({each.name for each in _requirements(claim)})
        versions = {package: _installed(package) for package in packages}
        library = ", ".join(
            f"{package} {version}" for package, version in versions.items() if version
        )
    return ", ".join(filter(None, (_owner(claim, version=True), library, f"trace {TRACE_VERSION}")))


def architectures(name: str) -> list[str]:
    """What the backbone plugin ``name`` lists; it is not imported if that is known without it.

    Raises:
        BrokenPlugin: It fails to; or as `load` does.
    """
    if _claim("zoo.backbones", name).module not in sys.modules and (without := known(name)):
        with blaming("zoo.backbones", name):
            if listed := without.architectures():
                return list(listed)
    plugin = backbone(name)
    with blaming("zoo.backbones", name):
        return list(plugin.architectures())


@cache
def known(name: str) -> Known | None:
    """What a backbone plugin knows without its library; None if it says nothing of that kind.

    Raises:
        UnknownName: No plugin of that name.
        BrokenPlugin: Two distributions claim the name.
    """
    module = _beside(name, "known")
    return module if isinstance(module, Known) else None


def own_names(name: str, own: Collection[str], names: Collection[str]) -> Mapping[str, str]:
    """What a backbone plugin's ``convert`` gives for a network whose keys are ``own``, found
    without its library; nothing if the plugin is not here, or does not say.
    """
    with suppress(Exception):  # whatever is wrong with it, the names are taken as they are
        module = _beside(name, "names")
        if isinstance(module, Naming):
            return module.own_names(own, names)
    return {}


@cache
def _beside(name: str, module: str) -> object:
    """A module in the package that a backbone plugin's own is in; None if there is none."""
    package, in_package, _ = _claim("zoo.backbones", name).module.rpartition(".")
    if in_package:
        with suppress(Exception, SystemExit):  # whatever is wrong with it, the plugin is asked
            return import_module(f"{package}.{module}")
    return None


def catalog(name: str) -> Catalog:
    """The source plugin ``name``, which may be a mere catalog. Raises as `load` does."""
    return cast(Catalog, _instance("zoo.sources", name))


def head(name: str) -> Head:
    """The head plugin ``name``. Raises as `load` does."""
    return cast(Head, _instance("zoo.heads", name))


def remote(name: str) -> type[Backend]:
    """The remote plugin ``name``. Raises as `load` does."""
    return cast("type[Backend]", load("zoo.remotes", name))


def tracker(name: str) -> Tracker:
    """A new one of the tracker plugin ``name``. Raises as `load` does."""
    return cast(Tracker, _instance("zoo.trackers", name))


def names(group: str) -> tuple[str, ...]:
    """Names of all plugins of a group, sorted, without importing any."""
    return tuple(sorted(_by_name(group)))


def origin(group: str, name: str) -> str:
    """The distribution that brings a plugin, with its version; nothing is imported.

    Raises:
        UnknownName: No plugin of that name.
        BrokenPlugin: Two distributions claim the name.
    """
    return _owner(_claim(group, name), version=True)


@cache
def load(group: str, name: str) -> Any:
    """Import the plugin ``name`` of an entry-point group.

    Raises:
        UnknownName: No plugin of that name.
        MissingPackage: The plugin needs a package that is not installed.
        BrokenPlugin: It fails to import or does not fit its contract, or two distributions claim
            the name.
    """
    with blaming(group, name):
        plugin = _claim(group, name).load()
    if group == "zoo.backbones" and hasattr(plugin, "adapt") and not hasattr(plugin, "fit_weights"):
        warnings.warn(
            f"{name}: a backbone's method 'adapt' is called 'fit_weights' now, and will not be "
            "asked for in a later version",
            DeprecationWarning,
            stacklevel=2,
        )
        # On the class, once: whoever makes an instance of it later has it, too.
        plugin.fit_weights = plugin.adapt
    # Annotations alone are set on instances.
    _check_has(plugin, [each for each in vars(CONTRACTS[group]) if each[0] != "_"], group, name)
    return plugin


def _instance(group: str, name: str) -> object:
    """One of a plugin's class. Raises as `load` does."""
    plugin = load(group, name)
    with blaming(group, name):
        instance = plugin()
    _check_has(instance, CONTRACTS[group].__annotations__, group, name)
    return instance


def _check_has(plugin: object, members: Iterable[str], group: str, name: str) -> None:
    if lacks := sorted(member for member in members if not hasattr(plugin, member)):
        raise BrokenPlugin(
            f"the {_kind(group)} '{name}' of {_owner(_claim(group, name))} was written for another "
            f"zoo: it lacks {', '.join(lacks)}"
        )


@contextmanager
def blaming(group: str, name: str, *, but: type[Exception] = ZooError) -> Iterator[None]:
    """Around calls of a plugin: whatever fails there is its fault, and told so; ``but`` is not.

    Raises:
        MissingPackage: A package that it imports is not installed.
        BrokenPlugin: It fails otherwise, but for what zoo's own errors say.
    """
    try:
        yield
    except (ZooError, but):
        raise
    except ModuleNotFoundError as error:
        package = error.name or "a package"
        raise _missing(_claim(group, name), package, package) from error
    except (Exception, SystemExit) as error:  # some exit where a license is missing
        text = str(error)
        reason = repr(error) if not text or text.isdigit() else text  # sys.exit(1) says a number
        owner = _owner(_claim(group, name))
        raise BrokenPlugin(f"the {_kind(group)} '{name}' of {owner} fails: {reason}") from error


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Plugin(Result):
    """One plugin that is installed.

    Attributes:
        group: Entry-point group, ``zoo.heads``.
        name: What a user types.
        origin: The distribution that brought it, with its version; several if they claim one name.
        problem: Why it cannot be used; None if it can.
    """

    group: str
    name: str
    origin: str
    problem: str | None


def installed() -> Iterator[Plugin]:
    """All plugins, each imported to see whether it can be used; backbones list what they have."""
    for group in CONTRACTS:
        for name, claims in sorted(_by_name(group).items()):
            problem = None
            try:
                load(group, name) if group == "zoo.remotes" else _instance(group, name)
                _check_extras(claims[0], versions=True)
                if group == "zoo.backbones":
                    architectures(name)
            except ZooError as error:
                install = f"; {error.install}" if isinstance(error, MissingPackage) else ""
                problem = f"{error}{install}"
            origin = ", ".join(sorted(_owner(claim, version=True) for claim in claims))
            yield Plugin(group=group, name=name, origin=origin, problem=problem)


def check_packages(group: str, name: str) -> None:
    """See that there is a plugin, and that the packages of its extra are installed; nothing is
    imported.

    Raises:
        UnknownName, BrokenPlugin: There is no such plugin, or there are two.
        MissingPackage: A package is not installed.
    """
    _check_extras(_claim(group, name), versions=False)


def _check_extras(claim: EntryPoint, *, versions: bool) -> None:
    """See that what an entry point's extras require is here, in the right versions if asked so:
    a plugin that lists without it seems whole. Others need no more than their distribution.
    """
    for needed in _requirements(claim) if claim.extras else ():
        marker = needed.marker
        if not marker or not any(marker.evaluate({"extra": extra}) for extra in claim.extras):
            continue
        version = _installed(needed.name)
        if version is None and _importable(needed.name):
            continue  # of another distribution: mlflow of mlflow-skinny, whose version is its own
        if version is None or (
            versions and not needed.specifier.contains(version, prereleases=True)
        ):
            package = f"{needed.name}{needed.specifier if versions else ''}"
            raise _missing(claim, package, needed.name)


def _library(claim: EntryPoint) -> str | None:
    """What the package of a plugin says that it depends on. A plugin that is a module by itself
    tells nothing: to import it is to import all that it needs.
    """
    package, in_package, _ = claim.module.partition(".")
    if in_package:
        with suppress(Exception, SystemExit):  # whatever is wrong with it, loading it says so
            return str(import_module(package).version())
    return None


def _requirements(claim: EntryPoint) -> list[Requirement]:
    from packaging.requirements import InvalidRequirement, Requirement  # half a tenth of a second

    requirements: list[Requirement] = []
    for text in (claim.dist.requires if claim.dist else None) or ():
        with suppress(InvalidRequirement):  # as old distributions have them
            requirements.append(Requirement(text))
    return requirements


def _installed(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return packages.version(package)
    return None


def _importable(package: str) -> bool:
    """Whether there is a module of that name; a mere folder, as runs leave in the current one, is
    none. It is not imported.
    """
    with suppress(ImportError, ValueError):
        spec = find_spec(package.replace("-", "_"))
        return spec is not None and spec.origin is not None
    return False


def _claim(group: str, name: str) -> EntryPoint:
    """The one entry point of that name.

    Raises:
        UnknownName: There is none.
        BrokenPlugin: Two distributions claim the name.
    """
    plugins = _by_name(group)
    if name not in plugins:
        kind, known, cutoff = _kind(group), "known here", 0.3
        if group == "zoo.remotes":  # ftp is no slip for http
            kind, known, cutoff = "kind of remote", "kinds of remotes known here", 0.6
        near = difflib.get_close_matches(name, plugins, n=3, cutoff=cutoff)
        hint = None if near else f"{known}: {', '.join(sorted(plugins))}"
        raise UnknownName(kind, name, near, hint)
    claims = plugins[name]
    if len(claims) > 1:
        owners = " and ".join(sorted(f"{claim.value} of {_owner(claim)}" for claim in claims))
        raise BrokenPlugin(
            f"two plugins claim the {_kind(group)} '{name}': {owners}; uninstall one"
        )
    return claims[0]


def _by_name(group: str) -> dict[str, list[EntryPoint]]:
    plugins: dict[str, list[EntryPoint]] = {}
    for point in _entry_points()[group]:
        claims = plugins.setdefault(point.name, [])
        # One distribution may be listed twice, as in a checkout beside its installed metadata.
        if all(claim.value != point.value for claim in claims):
            claims.append(point)
    return plugins


def _entry_points() -> dict[str, EntryPoints]:
    """Those of all distributions, by group. They are read again where a folder of the path has
    changed: a plugin that is installed in a running notebook is found.
    """
    folders = packages.state()
    return _read() if folders is None else _read_once(folders)


def _read() -> dict[str, EntryPoints]:
    every = entry_points()
    return {group: every.select(group=group) for group in CONTRACTS}


@lru_cache(maxsize=1)
def _read_once(_: packages.State) -> dict[str, EntryPoints]:
    return _read()


def _missing(claim: EntryPoint, what: str, package: str) -> MissingPackage:
    """With the command that brings the extra that an entry point declares, or else the package."""
    install = f"pip install {package}"
    if claim.dist and claim.extras:
        install = f"pip install '{claim.dist.name}[{','.join(claim.extras)}]'"
    needs = f"'{what}', which the {_kind(claim.group)} '{claim.name}' needs,"
    return MissingPackage(needs, install)


def _kind(group: str) -> str:
    return group.removeprefix("zoo.").removesuffix("s")


def _owner(point: EntryPoint, *, version: bool = False) -> str:
    if not point.dist:
        return "an unknown distribution"
    name, number = packages.named(point.dist)
    return f"{name} {number}" if version else name
