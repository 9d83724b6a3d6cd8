"""The options of a recipe as options of a command; what they are is said in one place, `Recipe`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, TypeVar

import click
from click.types import IntParamType

from zoo.domain.options import OpeningOptions
from zoo.domain.presets import PRESETS, purpose
from zoo.domain.recipe import Recipe, spelled
from zoo_cli.command import batch_size_option, devices_option, on_option, quiet_option

__all__ = ["looking_options", "opening_options", "recipe_from", "recipe_options"]

Command = TypeVar("Command", bound=Callable[..., object])
OPTIONS = tuple(field for field in fields(Recipe) if field.name != "preset")


def recipe_options(command: Command) -> Command:
    """``--recipe``, and an option for each field of a recipe; None where it was not given."""
    for field in reversed(OPTIONS):
        command = _option(field)(command)
    presets = " ".join(f"{name}: {purpose(name)}" for name in PRESETS)
    return click.option(
        "--recipe",
        "source",
        metavar="PRESET|FILE",
        help="A preset, or a TOML file of options; those on the command line override it. "
        f"{presets} A file's path has a / or ends in .toml.",
    )(command)


def opening_options(*names: str) -> Callable[[Command], Command]:
    """Those that say how images are opened, for commands that do not train; all, or of these
    ``names``.
    """

    def add(command: Command) -> Command:
        for field in reversed(OPTIONS):
            if field.name in (names or OpeningOptions.__annotations__):
                command = _option(field, field.default)(command)
        return command

    return add


def looking_options(command: Command) -> Command:
    """Those of commands that look at labeled images before any training."""
    named = opening_options("task", "group_by", "image_size", "seed")
    where = (on_option, devices_option)
    for add in (quiet_option, *where, batch_size_option, opening_options(), named):
        command = add(command)
    return command


def recipe_from(source: str | None, given: Mapping[str, object]) -> Recipe:
    """The recipe of a preset or file, if any, and what was ``given`` on the command line.

    Raises:
        InvalidOption: There is none, it cannot be read, or an option is not what it must be.
    """
    options = {name: value for name, value in given.items() if value not in (None, ())}
    if "data" not in options and source in (None, *PRESETS):
        raise click.UsageError("Missing option '--data'.")
    return Recipe.from_json(options) if source is None else Recipe.read(source, **options)


class _Side(IntParamType):
    """The height and width of a square."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As an int does; who gives two numbers is told what takes these."""
        if re.fullmatch(r"\d+x\d+", str(value)):
            self.fail(
                f"{value}: images are made square here (--image-size {value.partition('x')[0]}). "
                "For another shape make a network that takes it, and leave the option out: "
                f"zoo adapt NAME NEW --image-size {value}",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


class _OneOf(click.Choice[str]):
    """A choice that takes ``_`` for ``-``, as Python's names have it."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(spelled(value, self.choices), param, ctx)


class _OrAuto(IntParamType):
    """A number, or ``auto``."""

    name = "integer|auto"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """What help shows."""
        return "INTEGER|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As an int does; ``auto`` stays."""
        try:
            return value if value == "auto" else int(value)
        except ValueError:
            self.fail(f"'{value}' is neither a whole number nor auto.", param, ctx)


TYPES: Mapping[str, type | IntParamType] = {
    "str": str, "int": int, "int | str": _OrAuto(), "float": float,
}  # fmt: skip


def _option(field: Field[object], default: object = None) -> Callable[[Command], Command]:
    name, kind = field.name.replace("_", "-"), str(field.type).removesuffix(" | None")
    text = field.metadata["help"]
    if isinstance(field.default, bool):
        text += f"  [default: {'' if field.default else 'no-'}{name}]"
    elif isinstance(field.default, str | int | float) and field.default != "":
        text += f"  [default: {field.default}]"
    if kind == "bool":
        off = "--no-" + name
        return click.option(f"--{name}/{off}", field.name, default=None, help=text)
    if kind.startswith("tuple"):
        return click.option(f"--{name}", field.name, multiple=True, help=text)
    one_of = field.metadata["one_of"]
    square = _Side() if field.name == "image_size" else None
    accepted = _OneOf(one_of) if one_of else square or TYPES[kind]
    spellings = [f"--{each}" for each in (name, field.metadata["also"]) if each]
    once = "[default: " not in text
    return click.option(
        *spellings, field.name, type=accepted, default=default, show_default=once, help=text
    )
