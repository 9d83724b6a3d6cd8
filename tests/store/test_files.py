from __future__ import annotations

import hashlib
import math
import random
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import Tensors, flip_byte, objects_in, raw_file, tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from zoo.domain.digest import Digest
from zoo.domain.manifest import WeightsFile
from zoo.errors import Corrupt, MissingObject
from zoo.store import Store
from zoo.store.files import add_file, add_weights, restore_file
from zoo.store.header import BITS

Add = Callable[..., WeightsFile]
WHOLE = sorted(dtype for dtype, bits in BITS.items() if bits % 8 == 0)


def taken(dtype: str) -> bool:
    """Whether the library knows this type: older ones do not know the newest."""
    header = {"x": {"dtype": dtype, "shape": [0], "data_offsets": [0, 0]}}
    with suppress(SafetensorError):
        deserialize(raw_file(header))  # type: ignore[no-untyped-call]
        return True
    return False


KNOWN = [dtype for dtype in WHOLE if taken(dtype)]
KIB = 1024


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "zoo")


@pytest.fixture
def add(store: Store, tmp_path: Path) -> Add:
    """Save tensors with the real library and add the file."""

    def add(values: Tensors, name: str = "model.safetensors", **metadata: str) -> WeightsFile:
        save_file(values, tmp_path / name, metadata or None)
        return add_weights(store, tmp_path / name, name=name)

    return add


def objects_of(file: WeightsFile) -> dict[str, Digest]:
    return {tensor.name: tensor.object for tensor in file.tensors}


def changed(values: Tensors, *names: str) -> Tensors:
    return {name: value + 1 if name in names else value for name, value in values.items()}


def assert_comes_back(store: Store, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.safetensors"), Path(folder, "out.safetensors")
        source.write_bytes(data)
        file = add_weights(store, source)
        assert (file.size, file.sha256.hex) == (len(data), hashlib.sha256(data).hexdigest())
        restore_file(store, file, target)
        assert target.read_bytes() == data


class TestFidelity:
    def test_files_of_the_real_library_come_back(self, store: Store, tmp_path: Path) -> None:
        values = {
            "flag": np.array([True, False]),
            "int8": np.arange(-4, 4, dtype=np.int8),
            "uint64": np.arange(3, dtype=np.uint64),
            "half": np.ones((3, 5), np.float16),
            "nan": np.array([np.nan, np.inf, -0.0], np.float64),
            "scalar": np.array(7, np.int64),
            "empty": np.zeros((0, 4), np.float32),
            "large": np.zeros((130, 130), np.float32),
        }
        save_file(values, tmp_path / "real.safetensors", {"format": "pt", "ünï": "cödé\n"})
        assert_comes_back(store, (tmp_path / "real.safetensors").read_bytes())

    def test_a_file_without_tensors_comes_back(self, store: Store) -> None:
        assert_comes_back(store, raw_file({"__metadata__": {"a": "b"}}))
        assert_comes_back(store, raw_file("{}"))

    def test_many_tensors_come_back(self, store: Store, tmp_path: Path) -> None:
        values = {f"blocks.{i % 12}.w{i}": np.full(3, i, np.float32) for i in range(600)}
        save_file(values, tmp_path / "many.safetensors")
        assert_comes_back(store, (tmp_path / "many.safetensors").read_bytes())
        assert len(objects_in(store)) == 12 + 1

    def test_what_a_tensor_names_is_its_bytes(self, store: Store, add: Add) -> None:
        values = tensors()
        for tensor in add(values).tensors:
            body = b"".join(store.read("objects", tensor.object, tensor.offset))[: tensor.nbytes]
            assert body == values[tensor.name].tobytes()
            assert tensor.shape == values[tensor.name].shape

    def test_any_other_file_comes_back(self, store: Store, tmp_path: Path) -> None:
        for body in (b"", bytes(range(256)) * 9000):
            (tmp_path / "in").write_bytes(body)
            file = add_file(store, tmp_path / "in", name="config.json")
            restore_file(store, file, tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == body
            assert (file.name, file.size) == ("config.json", len(body))

    def test_a_restored_file_belongs_to_the_user(self, store: Store, add: Add) -> None:
        target = store.root.parent / "out"
        restore_file(store, add(tensors()), target)
        assert target.stat().st_mode & 0o600 == 0o600


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Any valid file: dtypes, shapes, names, byte order and header order are drawn apart."""
    names = draw(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
                lambda name: name != "__metadata__"
            ),
            max_size=6,
            unique=True,
        )
    )
    header: dict[str, Any] = {}
    size = 0
    for name in names:
        dtype = draw(st.sampled_from(KNOWN))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        end = size + math.prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [size, end]}
        size = end
    if draw(st.booleans()):
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
        header["__metadata__"] = draw(st.dictionaries(text, text, max_size=3))
    order = draw(st.permutations(list(header)))
    body = random.Random(draw(st.integers(0, 3))).randbytes(size)
    return raw_file({name: header[name] for name in order}, body)


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.create(tmp_path_factory.mktemp("shared"))


@settings(max_examples=60, deadline=None)
@given(data=files())
def test_any_valid_file_comes_back_byte_identical(shared_store: Store, data: bytes) -> None:
    deserialize(data)  # type: ignore[no-untyped-call]  # the real library takes it for one, too
    assert_comes_back(shared_store, data)


class TestSharing:
    def test_a_large_tensor_is_one_object_under_any_name(self, store: Store, add: Add) -> None:
        value = np.arange(16 * KIB, dtype=np.float32)
        first = add({"a.weight": value}, "one.safetensors")
        second = add({"z.0.other": value, "small": np.ones(2)}, "two.safetensors")
        assert objects_of(first)["a.weight"] == objects_of(second)["z.0.other"]

    def test_from_64_kib_on_a_tensor_is_an_object_of_its_own(self, store: Store, add: Add) -> None:
        file = add(
            {
                "u.0.large": np.zeros((64, KIB), np.int8),
                "u.0.small": np.ones((63, KIB), np.int8),
                "u.0.other": np.ones((2, 2), np.int8),
            }
        )
        found = objects_of(file)
        assert found["u.0.small"] == found["u.0.other"] != found["u.0.large"]
        assert store.size("objects", found["u.0.large"]) == 64 * KIB

    def test_the_same_tensors_in_another_order_share_all(self, store: Store, add: Add) -> None:
        file = add(tensors())
        reordered = {
            name: {
                "dtype": "F32",
                "shape": list(value.shape),
                "data_offsets": [0, 0],
            }
            for name, value in reversed(tensors().items())
        }
        body = b""
        for name, value in tensors().items():
            reordered[name]["data_offsets"] = [len(body), len(body) + value.nbytes]
            body += value.tobytes()
        path = store.root.parent / "reordered.safetensors"
        path.write_bytes(raw_file(reordered, body))
        assert objects_of(add_weights(store, path)) == objects_of(file)

    def test_a_changed_vector_rewrites_the_vectors_of_its_unit_only(
        self, store: Store, add: Add
    ) -> None:
        values = tensors()
        before = objects_of(add(values))
        kept = objects_in(store)
        after = objects_of(add(changed(values, "layer1.0.bn.bias")))
        rewritten = {name for name in values if before[name] != after[name]}
        assert rewritten == {"layer1.0.bn.bias", "layer1.0.bn.weight"}
        assert objects_in(store) - kept == {after["layer1.0.bn.bias"].hex}

    def test_the_vectors_of_a_unit_are_apart_from_its_matrices(self, add: Add) -> None:
        found = objects_of(
            add(
                {
                    "blocks.7.norm.bias": np.ones(4, np.float32),
                    "blocks.7.scale": np.array(2, np.float32),
                    "blocks.7.mlp.weight": np.ones((4, 4), np.float32),
                    "blocks.7.attn.table": np.zeros((2, 2), np.float32),
                }
            )
        )
        assert found["blocks.7.norm.bias"] == found["blocks.7.scale"]
        assert found["blocks.7.mlp.weight"] == found["blocks.7.attn.table"]
        assert found["blocks.7.norm.bias"] != found["blocks.7.mlp.weight"]

    @pytest.mark.parametrize(
        ("one", "other", "together"),
        [
            ("layer1.0.a.x", "layer1.0.b.y", True),
            ("layer1.0.a.x", "layer1.1.a.x", False),
            ("blocks.1.2.a", "blocks.1.2.b", True),
            ("blocks.1.2.a", "blocks.1.3.a", False),
            ("stem.conv.x", "stem.bn.y", True),
            ("stem.conv.x", "fc.x", False),
            ("cls_token", "pos_embed", False),
        ],
    )
    def test_small_tensors_travel_by_unit(
        self, add: Add, one: str, other: str, together: bool
    ) -> None:
        found = objects_of(add({one: np.ones(3), other: np.zeros(3)}))
        assert (found[one] == found[other]) is together

    def test_tensors_that_travel_together_are_aligned(self, add: Add) -> None:
        file = add({f"u.0.v{i}": np.full(i + 1, i, np.int8) for i in range(5)})
        assert len({tensor.object for tensor in file.tensors}) == 1
        assert [tensor.offset for tensor in file.tensors] == [0, 64, 128, 192, 256]


class TestDamage:
    @pytest.mark.parametrize("name", ["header", "layer1.0.conv.weight", "fc.bias"])
    def test_a_flipped_byte_is_found(
        self, store: Store, add: Add, tmp_path: Path, name: str
    ) -> None:
        file = add(tensors())
        flip_byte(store.path("objects", {"header": file.header, **objects_of(file)}[name]))
        with pytest.raises(Corrupt, match=r"model\.safetensors.*" + file.sha256.hex):
            restore_file(store, file, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_what_was_there_stays(self, store: Store, add: Add, tmp_path: Path) -> None:
        file = add(tensors())
        (tmp_path / "out").write_text("mine")
        flip_byte(store.path("objects", file.header))
        before = sorted(tmp_path.iterdir())
        with pytest.raises(Corrupt):
            restore_file(store, file, tmp_path / "out")
        assert (tmp_path / "out").read_text() == "mine"
        assert sorted(tmp_path.iterdir()) == before

    def test_a_shortened_object_is_found(self, store: Store, add: Add, tmp_path: Path) -> None:
        file = add(tensors())
        path = store.path("objects", objects_of(file)["layer1.0.conv.weight"])
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(Corrupt, match=path.name):
            restore_file(store, file, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_missing_object_is_named(self, store: Store, add: Add, tmp_path: Path) -> None:
        file = add(tensors())
        store.path("objects", file.header).unlink()
        with pytest.raises(MissingObject, match=file.header.hex):
            restore_file(store, file, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_flipped_byte_of_a_plain_file_is_found(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(b"some bytes")
        file = add_file(store, tmp_path / "in", name="config.json")
        flip_byte(store.path("objects", file.object))
        with pytest.raises(Corrupt, match=r"config\.json"):
            restore_file(store, file, tmp_path / "out")

    @pytest.mark.parametrize("shift", [-1, 1])
    def test_a_size_that_is_a_lie_is_found(
        self, store: Store, add: Add, tmp_path: Path, shift: int
    ) -> None:
        file = add(tensors())
        with pytest.raises(Corrupt):
            restore_file(store, replace(file, size=file.size + shift), tmp_path / "out")
