"""Signatures from strangers: whatever is in them, they do not count, and are told of in a line."""

from __future__ import annotations

import json
import resource
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.signing_keys import Authority, Key, make_key
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.domain.digest import Digest
from zoo.domain.limits import SIGNATURE_BYTES
from zoo.domain.signature import Signature, Signed, Signer
from zoo.signing.examine import examine
from zoo.signing.sign import read_signer, sign

DIGEST = Digest("blake3", "a" * 64)
SIGNED = Signed(
    manifest=DIGEST, files={"model.safetensors": "b" * 64, "zoo-manifest.json": "c" * 64}
)
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def alice(folder: Path) -> Key:
    return make_key(folder, "alice")


@pytest.fixture(scope="module")
def trusted(folder: Path, alice: Key) -> list[Signer]:
    authority = Authority(folder, "lab")
    return [read_signer("alice", alice.public), read_signer("lab", authority.file)]


@pytest.fixture(scope="module")
def bundle(alice: Key) -> bytes:
    return sign(SIGNED, alice.private)


def check(data: bytes, trusted: list[Signer], signed: Signed = SIGNED) -> Signature:
    return examine(data, DIGEST, signed, trusted)


def test_it_counts_for_what_it_is_of_alone(bundle: bytes, trusted: list[Signer]) -> None:
    assert check(bundle, trusted).problem == ""
    assert check(bundle, trusted).signer == "alice"
    assert check(bundle, []).problem == "its key is none that you trust"
    for files in (
        {**SIGNED.files, "more.txt": "d" * 64},
        {**SIGNED.files, "model.safetensors": "d" * 64},
        {"zoo-manifest.json": "c" * 64},
        {"model.safetensors": "c" * 64, "zoo-manifest.json": "b" * 64},
    ):
        other = Signed(manifest=DIGEST, files=files)
        assert check(bundle, trusted, other).problem.startswith("it is of something else")


def statement(change: Change) -> Change:
    """A change of what is within the envelope."""

    def changed(raw: dict[str, Any]) -> None:
        inner = json.loads(b64decode(raw["dsseEnvelope"]["payload"]))
        change(inner)
        raw["dsseEnvelope"]["payload"] = b64encode(json.dumps(inner).encode()).decode()

    return changed


def put(*path: str | int, to: object) -> Change:
    def changed(raw: dict[str, Any]) -> None:
        at: Any = raw
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to

    return changed


CHANGES: dict[str, Change] = {
    "another file": statement(put("predicate", "resources", 0, "digest", to="d" * 64)),
    "another predicate": statement(put("predicateType", to="https://model_signing/Digests/v0.1")),
    "another type": statement(put("_type", to="x")),
    "no signature": put("dsseEnvelope", "signatures", to=[]),
    "another signature": put("dsseEnvelope", "signatures", 0, "sig", to="MAYCAQECAQE="),
    "another media type": put("mediaType", to="text/plain"),
    "another payload type": put("dsseEnvelope", "payloadType", to="text/plain"),
    "no hint": put("verificationMaterial", "publicKey", to={}),
    "an empty hint": put("verificationMaterial", "publicKey", "hint", to=""),
    "a hint that is none": put("verificationMaterial", "publicKey", "hint", to=["x"]),
    "no material": put("verificationMaterial", to={}),
    "no certificates": put(
        "verificationMaterial", to={"x509CertificateChain": {"certificates": []}}
    ),
    "a certificate that is none": put(
        "verificationMaterial",
        to={"x509CertificateChain": {"certificates": [{"rawBytes": "AA=="}]}},
    ),
    "no certificate": put("verificationMaterial", to={"x509CertificateChain": None}),
    "no envelope": put("dsseEnvelope", to=None),
    "a payload that is none": put("dsseEnvelope", "payload", to="////"),
    "a number for a payload": put("dsseEnvelope", "payload", to=7),
    "a nested payload": put(
        "dsseEnvelope", "payload", to=b64encode(b"[" * 50_000 + b"]" * 50_000).decode()
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_does_not_count(
    bundle: bytes, trusted: list[Signer], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = json.loads(bundle)
    CHANGES[what](raw)
    found = check(json.dumps(raw).encode(), trusted)
    assert found.problem
    assert "\n" not in found.problem
    assert len(found.problem) < 400
    assert capsys.readouterr().out == "", "the library prints"


def test_a_good_signature_under_the_hint_of_another_key(
    bundle: bytes, trusted: list[Signer], folder: Path
) -> None:
    theirs = json.loads(sign(SIGNED, make_key(folder, "mallory").private))
    ours = json.loads(bundle)
    theirs["verificationMaterial"] = ours["verificationMaterial"]
    found = check(json.dumps(theirs).encode(), trusted)
    assert (found.signer, found.problem) == ("alice", "it was not made with that key")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"\xff" * 100,
        b"{" * 100_000,
        b'{"a":' * 30_000,
        b"[" + b"1," * 100_000 + b"1]",
        b" " * (SIGNATURE_BYTES + 1),
    ],
    ids=["empty", "null", "list", "no text", "open", "nested", "long", "large"],
)
def test_what_is_none_takes_no_time(data: bytes, trusted: list[Signer]) -> None:
    began, used = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = check(data, trusted)
    assert found.problem.startswith("it is damaged: ")
    assert time.process_time() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 50_000  # KiB


@given(at=st.integers(0, 2000), byte=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_no_byte_can_be_another(bundle: bytes, trusted: list[Signer], at: int, byte: int) -> None:
    at %= len(bundle)
    if bundle[at] == byte:
        return
    changed = bundle[:at] + bytes([byte]) + bundle[at + 1 :]
    found = check(changed, trusted)
    if not found.problem:  # the same with another spelling, or of what tells nothing
        kept, new = json.loads(bundle), json.loads(changed)
        kept["dsseEnvelope"]["signatures"][0].pop("keyid")
        new["dsseEnvelope"]["signatures"][0].pop("keyid", None)
        for raw in (kept, new):
            raw["verificationMaterial"].pop("tlogEntries", None)
            raw["dsseEnvelope"]["payload"] = b64decode(raw["dsseEnvelope"]["payload"])
            for each in raw["dsseEnvelope"]["signatures"]:
                each["sig"] = b64decode(each["sig"])
        assert kept == new
