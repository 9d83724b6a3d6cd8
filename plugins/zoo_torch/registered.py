"""Which networks there are: those registered in this process, and those at an import path.

A checkpoint only names its network. The code is always what is installed here: none comes with the
weights. A path is imported only where the user has allowed it (`zoo.trust`), and of what it leads
to only what is declared to make a network is ever called.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_type_hints

from zoo.domain.manifest import Preprocessing
from zoo.errors import BrokenPlugin, MissingPackage, UnknownName, Unsupported, ZooError
from zoo.trust import check_trusted, import_path

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Network", "find", "names", "register"]

IMAGENET = Preprocessing(
    input_size=(3, 224, 224),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    interpolation="bicubic",
    crop_pct=1.0,
    crop_mode="center",
)


@dataclass(frozen=True, slots=True)
class Network:
    """How to make a network.

    Attributes:
        factory: Makes one with untrained weights. It is given those of ``num_classes``,
            ``image_size`` (height, width) and ``channels`` that are wanted and that it takes.
        preprocessing: How images become its input.
        head: Path of the module that gives the outputs; empty: there is none; None: a fully
            connected layer, or a 1x1 convolution, that runs last.
    """

    factory: Callable[..., nn.Module]
    preprocessing: Preprocessing = IMAGENET
    head: str | None = None


REGISTERED: dict[str, Network] = {}
REGISTRATIONS: list[str] = []
"""The names in the order in which they were registered, each time."""


def register(
    name: str,
    network: Callable[..., nn.Module] | nn.Module,
    *,
    preprocessing: Preprocessing = IMAGENET,
    head: str | None = None,
) -> None:
    """Let ``name`` stand, in this process, for what the factory ``network`` makes, or for copies of
    the module ``network``; the others are fields of `Network`.

    A name can be registered again, as when a cell of a notebook is run once more.
    """
    from torch import nn

    factory = partial(copy.deepcopy, network) if isinstance(network, nn.Module) else network
    REGISTERED[name] = Network(factory, preprocessing, head)
    REGISTRATIONS.append(name)


def names() -> list[str]:
    """All names that were registered, sorted. Import paths cannot be listed."""
    return sorted(REGISTERED)


def find(name: str) -> Network:
    """The network that was registered as ``name``, or that is at this import path.

    Raises:
        UnknownName: There is none; the hint says how to have one.
        Untrusted: The user has not allowed this import path; nothing was imported.
        MissingPackage: Its module, or one that this imports, is not installed.
        BrokenPlugin: Its module fails to import.
        Unsupported: What is there is not declared to make a network.
    """
    if name in REGISTERED:
        return REGISTERED[name]
    # A registered name wins over an import path: the user has made it in this very process.
    path = import_path(name)
    if path is None:
        raise _unknown(name, difflib.get_close_matches(name, names(), n=4, cutoff=0.5))
    module, attribute = path
    imported = _imported(module, name)
    if not hasattr(imported, attribute):
        own = [other for other, value in vars(imported).items() if _makes_networks(value)]
        near = difflib.get_close_matches(attribute, own, n=4, cutoff=0.5)
        raise _unknown(name, [f"{module}:{other}" for other in near])
    return _network(getattr(imported, attribute), name)


def _imported(module: str, name: str) -> Any:
    try:
        check_trusted(name)
        return import_module(module)
    except ZooError:
        raise
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"'{error.name or module}', which the network '{name}' needs,",
            "install the package that has it, or name its folder: PYTHONPATH=DIR\n"
            f"or, in Python, register what makes it: zoo_torch.register({name!r}, factory)",
        ) from error
    except Exception as error:
        raise BrokenPlugin(f"the module of the network '{name}' fails: {error}") from error


def _network(value: Any, name: str) -> Network:
    if not _makes_networks(value):
        raise Unsupported(
            f"'{name}' is not declared to make a network, and so is not called: it must be a class "
            "of nn.Module, a zoo_torch.Network, or a function with '-> nn.Module'"
        )
    return value if isinstance(value, Network) else Network(value)


def _makes_networks(value: object) -> bool:
    from torch import nn

    if isinstance(value, Network):
        return True
    returned = value
    if not isinstance(value, type):
        try:
            returned = get_type_hints(value).get("return")
        except (AttributeError, NameError, SyntaxError, TypeError):  # none, or names nothing here
            return False
    return isinstance(returned, type) and issubclass(returned, nn.Module)


def _unknown(name: str, near: list[str]) -> UnknownName:
    help_ = (
        f"register what makes it, before it is used: zoo_torch.register({name!r}, factory)\n"
        "or name an import path, package.module:function, of something installed"
    )
    return UnknownName("network", name, near, help_)
