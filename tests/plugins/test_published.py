"""The table of published results that comes with zoo: whose it is, and that it is right."""

from __future__ import annotations

import csv
import io
import re
from functools import cache
from pathlib import Path

import pytest
import timm
from fakes.sampled import sampled

from zoo.domain.catalog import CatalogEntry
from zoo_timm import known, make_published, published
from zoo_timm.catalog import TimmCatalog

RESULTS = """model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation
test_resnet.r160_in1k,160,41.500,58.500,66.250,33.750,0.47,0.950,bilinear
test_resnet.r160_in1k,128,40.000,60.000,65.000,35.000,0.47,0.950,bilinear
unknown.in1k,160,1.0,99.0,5.0,95.0,0.47,0.950,bilinear
"""
LACKING = 0
"""Weights whose operations could not be counted."""


@cache
def rows() -> dict[str, dict[str, str]]:
    lines = published.TABLE.read_text(encoding="utf-8").splitlines()
    return {row["name"]: row for row in csv.DictReader(x for x in lines if x[0] != "#")}


def test_the_head_names_the_source() -> None:
    head = " ".join(published.head())
    assert make_published.REPOSITORY in head
    assert re.search(r"results/results-imagenet\.csv at [0-9a-f]{40}\b", head)
    assert re.search(r"timm \d+\.\d+\.\d+", head)


def test_a_row_for_each_of_the_weights_that_timm_has() -> None:
    if known.entries() is None:
        pytest.skip("the table is made for another timm: make published")
    table = rows()
    assert [*table] == timm.list_pretrained()
    assert sum(not row["macs"] for row in table.values()) == LACKING
    measured = {name: row for name, row in table.items() if row["top1"]}
    assert len(measured) == 1266
    assert all(
        0 < float(row["top1"]) < float(row["top5"]) < 100 and 96 <= int(row["top1_size"]) <= 800
        for row in measured.values()
    )


@pytest.mark.parametrize(
    ("name", "top1", "top5", "size", "gmacs"),
    [
        ("resnet50.a1_in1k", 81.24, 95.112, 288, 4.1),
        ("tf_efficientnet_lite0.in1k", 74.846, 92.18, 224, 0.385),
        ("convnext_tiny.fb_in22k_ft_in1k_384", 84.098, 97.138, 384, 13.1),
        ("vit_base_patch16_224.augreg2_in21k_ft_in1k", 85.108, 97.53, 224, 17.6),
    ],
)
def test_some_of_what_it_says(name: str, top1: float, top5: float, size: int, gmacs: float) -> None:
    row = rows()[name]
    assert (float(row["top1"]), float(row["top5"]), int(row["top1_size"])) == (top1, top5, size)
    # As papers and timm's own benchmarks have them, to what they round and leave out.
    assert int(row["macs"]) / 1e9 == pytest.approx(gmacs, rel=0.03)


@pytest.fixture(scope="module")
def entries() -> list[CatalogEntry]:
    return list(TimmCatalog().entries())


COUNTED = ["resnet18", "test_vit", "cait_xxs24_224", "convnext_atto"]


@pytest.mark.parametrize("name", sampled(COUNTED, COUNTED[:2]))
def test_operations_are_those_that_are_counted_again(
    entries: list[CatalogEntry], name: str
) -> None:
    for entry in [each for each in entries if each.architecture == name][:2]:
        assert entry.input_size is not None
        assert entry.num_classes is not None
        assert entry.metrics is not None
        counted = make_published.macs(name, entry.input_size, entry.num_classes)
        assert entry.metrics["macs"] == counted
        assert entry.params is None or counted > entry.params / 100


def test_the_table_is_written_from_timms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [
        CatalogEntry(name=f"timm/{name}", backbone="timm", architecture=name.partition(".")[0],
                     input_size=(3, 160, 160), num_classes=1000)
        for name in ("test_resnet.r160_in1k", "test_vit.r160_in1k")
    ]  # fmt: skip
    broken = CatalogEntry(name="timm/no_such_net", backbone="timm", architecture="no_such_net",
                          input_size=(3, 8, 8), num_classes=1)  # fmt: skip
    path = tmp_path / "published.csv"
    with pytest.warns(UserWarning, match="no_such_net"):
        make_published.write([*listed, broken], io.StringIO(RESULTS), "c0ffee", path)
    monkeypatch.setattr(published, "TABLE", path)
    assert "at c0ffee" in " ".join(published.head())
    first, second, last = published.with_published([*listed, broken])
    assert first.metrics is not None
    assert second.metrics is not None
    assert {**first.metrics, "macs": 0} == {
        "macs": 0,
        "top1": 41.5,
        "top5": 66.25,
        "top1_size": 160,
    }
    assert (first.datasets, first.facts) == (("imagenet-1k",), {"results": published.SOURCE})
    assert [*second.metrics] == ["macs"]
    assert (second.datasets, last.metrics) == (None, None)
