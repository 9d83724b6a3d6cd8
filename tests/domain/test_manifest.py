from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.domain.digest import Digest
from zoo.domain.manifest import (
    Backbone,
    Head,
    Manifest,
    Parent,
    PlainFile,
    Preprocessing,
    Tensor,
    WeightsFile,
)
from zoo.errors import InvalidManifest, Unsupported


def digest(number: int) -> Digest:
    return Digest("blake3", f"{number:064x}")


SHA = Digest("sha256", f"{9:064x}")
TENSOR = Tensor(name="a", dtype="F32", shape=(2,), object=digest(2), offset=64, nbytes=8)
WEIGHTS = WeightsFile(
    name="model.safetensors", size=24, sha256=SHA, header=digest(1), tensors=(TENSOR,)
)
MANIFEST = Manifest(
    backbone=Backbone(plugin="timm", architecture="résnet", options={"num_classes": 2}),
    head=Head(kind="linear", num_classes=2),
    preprocessing=Preprocessing(
        input_size=(3, 8, 8),
        mean=(0.5,),
        std=(1.0,),
        interpolation="bicubic",
        crop_pct=0.875,
        crop_mode="center",
    ),
    weights=(WEIGHTS,),
    classes=("b", "a"),
    parents=(Parent(manifest=digest(3), relation="finetune", ref="timm/x"),),
    metrics={"accuracy": 0.5},
    created="2026-01-02T03:04:05Z",
)
# The canonical form is a contract: a change here renames every checkpoint there is.
GOLDEN = (
    '{"backbone":{"architecture":"résnet","options":{"num_classes":2},"plugin":"timm"},'
    '"classes":["b","a"],"created":"2026-01-02T03:04:05Z","files":[],"format":1,"freeze":null,'
    '"head":{"kind":"linear","num_classes":2},"license":null,"metrics":{"accuracy":0.5},'
    '"parents":[{"manifest":"blake3:'
    "0000000000000000000000000000000000000000000000000000000000000003"
    '","parents":[],"ref":"timm/x","relation":"finetune"}],"preprocessing":{"crop_mode":"center",'
    '"crop_pct":0.875,"input_size":[3,8,8],"interpolation":"bicubic","mean":[0.5],"std":[1.0]},'
    '"provenance":{},"recipe":null,"weights":[{"header":"blake3:'
    "0000000000000000000000000000000000000000000000000000000000000001"
    '","name":"model.safetensors","sha256":"sha256:'
    "0000000000000000000000000000000000000000000000000000000000000009"
    '","size":24,"tensors":[{"dtype":"F32","name":"a","nbytes":8,"object":"blake3:'
    "0000000000000000000000000000000000000000000000000000000000000002"
    '","offset":64,"shape":[2]}]}]}'
)
GOLDEN_DIGEST = "eccd91b41f9c3756798e5bc6163b0d5261a112fd47ec70563955b24fbc984df4"


def test_the_canonical_form_is_pinned() -> None:
    assert MANIFEST.to_bytes() == GOLDEN.encode()
    assert blake3(MANIFEST.to_bytes()).hexdigest() == GOLDEN_DIGEST


def test_a_manifest_is_read_back_equal() -> None:
    full = replace(
        MANIFEST,
        files=(PlainFile(name="config.json", size=3, sha256=SHA, object=digest(4)),),
        license="apache-2.0",
        recipe={"freeze": "75%", "nested": [1, {"a": None}]},
        freeze={"frozen": ["stem"]},
        provenance={"source": "timm"},
    )
    assert Manifest.from_bytes(full.to_bytes()) == full
    assert Manifest.from_bytes(MANIFEST.to_bytes()) == MANIFEST


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Half characters have no UTF-8.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(recipe=st.dictionaries(st.text("xyz", max_size=3), plain, max_size=4))
def test_bytes_survive_reading_and_writing(recipe: dict[str, Any]) -> None:
    data = replace(MANIFEST, recipe=recipe).to_bytes()
    assert Manifest.from_bytes(data).to_bytes() == data


def test_keys_in_another_order_make_the_same_bytes() -> None:
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert replace(MANIFEST, recipe=one).to_bytes() == replace(MANIFEST, recipe=other).to_bytes()


def test_no_canonical_form_for_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(MANIFEST, metrics={"loss": float("nan")}).to_bytes()


@pytest.mark.parametrize("version", [0, 3, "1", None, True, 1.0])
def test_another_format_is_unsupported(version: object) -> None:
    data = json.dumps({**MANIFEST.to_json(), "format": version, "news": True})
    with pytest.raises(Unsupported, match="this program reads 1"):
        Manifest.from_bytes(data.encode())


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"7", b'"x"', b"{}", b"\xff\xfe", b"[" * 100_000]
)
def test_garbage_is_no_manifest(data: bytes) -> None:
    with pytest.raises(InvalidManifest, match="not a manifest"):
        Manifest.from_bytes(data)


def broken(**path_to_value: object) -> Callable[[dict[str, Any]], None]:
    """Set the value at a path, whose steps are separated by two underscores."""
    ((path, value),) = path_to_value.items()
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("__"))

    def change(raw: Any) -> None:
        for step in steps:
            raw = raw[step]
        raw[last] = value

    return change


BROKEN: dict[str, Callable[[dict[str, Any]], None]] = {
    "unknown field": broken(news=1),
    "unknown field of the head": broken(head__news=1),
    "unknown field of the backbone": broken(backbone__news=1),
    "unknown field of the preprocessing": broken(preprocessing__news=1),
    "unknown field of a parent": broken(parents__0__news=1),
    "no head": lambda raw: raw.pop("head"),
    "no weights": lambda raw: raw.pop("weights"),
    "a parent without a digest": broken(parents__0__manifest="timm/x"),
    "an object without a digest": broken(weights__0__tensors__0__object="../../etc/passwd"),
    "a number for a digest": broken(weights__0__header=7),
    "negative size": broken(weights__0__size=-1),
    "fractional size": broken(weights__0__size=24.0),
    "truth for a size": broken(weights__0__size=True),
    "negative offset": broken(weights__0__tensors__0__offset=-8),
    "negative nbytes": broken(weights__0__tensors__0__nbytes=-8),
    "negative dimension": broken(weights__0__tensors__0__shape=[-2]),
    "negative classes": broken(head__num_classes=-1),
    "text for a number of classes": broken(head__num_classes="2"),
    "two sizes": broken(preprocessing__input_size=[3, 8]),
    "infinite size": broken(preprocessing__input_size=[3, 8, float("inf")]),
    "text for a mean": broken(preprocessing__mean=["gray"]),
    "a list of metrics": broken(metrics=[1]),
    "no metrics": broken(metrics=None),
    "a list for a recipe": broken(recipe=[]),
    "a text for a freeze plan": broken(freeze="all"),
    "a number for a license": broken(license=7),
    "a number for a date": broken(created=7),
    "a list of origins": broken(provenance=[]),
    "a number for classes": broken(classes=7),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_manifest_that_breaks_the_format_is_refused(case: str) -> None:
    raw = MANIFEST.to_json()
    BROKEN[case](raw)
    with pytest.raises(InvalidManifest, match="not a manifest"):
        Manifest.from_bytes(json.dumps(raw).encode())


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "C:x", "a\0b", 7, None]
)
@pytest.mark.parametrize("kind", ["weights", "files"])
def test_a_file_name_that_could_leave_its_folder_is_refused(kind: str, name: object) -> None:
    file = PlainFile(name="ok", size=3, sha256=SHA, object=digest(4))
    raw = replace(MANIFEST, files=(file,)).to_json()
    raw[kind][0]["name"] = name
    why = "unsafe file name" if isinstance(name, str) else rf"Expected `str`.*{kind}\[0\]\.name"
    with pytest.raises(InvalidManifest, match=why):
        Manifest.from_bytes(json.dumps(raw).encode())


def test_objects_are_listed_once_with_the_bytes_they_must_have() -> None:
    shared = replace(TENSOR, name="b", offset=0, nbytes=8)
    manifest = replace(
        MANIFEST,
        weights=(replace(WEIGHTS, size=32, tensors=(TENSOR, shared)),),
        files=(PlainFile(name="config.json", size=3, sha256=SHA, object=digest(4)),),
    )
    assert dict(manifest.objects()) == {digest(1): 16, digest(2): 72, digest(4): 3}
    assert len(list(manifest.objects())) == 3
    assert manifest.logical_bytes == 35
    assert manifest.tensors == (TENSOR, shared)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("preprocessing", "crop_pct"), "x"),
        (("preprocessing", "interpolation"), 3),
        (("preprocessing", "crop_mode"), None),
        (("backbone", "plugin"), 1),
        (("backbone", "architecture"), ["a"]),
        (("backbone", "options"), "x"),
        (("head", "kind"), {}),
        (("metrics", "accuracy"), "high"),
        (("metrics", "accuracy"), [1]),
    ],
)
def test_values_of_another_type_are_refused(path: tuple[str, str], value: Any) -> None:
    """A manifest may come from anybody, and what it says is used far from here."""
    raw = json.loads(MANIFEST.to_bytes())
    raw[path[0]][path[1]] = value
    data = json.dumps(raw, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(InvalidManifest):
        Manifest.from_bytes(data)
    raw = json.loads(MANIFEST.to_bytes())
    same = json.dumps(raw, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    assert Manifest.from_bytes(same) == MANIFEST  # it is the value that was refused


FIRST_READ_BY_MANY = """
import os, sys, threading
from zoo.domain.manifest import Manifest

data = sys.stdin.buffer.read()
sys.setswitchinterval(1e-6)
for _ in range(40):  # each child is the first to read one
    child = os.fork()
    if not child:
        together = threading.Barrier(8)
        read = lambda: (together.wait(), Manifest.from_bytes(data))
        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_many_threads_may_read_the_first_one_at_once() -> None:
    """A prune does. Of threads that have msgspec look at a class first, every fifth time one
    crashed the process.
    """
    line = [sys.executable, "-c", FIRST_READ_BY_MANY]
    done = subprocess.run(line, input=MANIFEST.to_bytes(), check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
