"""Plugins: found by entry point, imported on use."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from zoo.contracts import Backbone, Catalog, Head, Remote
from zoo.errors import BrokenPlugin, MissingPackage, UnknownName

__all__ = ["backbone", "backbone_version", "catalog", "head", "installed", "names",
           "remote"]  # fmt: skip

CONTRACTS: dict[str, type] = {
    "zoo.backbones": Backbone,
    "zoo.sources": Catalog,
    "zoo.heads": Head,
    "zoo.remotes": Remote,
}


def backbone(name: str) -> Backbone:
    """The backbone plugin ``name``. Raises as `load` does."""
    return cast(Backbone, load("zoo.backbones", name)())


def backbone_version(name: str) -> str:
    """The `Backbone.version` of a plugin; without importing it, where its package tells that
    itself (a function ``version`` in the package's top module). Raises as `load` does.
    """
    claims = _by_name("zoo.backbones").get(name, [])
    if len(claims) == 1:
        with suppress(Exception):  # whatever is wrong with it, loading it says so
            package = import_module(claims[0].module.partition(".")[0])
            return str(package.version())
    return backbone(name).version


def catalog(name: str) -> Catalog:
    """The source plugin ``name``, which may be a mere catalog. Raises as `load` does."""
    return cast(Catalog, load("zoo.sources", name)())


def head(name: str) -> Head:
    """The head plugin ``name``. Raises as `load` does."""
    return cast(Head, load("zoo.heads", name)())


def remote(name: str) -> type[Remote]:
    """The remote plugin ``name``. Raises as `load` does."""
    return cast("type[Remote]", load("zoo.remotes", name))


def names(group: str) -> tuple[str, ...]:
    """Names of all plugins of a group, sorted, without importing any."""
    return tuple(sorted(_by_name(group)))


@cache
def load(group: str, name: str) -> Any:
    """Import the plugin ``name`` of an entry-point group.

    Raises:
        UnknownName: No plugin of that name.
        MissingPackage: The plugin needs a package that is not installed.
        BrokenPlugin: It fails to import, or two distributions claim the name.
    """
    found = _by_name(group)
    kind = group.removeprefix("zoo.").removesuffix("s")
    if name not in found:
        raise UnknownName(kind, name, difflib.get_close_matches(name, found, n=3, cutoff=0.3))
    claims = found[name]
    if len(claims) > 1:
        owners = " and ".join(sorted(f"{claim.value} of {_owner(claim)}" for claim in claims))
        raise BrokenPlugin(f"two plugins claim the {kind} '{name}': {owners}; uninstall one")
    try:
        found_plugin = claims[0].load()
    except ModuleNotFoundError as error:
        package = error.name or "a package"
        raise MissingPackage(
            f"'{package}', which the {kind} '{name}' needs,", _install(claims[0], package)
        ) from error
    except Exception as error:
        raise BrokenPlugin(f"the {kind} '{name}' of {_owner(claims[0])} fails: {error}") from error
    lacks = sorted(member for member in _members(group) if not hasattr(found_plugin, member))
    if lacks:
        raise BrokenPlugin(
            f"the {kind} '{name}' of {_owner(claims[0])} was written for another zoo: "
            f"it lacks {', '.join(lacks)}"
        )
    return found_plugin


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
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
    """All plugins, each imported to see whether it can be used."""
    for group in CONTRACTS:
        for name, claims in sorted(_by_name(group).items()):
            problem = None
            try:
                load(group, name)
            except (BrokenPlugin, MissingPackage) as error:
                install = f"; {error.install}" if isinstance(error, MissingPackage) else ""
                problem = f"{error}{install}"
            origin = ", ".join(sorted(_owner(claim, version=True) for claim in claims))
            yield Plugin(group=group, name=name, origin=origin, problem=problem)


def _members(group: str) -> set[str]:
    """What the contract of a group asks of a class. Annotations alone are set on instances."""
    contract = CONTRACTS[group]
    return {name for name in vars(contract) if not name.startswith("_")}


def _by_name(group: str) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        claims = found.setdefault(point.name, [])
        # One distribution may be listed twice, as in a checkout beside its installed metadata.
        if all(claim.value != point.value for claim in claims):
            claims.append(point)
    return found


def _install(point: EntryPoint, package: str) -> str:
    """The command that brings the extra that an entry point declares, or else the package."""
    if point.dist and point.extras:
        return f"pip install '{point.dist.name}[{','.join(point.extras)}]'"
    return f"pip install {package}"


def _owner(point: EntryPoint, *, version: bool = False) -> str:
    if not point.dist:
        return "an unknown distribution"
    return f"{point.dist.name} {point.dist.version}" if version else point.dist.name
