from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from zoo.domain.catalog import CatalogEntry, Location
from zoo.domain.hierarchy import Hierarchy
from zoo.errors import Invalid
from zoo.registry import Query, Registry

only_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)

Make = Callable[..., CatalogEntry]
NAME = "timm/resnet50.a1_in1k"
WRITES = ("INSERT INTO item", "UPDATE item", "DELETE FROM item", "INSERT INTO listing")


def names(registry: Registry, **query: object) -> list[str]:
    return [found.name for found in registry.search(Query(**query))]  # type: ignore[arg-type]


def full(make_entry: Make) -> CatalogEntry:
    return make_entry(
        NAME,
        license="apache-2.0",
        hub_id="timm/resnet50.a1_in1k",
        input_size=(3, 224, 160),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation="bicubic",
        crop_pct=0.95,
        crop_mode="center",
        num_classes=1000,
    )


def test_an_entry_comes_back_as_it_went_in(registry: Registry, make_entry: Make) -> None:
    registry.replace_entries("timm", "1", [full(make_entry)], "now")
    known = registry.entry(NAME)
    assert known is not None
    assert known.entry == full(make_entry)
    assert (known.sources, known.locations, known.params) == (("timm",), (), None)
    assert registry.entry("timm/resnet50") is None


def test_the_index_survives_closing(where: Path | str, make_entry: Make) -> None:
    with Registry.open(where) as registry:
        assert registry.indexed_version("timm") is None
        assert registry.replace_entries("timm", "1.0.31", [full(make_entry)], "now") == 1
    with Registry.open(where) as registry:
        assert registry.indexed_version("timm") == "1.0.31"
        assert registry.entry(NAME) is not None
        registry.replace_entries("timm", "1.0.32", [], "later")
        assert registry.indexed_version("timm") == "1.0.32"


@pytest.mark.parametrize("order", [("timm", "hub"), ("hub", "timm")])
def test_what_a_source_does_not_know_never_overwrites(
    registry: Registry, make_entry: Make, order: tuple[str, str]
) -> None:
    bare = make_entry(NAME, tag=None, location=Location("package", "some-wheel"))
    listed = {"timm": full(make_entry), "hub": bare}
    for source in order:
        registry.replace_entries(source, "1", [listed[source]], "now")
    known = registry.entry(NAME)
    assert known is not None
    assert known.entry == full(make_entry)
    assert known.sources == ("hub", "timm")
    assert known.locations == (Location("package", "some-wheel"),)
    # Nor does the search text forget what the bare source did not tell.
    assert names(registry, words=("apache",)) == [NAME]


def test_what_a_source_knows_replaces_what_was_known(registry: Registry, make_entry: Make) -> None:
    registry.replace_entries("timm", "1", [make_entry(NAME, license="mit")], "now")
    registry.replace_entries("timm", "2", [make_entry(NAME, license="bsd")], "now")
    assert names(registry, license="bsd", words=("bsd",)) == [NAME]
    assert names(registry, words=("mit",)) == []


def test_an_entry_lives_as_long_as_one_source_lists_it(
    registry: Registry, make_entry: Make
) -> None:
    other = make_entry("timm/other.x")
    registry.replace_entries("timm", "1", [make_entry(NAME), other], "now")
    registry.replace_entries("hub", "1", [make_entry(NAME)], "now")
    registry.replace_entries("timm", "2", [], "now")
    known = registry.entry(NAME)
    assert known is not None
    assert known.sources == ("hub",)
    assert registry.entry("timm/other.x") is None
    registry.replace_entries("hub", "2", [], "now")
    assert registry.entry(NAME) is None


def test_a_name_listed_twice_is_one_entry(registry: Registry, make_entry: Make) -> None:
    place = Location("hub", "a/b")
    twice = [make_entry(NAME, license="mit", location=place), make_entry(NAME, num_classes=7)]
    assert registry.replace_entries("timm", "1", twice, "now") == 1
    known = registry.entry(NAME)
    assert known is not None
    assert (known.entry.license, known.entry.num_classes) == ("mit", 7)
    assert known.locations == (place,)


def test_a_source_that_breaks_off_changes_nothing(registry: Registry, make_entry: Make) -> None:
    registry.replace_entries("timm", "1", [make_entry(NAME)], "now")

    def breaks_off() -> Iterator[CatalogEntry]:
        yield make_entry("timm/new.x")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        registry.replace_entries("timm", "2", breaks_off(), "now")
    # This one fails in the middle of the transaction.
    unstorable = [make_entry("timm/new.x"), make_entry("timm/\ud800.x")]
    with pytest.raises(Invalid, match="Unicode"):
        registry.replace_entries("timm", "2", unstorable, "now")
    assert registry.indexed_version("timm") == "1"
    assert names(registry) == [NAME]


def test_a_number_too_large_is_refused(registry: Registry, make_entry: Make) -> None:
    with pytest.raises(Invalid, match="too large"):
        registry.replace_entries("timm", "1", [make_entry(NAME, num_classes=2**63)], "now")


def test_control_characters_are_only_text(registry: Registry, make_entry: Make) -> None:
    odd = "timm/a\x00b\x1b[31m\n\u202e'; DROP TABLE entry; --.x"
    registry.replace_entries("timm", "1", [make_entry(odd), make_entry(NAME)], "now")
    known = registry.entry(odd)
    assert known is not None
    assert known.entry.name == odd
    assert names(registry, words=("b\x1b[31m",)) == [odd]
    assert registry.count(Query()) == 2


def test_params_come_from_any_version_of_the_hierarchy(
    registry: Registry, make_entry: Make, hierarchy: Hierarchy
) -> None:
    registry.replace_entries("timm", "1", [make_entry(NAME), make_entry("hub/resnet50.x")], "now")
    registry.keep_hierarchy("timm", "0.1", hierarchy)
    known, foreign = registry.entry(NAME), registry.entry("hub/resnet50.x")
    assert known is not None
    assert known.params == 100
    assert foreign is not None
    assert foreign.params is None


def test_hierarchies_are_kept_by_plugin_version_and_name(
    registry: Registry, hierarchy: Hierarchy
) -> None:
    registry.keep_hierarchy("timm", "1", hierarchy)
    registry.keep_hierarchy("timm", "1", hierarchy)
    assert registry.hierarchy("timm", "1", "resnet50") == hierarchy
    assert registry.hierarchy("timm", "2", "resnet50") is None
    assert registry.hierarchy("hub", "1", "resnet50") is None
    assert registry.hierarchy("timm", "1", "resnet18") is None


def test_only_what_changed_is_written_again(registry: Registry, make_entry: Make) -> None:
    written: list[int] = []

    @event.listens_for(registry._engine, "before_cursor_execute")
    def before(_c: Any, _d: Any, statement: str, parameters: Any, _e: Any, many: bool) -> None:
        if statement.startswith(WRITES):
            written.append(len(parameters) if many else 1)

    many = [make_entry(f"timm/model_{number}.x") for number in range(50)]
    registry.replace_entries("timm", "1", many, "now")
    written.clear()
    registry.replace_entries("timm", "2", many, "now")
    assert written == []
    registry.replace_entries(
        "timm", "3", [*many[:-1], make_entry("timm/model_49.x", license="mit")], "now"
    )
    assert written == [1, 1, 1, 1]  # terms taken out, the item, terms put in, the listing
    assert names(registry, license="mit") == ["timm/model_49.x"]


@only_sqlite
def test_indexing_again_takes_as_long_as_there_are_entries(
    registry: Registry, make_entry: Make, steps: Callable[..., int]
) -> None:
    def index(count: int) -> None:
        many = [make_entry(f"timm/model_{number}.x") for number in range(count)]
        registry.replace_entries("timm", "1", many, "now")

    taken = []
    for count in (500, 2000):
        index(count)
        taken.append(steps(registry, partial(index, count)))
    assert taken[1] < 6 * taken[0]
