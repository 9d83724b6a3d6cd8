from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import objects_in, raw_file
from safetensors import SafetensorError, deserialize

from zoo.errors import InvalidWeights
from zoo.store import Store
from zoo.store.files import add_weights
from zoo.store.header import BITS, parse_header


def tensor(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


ONE = tensor("U8", [4], 0, 4)
BODY = b"abcd"

REFUSED = {
    "no bytes": (b"", "empty"),
    "no length": (b"\1\0\0", "shorter than 8 bytes"),
    "cut in the header": (raw_file({"a": ONE}, BODY)[:20], "within its header"),
    "cut in the body": (raw_file({"a": ONE}, BODY[:3]), "1 bytes are missing"),
    "bytes after the end": (raw_file({"a": ONE}, BODY + b"xy"), "2 bytes follow"),
    "body without tensors": (raw_file({}, b"x"), "1 bytes follow"),
    "a hole": (raw_file({"a": ONE, "b": tensor("U8", [1], 5, 6)}, b"abcdef"), "leave a hole"),
    "a hole at the start": (raw_file({"a": tensor("U8", [3], 1, 4)}, BODY), "leave a hole"),
    "an overlap": (raw_file({"a": ONE, "b": tensor("U8", [2], 3, 5)}, b"abcde"), "overlap"),
    "one range twice": (raw_file({"a": ONE, "b": ONE}, BODY), "overlap"),
    "a name twice": (raw_file(f'{{"a":{json.dumps(ONE)},"a":{json.dumps(ONE)}}}', BODY), "twice"),
    "a field twice": (
        raw_file('{"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}}', BODY),
        "twice",
    ),
    "a huge header": ((100_000_001).to_bytes(8, "little") + b"{}", "header has 100,000,001 bytes"),
    "a boundless header": (b"\xff" * 8 + b"{}", "the most are"),
    "end before begin": (raw_file({"a": tensor("U8", [4], 4, 0)}, BODY), "takes -4 bytes"),
    "negative begin": (raw_file({"a": tensor("U8", [4], -4, 0)}, BODY), "not a whole number"),
    "negative shape": (raw_file({"a": tensor("U8", [-2, -2], 0, 4)}, BODY), "not a whole number"),
    "a fraction": (raw_file({"a": tensor("U8", [4.0], 0, 4)}, BODY), "not a whole number"),
    "a truth value": (raw_file({"a": tensor("U8", [True], 0, 1)}, b"x"), "not a whole number"),
    "three offsets": (
        raw_file({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 2, 4]}}, BODY),
        "not a safetensors file",
    ),
    "fewer bytes than the shape": (raw_file({"a": tensor("F32", [2], 0, 4)}, BODY), "needs 8"),
    "more bytes than the shape": (raw_file({"a": tensor("F32", [0], 0, 4)}, BODY), "needs 0"),
    "half a byte": (raw_file({"a": tensor("F4", [3], 0, 2)}, b"xy"), "needs 1.5"),
    "an unknown dtype": (raw_file({"a": tensor("F33", [1], 0, 4)}, BODY), "unknown dtype 'F33'"),
    "a dtype that is a list": (raw_file({"a": {**ONE, "dtype": []}}, BODY), "not a safetensors"),
    "no shape": (raw_file({"a": {"dtype": "U8", "data_offsets": [0, 4]}}, BODY), "shape"),
    "a tensor that is a number": (raw_file({"a": 4}, BODY), "not a safetensors file"),
    "a list": (raw_file("[]"), "header is not an object"),
    "no JSON": (raw_file("abcdef"), "not a safetensors file"),
    "a pickle": (b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.", "the most are"),
    "deep nesting": (raw_file("[" * 100_000), "not a safetensors file"),
    "another encoding": (raw_file(json.dumps({"a": ONE}).encode("utf-16"), BODY), "utf-8"),
    "metadata that are numbers": (
        raw_file({"__metadata__": {"a": 1}, "a": ONE}, BODY),
        "a map of strings",
    ),
    "metadata that are a list": (
        raw_file({"__metadata__": [], "a": ONE}, BODY),
        "a map of strings",
    ),
    "what JSON has not": (raw_file({"__metadata__": float("nan"), "a": ONE}, BODY), "NaN"),
    "less than nothing": (
        raw_file('{"a":{"dtype":"U8","shape":[4],"data_offsets":[-0,4]}}', BODY),
        "not a whole number",
    ),
    "half a character": (raw_file({"\ud800": ONE}, BODY), "surrogates"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_breaks_the_format_is_refused(tmp_path: Path, case: str) -> None:
    data, reason = REFUSED[case]
    store, path = Store.create(tmp_path / "zoo"), tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(InvalidWeights, match=reason) as caught:
        add_weights(store, path)
    assert caught.value.file == str(path)
    assert objects_in(store) == set()


@pytest.mark.parametrize("case", sorted(REFUSED.keys() - {"a name twice"}))  # it keeps the last
def test_the_reference_reader_refuses_it_too(case: str) -> None:
    with pytest.raises((SafetensorError, TypeError, ValueError)):
        deserialize(REFUSED[case][0])  # type: ignore[no-untyped-call]


def test_tensors_are_listed_in_the_order_of_their_bytes() -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "last": tensor("F16", [2], 5, 9),
        "empty": tensor("F32", [0, 7], 5, 5),
        "first": tensor("I8", [5], 0, 5),
    }
    data = raw_file(header, b"123456789")
    found = parse_header(Path("x"), memoryview(data))
    assert found.length == len(data) - 9
    assert [entry.name for entry in found.entries] == ["first", "empty", "last"]
    assert [data[entry.begin : entry.end] for entry in found.entries] == [b"12345", b"", b"6789"]
    assert found.entries[1].shape == (0, 7)


@pytest.mark.parametrize("dtype", BITS)
def test_every_dtype_of_the_format_is_read(dtype: str) -> None:
    nbytes = 8 * BITS[dtype] // 8
    data = raw_file({"a": tensor(dtype, [2, 4], 0, nbytes)}, bytes(nbytes))
    (entry,) = parse_header(Path("x"), memoryview(data)).entries
    assert (entry.dtype, entry.end - entry.begin) == (dtype, nbytes)


def test_a_header_padded_with_spaces_is_read() -> None:
    data = raw_file(json.dumps({"a": ONE}) + " " * 9, BODY)
    assert parse_header(Path("x"), memoryview(data)).length == len(data) - 4
