from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import delete, func, select

from zoo.domain.digest import Digest
from zoo.domain.evaluated import Evaluated
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest, Parent
from zoo.domain.reference import Reference
from zoo.errors import Invalid
from zoo.registry import Query, Registry, schema
from zoo.registry.engine import reading, writing

Make = Callable[..., Manifest]
Move = Callable[..., RefEntry]
Number = Callable[[int], Digest]
TEAM = Reference.parse("team/flowers")
TENSORS = (
    ("stem.weight", "F32", (10, 5)),
    ("odd.running_mean", "F32", (10,)),
    ("bn.running_mean", "F32", (7,)),
    ("bn.running_var", "BF16", (7,)),
    ("bn.num_batches_tracked", "I64", ()),
    ("bn.table", "F16", (3,)),
    ("fc.weight", "BF16", (2, 20)),
    ("fc.scale", "F32", ()),
)


def count_rows(registry: Registry) -> dict[str, int]:
    tables = (schema.checkpoint, schema.parent, schema.metric, schema.class_name)
    with reading(registry._engine) as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in tables
        }


def rich(make_manifest: Make, digest: Number, **known: object) -> Manifest:
    parent = Parent(manifest=digest(99), relation="finetune", ref="timm/base.x")
    return make_manifest(
        tensors=TENSORS,
        classes=("Daisy", "daisy"),
        metrics={"accuracy": 0.9, "loss": float("nan")},
        parents=(parent,),
        recipe={"epochs": 3},
        **known,
    )


def only(registry: Registry, digest: Digest, manifest: Manifest, entry: RefEntry) -> int | None:
    registry.add_checkpoint(digest, manifest)
    registry.set_ref(TEAM, entry)
    (found,) = registry.search(Query())
    return found.params


def test_adding_twice_is_adding_once(
    registry: Registry, make_manifest: Make, digest: Number
) -> None:
    for _ in range(2):
        registry.add_checkpoint(digest(1), rich(make_manifest, digest))
    rows = count_rows(registry)
    assert rows == {"checkpoint": 1, "parent": 1, "metric": 1, "class_name": 2}


def test_what_belongs_to_a_checkpoint_goes_with_it(
    registry: Registry, make_manifest: Make, digest: Number
) -> None:
    registry.add_checkpoint(digest(1), rich(make_manifest, digest))
    with writing(registry._engine) as connection:
        connection.execute(delete(schema.checkpoint))
    assert set(count_rows(registry).values()) == {0}


def evaluated(digest: Number, data: int, at: str, value: float, name: str) -> Evaluated:
    return Evaluated(
        manifest=digest(1), data=name, data_digest=str(digest(data)), split="all", split_digest="",
        images_digest="", images=9, task="classification", metrics={"accuracy": value}, at=at,
    )  # fmt: skip


def test_evaluations_are_searched_and_the_newest_of_a_name_counts(
    registry: Registry, make_manifest: Make, digest: Number, move: Move
) -> None:
    def found(text: str) -> list[dict[str, float]]:
        return [row.metrics for row in registry.search(Query.parse(text))]

    registry.add_checkpoint(digest(1), make_manifest())
    registry.set_ref(TEAM, move(1))
    older, newer = (evaluated(digest, n, f"202{n}", n / 10, "my data") for n in (3, 4))
    registry.set_evaluations(digest(1), [newer, older])
    assert found("metric.accuracy>=0") == [{"accuracy": 0.4, "accuracy@my data": 0.4}]
    registry.set_evaluations(digest(1), [older, evaluated(digest, 5, "2025", 0.5, "a.csv")])
    assert found("metric.accuracy@a.csv>0.45 accuracy<0.6") == [
        {"accuracy": 0.5, "accuracy@my data": 0.3, "accuracy@a.csv": 0.5}
    ]
    # With results of its own, these are its accuracy.
    registry.forget([digest(1)])
    assert found("metric.accuracy@a.csv>0") == []
    registry.add_checkpoint(digest(1), rich(make_manifest, digest))
    registry.set_evaluations(digest(1), [older])
    registry.set_ref(TEAM, move(1))
    assert found("") == [{"accuracy": 0.9, "accuracy@my data": 0.3}]
    # What a remote has, too, is remembered, and what was measured here is not.
    registry.replace_remote("lab", {TEAM: move(1)})
    registry.forget([digest(1)])
    assert found("") == [{"accuracy": 0.9}]


def test_params_are_guessed_from_tensors(
    registry: Registry, make_manifest: Make, digest: Number, move: Move
) -> None:
    manifest = rich(make_manifest, digest)
    assert only(registry, digest(1), manifest, move(1)) == 50 + 3 + 40 + 1


def test_params_are_exact_where_the_hierarchy_is_known(
    registry: Registry, make_manifest: Make, digest: Number, move: Move, hierarchy: Hierarchy
) -> None:
    manifest = rich(make_manifest, digest)
    registry.add_checkpoint(digest(1), manifest)
    registry.keep_hierarchy("timm", "1", hierarchy)
    # Once more, now that more is known: a buffer less, an oddly named parameter more.
    assert only(registry, digest(1), manifest, move(1)) == 50 + 10 + 40 + 1


def test_a_shape_past_all_bounds_is_refused(
    registry: Registry, make_manifest: Make, digest: Number
) -> None:
    manifest = make_manifest(tensors=(("w", "F32", (2**40, 2**40)),))
    with pytest.raises(Invalid, match="too large"):
        registry.add_checkpoint(digest(1), manifest)
    assert count_rows(registry)["checkpoint"] == 0


def test_a_ref_only_moves_forward(registry: Registry, digest: Number, move: Move) -> None:
    assert registry.ref(TEAM) is None
    registry.set_ref(TEAM, move(2, number=2))
    registry.set_ref(TEAM, move(1, number=1))
    assert registry.ref(TEAM) == digest(2)
    registry.set_ref(TEAM, move(3, number=3))
    assert registry.ref(TEAM) == digest(3)
    assert registry.refs() == [(TEAM, digest(3), 3)]


def test_refs_are_told_apart_and_sorted(registry: Registry, digest: Number, move: Move) -> None:
    tagged, other = replace(TEAM, tag="v1"), Reference.parse("team/birds")
    for ref, manifest in ((tagged, 1), (TEAM, 2), (other, 1)):
        registry.set_ref(ref, move(manifest))
    assert [ref for ref, _, _ in registry.refs()] == [other, TEAM, tagged]
    assert registry.refs_of(digest(1)) == [other, tagged]
    assert registry.refs_of(digest(7)) == []
    assert registry.ref(replace(TEAM, tag="v2")) is None


def test_children_oldest_first(registry: Registry, make_manifest: Make, digest: Number) -> None:
    for number, created in ((1, "2025-02-01"), (2, "2025-01-01")):
        registry.add_checkpoint(digest(number), rich(make_manifest, digest, created=created))
    registry.add_checkpoint(digest(3), make_manifest())
    # The parent itself was never added.
    assert registry.children(digest(99)) == [digest(2), digest(1)]
    assert registry.children(digest(1)) == []
