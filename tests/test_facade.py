"""The facade is what an editor shows: all of it is typed, and its answers print themselves."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

import pytest

import zoo.facade
from zoo import Recipe, Zoo
from zoo.domain.digest import Digest
from zoo.domain.options import RecipeOptions, RunOptions
from zoo.domain.query import FIELDS, KEYWORDS, FieldFilters
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.table import Table

PLAIN = (bool, int, str, dict, list, type(None))
"""What may be answered beside dataclasses."""


def methods() -> Iterator[tuple[str, Callable[..., object]]]:
    for name, value in inspect.getmembers(Zoo):
        if not name.startswith("_") and callable(value):
            yield name, inspect.unwrap(getattr(value, "__func__", value))


def hints(method: Callable[..., object]) -> dict[str, Any]:
    """All annotations of a method, those that only a type checker imports included."""
    source = inspect.getsource(zoo.facade)
    begin = source.index("if TYPE_CHECKING:") + len("if TYPE_CHECKING:")
    names: dict[str, Any] = {}
    block = inspect.cleandoc(source[begin : source.index("__all__")])
    exec(block, names)
    return typing.get_type_hints(method, {**vars(zoo.facade), **names})


def parts(hint: Any) -> Iterator[Any]:
    if isinstance(hint, list):  # what a callable takes
        yield from (part for each in hint for part in parts(each))
        return
    yield get_origin(hint) or hint
    for each in get_args(hint):
        yield from parts(each)


@pytest.mark.parametrize("name", [name for name, _ in methods()])
def test_all_is_typed(name: str) -> None:
    method = dict(methods())[name]
    found = hints(method)
    for parameter in list(inspect.signature(method).parameters.values()):
        if parameter.name not in ("self", "cls"):
            assert Any not in set(parts(found[parameter.name])), parameter
            if parameter.kind is parameter.VAR_KEYWORD:
                assert get_origin(found[parameter.name]) is typing.Unpack


@pytest.mark.parametrize("name", [name for name, _ in methods()])
def test_what_is_answered_goes_to_json(name: str) -> None:
    if name in ("load", "load_many"):
        return  # modules
    for part in parts(hints(dict(methods())[name])["return"]):
        if part in (*PLAIN, typing.Union, typing.Self, Iterator, Table):
            continue
        if inspect.isclass(part) and dataclasses.is_dataclass(part):
            assert part.__dataclass_params__.frozen  # type: ignore[attr-defined]
            assert hasattr(part, "to_json"), part
        else:
            assert part.__name__ == "UnionType", part


def test_options_are_those_of_a_recipe() -> None:
    beside = ("data", "preset")  # a parameter, and a record
    known = {field.name: field for field in dataclasses.fields(Recipe) if field.name not in beside}
    options = typing.get_type_hints(RecipeOptions)
    assert list(options) == list(known)
    for name, field in known.items():
        if field.metadata["one_of"]:
            assert get_args(options[name]) == field.metadata["one_of"]


def test_each_way_to_train_takes_what_a_fine_tune_takes() -> None:
    """And says so in ``help`` and notebooks, word for word."""
    said = inspect.signature(zoo.Zoo.finetune).parameters
    known = {*said} - {*RecipeOptions.__annotations__, "self", "data", "recipe"}
    for method in (zoo.Zoo.run_recipe, zoo.Zoo.run_seeds, zoo.Zoo.run_folds):
        found = inspect.signature(method).parameters
        assert {*found} - {"self", "recipe", "seeds", "folds"} == known
        assert all(
            found[name].kind is found[name].KEYWORD_ONLY for name in RunOptions.__annotations__
        )


def test_fields_of_a_search_are_those_of_a_query() -> None:
    assert set(FieldFilters.__annotations__) == {*FIELDS, *KEYWORDS}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Sample(Result):
    manifest: Digest
    ref: Reference
    names: tuple[str, ...]
    inner: tuple[Digest, ...] = ()
    nothing: str | None = None
    few: int = dataclasses.field(default=0, metadata={"json": "number"})


def test_a_result_prints_what_a_reader_wants_and_no_more() -> None:
    digest = Digest("blake3", "ab" * 32)
    ref, names = Reference("team", "x"), ("a",) * 1000
    sample = Sample(manifest=digest, ref=ref, names=names, inner=(digest,) * 3)
    assert repr(sample) == (
        "Sample(manifest=abababababab, ref=team/x, names=('a', 'a', 'a', 'a', ...), "
        "inner=(abababababab, abababababab, abababababab), few=0)"
    )
    assert sample.to_json() == {
        "manifest": str(digest),
        "ref": "team/x",
        "names": ["a"] * 1000,
        "inner": [str(digest)] * 3,
        "nothing": None,
        "number": 0,
    }
