"""What of a run is for those who may read what it began with, and what is for admins alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.prepared import copy_zoo
from fakes.served import Served, serving

import zoo
from zoo.lookup.history import Row, StoredAdvice, remember
from zoo.lookup.runs import RUN, STATE, Run


@pytest.fixture
def own(tuned_home: Path, tmp_path: Path) -> Iterator[Served]:
    """The zoo of `tuned`, to be changed: ann may read all of it, and ben ``team/tuned`` alone."""
    with serving(copy_zoo(tuned_home, tmp_path / "zoo")) as served:
        served.accounts.set_level("team", level="private")
        served.accounts.set_level("team/tuned", level="public")
        served.token("ann")
        served.accounts.grant("team", "ann", "reader")
        yield served


def newest(served: Served) -> Run:
    with zoo.open(served.root) as z:
        return next(iter(z.runs()))


def test_advice_is_for_who_may_read_the_network_that_it_is_about(own: Served) -> None:
    run = newest(own)
    tried = Row(name="probe at head", kind="probe", score=0.5, low=0.1, high=0.9, images=12,
                seconds=1.0)  # fmt: skip
    advised = StoredAdvice(
        base="team/base", manifest=run.parent, data="x", image_size=(32, 32), options={},
        data_digest=run.provenance["data_digest"], measure="accuracy", at="2026-01-01T00:00:00Z",
        name=tried.name, trained=False, tried=(tried,),
    )  # fmt: skip
    assert remember(own.root, advised)
    told = {name: own.ask(f"/-/runs/{run.id}.json", token=own.token(name)).json["tried"]
            for name in ("ann", "ben")}  # fmt: skip
    assert [row["name"] for row in told["ann"]] == ["probe at head"]
    assert told["ben"] == []


def test_what_a_run_goes_on_from_is_for_admins(own: Served) -> None:
    """Also if it made a checkpoint before it was cut off."""
    run = newest(own)
    folder = own.root / "runs" / run.id
    data = json.loads((folder / RUN).read_text()) | {"status": "failed", "error": "no /mnt/disk"}
    (folder / RUN).write_text(json.dumps(data))
    (folder / STATE).touch()
    for name, seen in (("ann", False), ("admin", True)):
        token = own.token(name)
        (row,) = (row for row in own.ask("/runs.json", token=token).json["rows"]
                  if row["id"] == run.id)  # fmt: skip
        page = own.ask(f"/-/runs/{run.id}.json", token=token).json
        assert bool(row["kept"]) is bool(page["kept"]) is seen
        assert bool(page["error"]) is seen
