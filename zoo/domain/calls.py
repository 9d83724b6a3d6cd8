"""Calls: what a public method is called with is of the type that it says, or the caller is told so
in plain words, and not by an error of whatever would have stumbled over it.
"""

from __future__ import annotations

import difflib
import inspect
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from numbers import Integral, Real
from os import PathLike
from typing import TypeVar

from zoo.domain.recipe import Recipe
from zoo.errors import InvalidOption

__all__ = ["checked"]

T = TypeVar("T")

KINDS: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "str": ("a text", (str,)),
    "int": ("a whole number", (Integral,)),
    "float": ("a number", (Real,)),
    "bool": ("True or False", (bool,)),
    "Path": ("a path", (PathLike,)),
    "None": ("None", (type(None),)),
    "Recipe": ("a zoo.Recipe", (Recipe,)),
}
"""Annotations that are checked; where another one is among the alternatives, all is let through."""
LISTS = ("a list", (Iterable,))


def checked(cls: type[T]) -> type[T]:
    """A class decorator: each public method refuses arguments of another type than it says.

    Annotations are read as text, so nothing is imported for it. A keyword that an
    ``Unpack[TypedDict]`` lacks is refused with near names, where the module has that at run time.
    """
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(value, classmethod):
            setattr(cls, name, classmethod(_checking(value.__func__)))
        elif inspect.isfunction(value):
            setattr(cls, name, _checking(value))
    return cls


def _checking(method: Callable[..., object]) -> Callable[..., object]:
    signature = inspect.signature(method)

    @wraps(method)
    def call(*args: object, **named: object) -> object:
        try:
            bound = signature.bind(*args, **named)
        except TypeError:  # Python's own says which method
            return method(*args, **named)
        for name, value in bound.arguments.items():
            parameter = signature.parameters[name]
            if parameter.kind is parameter.VAR_KEYWORD:
                _check_named(value, str(parameter.annotation), method.__globals__)
            elif parameter.kind is parameter.VAR_POSITIONAL:
                for each in value:
                    _check(name, each, str(parameter.annotation))
            else:
                _check(name, value, str(parameter.annotation), _order(method, signature))
                if isinstance(value, Real) and hasattr(value, "item"):
                    bound.arguments[name] = value.item()  # a number of numpy
        return method(*bound.args, **bound.kwargs)

    call.__signature__ = _spelled_out(signature, method.__globals__)  # type: ignore[attr-defined]
    return call


def _spelled_out(signature: inspect.Signature, names: Mapping[str, object]) -> inspect.Signature:
    """The signature with each keyword of an ``Unpack[TypedDict]``, for ``help`` and notebooks."""
    parameters: list[inspect.Parameter] = []
    for each in signature.parameters.values():
        known = _known(str(each.annotation), names) if each.kind is each.VAR_KEYWORD else None
        parameters += (
            [
                each.replace(
                    name=name, kind=each.KEYWORD_ONLY, default=..., annotation=_text_of(kind)
                )
                for name, kind in known.items()
            ]
            if known
            else [each]
        )
    return signature.replace(parameters=parameters)


def _known(annotation: str, names: Mapping[str, object]) -> Mapping[str, object] | None:
    """The keys of an ``Unpack[TypedDict]`` and their types."""
    return getattr(names.get(annotation[len("Unpack[") : -1]), "__annotations__", None)


def _text_of(annotation: object) -> str:
    return getattr(annotation, "__forward_arg__", str(annotation))


def _check_named(given: Mapping[str, object], annotation: str, names: Mapping[str, object]) -> None:
    known = _known(annotation, names)
    if known is None:
        return  # whoever takes them tells
    for name, value in given.items():
        if name not in known:
            error = InvalidOption(f"there is no option '{name}'")
            error.near = tuple(difflib.get_close_matches(name, known, n=2))
            raise error
        _check(name, value, _text_of(known[name]))


def _order(method: Callable[..., object], signature: inspect.Signature) -> str:
    """How a method is called, where several arguments have a place."""
    first = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [name for name, each in signature.parameters.items() if each.kind is first]
    placed = [name for name in names if name != "self"]
    return f"the order is {method.__name__}({', '.join(placed)})" if len(placed) > 1 else ""


def _check(name: str, value: object, annotation: str, order: str = "") -> None:
    if "Literal[" in annotation:
        inner = annotation.partition("[")[2].rpartition("]")[0]
        one_of = literal_eval(f"[{inner}]")
        if value not in one_of and not (value is None and annotation.endswith("None")):
            raise InvalidOption(f"{name} must be one of {', '.join(map(str, one_of))}")
        return
    kinds = [_kind(each) for each in annotation.split(" | ")]
    if None in kinds:
        return
    known = [kind for kind in kinds if kind]
    fits = any(isinstance(value, types) for _, types in known)
    if isinstance(value, bool) and "bool" not in annotation:
        fits = False
    if isinstance(value, str) and "str" not in annotation.split(" | "):
        fits = False  # it can be iterated over, letter by letter
    if not fits:
        wanted = " or ".join(word for word, _ in known)
        raise InvalidOption(f"{name} must be {wanted}, not {value!r:.60}", hint=order or None)


def _kind(annotation: str) -> tuple[str, tuple[type, ...]] | None:
    if annotation.startswith(("Iterable[", "Sequence[")):
        return LISTS
    return KINDS.get(annotation)
