"""Conformance of remotes: what every `zoo.contracts.Backend` must do, and that a store over it
works. What `Backend.connect` refuses differs from place to place and is the author's own to test.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from blake3 import blake3

from zoo.codec.frame import encode
from zoo.codec.header import Codec
from zoo.codec.layouts import LAYOUTS
from zoo.codec.text import encode_text
from zoo.contracts import (
    Backend,
    Folder,
    Kind,
    LocalDisk,
    SupportsBatches,
    SupportsPermissions,
    SupportsSync,
)
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Corrupt, MissingObject
from zoo.store import Store
from zoo.store.listing import name_of
from zoo.store.manifests import encode_alone, manifest_bytes
from zoo.store.prune import execute, plan
from zoo.store.verify import verify

__all__ = ["BackendSuite", "StoreSuite"]

BODY = bytes(range(256)) * 20
LARGE = 3 * (1 << 20) + 5
KEY = "objects/ab/abcd"
FLOWERS = Reference("team", "flowers")
AT_ONCE = timedelta(seconds=-5)
"""A grace that spares nothing, also where times are whole seconds."""


def get(backend: Backend, key: str, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of what is under a key."""
    return b"".join(backend.open(key, offset, length))


def keys(backend: Backend, folder: str) -> list[str]:
    """All keys in a folder, sorted."""
    return sorted(file.name for file in backend.list(folder))


class BackendSuite:
    """Subclass it, and supply a fixture ``backend`` that returns a new, empty backend.

    class TestShelf(BackendSuite):
        @pytest.fixture
        def backend(self, tmp_path: Path) -> Backend:
            return Shelf.connect(f"shelf://{tmp_path}/team", create=True)

    Call the class ``Test…`` and the file ``test_….py``, so that pytest collects the tests.
    Subclass `StoreSuite` likewise.
    """

    def test_a_new_one_is_empty(self, backend: Backend) -> None:
        """And says where it is."""
        assert backend.stat(KEY) is None
        assert list(backend.list("")) == []
        assert not str(backend).startswith("<")

    def test_bytes_come_back_as_they_were(self, backend: Backend) -> None:
        """What is put in pieces is read back whole."""
        pieces: list[bytes | memoryview] = [BODY[:100], b"", memoryview(BODY)[100:]]
        backend.put(KEY, iter(pieces))
        assert get(backend, KEY) == BODY

    def test_much_comes_back_as_it_was(self, backend: Backend) -> None:
        """More than the piece that a backend is likely to read at a time."""
        body = (BODY * (LARGE // len(BODY) + 1))[:LARGE]
        backend.put(KEY, [body[:70000], body[70000:]])
        assert get(backend, KEY) == body
        assert get(backend, KEY, 12345, 2 << 20) == body[12345 : 12345 + (2 << 20)]

    @pytest.mark.parametrize("offset", [0, 1, 255, len(BODY) - 1, len(BODY), len(BODY) + 1])
    @pytest.mark.parametrize("length", [None, 1, 100, len(BODY), len(BODY) + 1])
    def test_a_part_is_read(self, backend: Backend, offset: int, length: int | None) -> None:
        """From the offset on, no more than asked for, and nothing past the end."""
        backend.put(KEY, [BODY])
        expected = BODY[offset:] if length is None else BODY[offset : offset + length]
        assert get(backend, KEY, offset, length) == expected

    @pytest.mark.parametrize("length", [None, 1, 88])
    def test_nothing_is_something(self, backend: Backend, length: int | None) -> None:
        """No bytes are kept under a key, too."""
        backend.put(KEY, [])
        stat = backend.stat(KEY)
        assert stat is not None
        assert stat.bytes == 0
        assert get(backend, KEY, 0, length) == b""

    @pytest.mark.parametrize("offset", [0, 1])
    def test_what_is_absent_has_no_size_and_no_bytes(self, backend: Backend, offset: int) -> None:
        """Also where something is beside it."""
        backend.put(KEY, [BODY])
        for key in ("objects/ab/abce", "objects/ab/abc", "objects/ac/abcd"):
            assert backend.stat(key) is None
            with pytest.raises(FileNotFoundError):
                get(backend, key, offset)

    def test_what_is_put_again_takes_the_place(self, backend: Backend) -> None:
        """Whatever size it has."""
        for body in (BODY, BODY[:10], b"", BODY * 2):
            backend.put(KEY, [body])
            assert get(backend, KEY) == body

    @pytest.mark.parametrize("before", [None, b"before"])
    def test_what_is_cut_short_changes_nothing(
        self, backend: Backend, before: bytes | None
    ) -> None:
        """And the error is the caller's own."""

        def pieces() -> Iterator[bytes]:
            yield BODY[:100]
            raise InterruptedError

        if before is not None:
            backend.put(KEY, [before])
        with pytest.raises(InterruptedError):
            backend.put(KEY, pieces())
        assert (backend.stat(KEY) and get(backend, KEY)) == before
        assert keys(backend, "") == ([] if before is None else [KEY])

    def test_what_is_there_is_not_created(self, backend: Backend) -> None:
        """The first one stays."""
        assert backend.create(KEY, BODY) is True
        assert backend.create(KEY, b"second") is False
        assert backend.create(KEY, BODY) is False
        assert get(backend, KEY) == BODY
        backend.delete(KEY)
        assert backend.create(KEY, memoryview(b"third")) is True
        assert get(backend, KEY) == b"third"

    def test_of_many_who_create_one_does(self, backend: Backend) -> None:
        """And what it created is what is there."""
        texts = [b"%d" % number for number in range(8)]
        with ThreadPoolExecutor(len(texts)) as pool:
            created = list(pool.map(lambda text: backend.create(KEY, text), texts))
        assert sum(created) == 1
        assert get(backend, KEY) == texts[created.index(True)]

    def test_what_is_put_is_listed(self, backend: Backend) -> None:
        """By its key, with its size and a date by the backend's own clock, as `stat` has it."""
        before = backend.now()
        backend.put(KEY, [BODY])
        (file,) = backend.list("objects/")
        assert (file.name, file.bytes) == (KEY, len(BODY))
        second = timedelta(seconds=1)  # as exact as some services are
        stat = backend.stat(KEY)
        assert stat is not None
        assert (stat.name, stat.bytes) == (KEY, len(BODY))
        assert abs(stat.at - file.at) <= second
        assert before - second <= file.at <= backend.now() + second

    def test_folders_are_listed_apart(self, backend: Backend) -> None:
        """With those below; what one holds is not in another, whose name may begin alike."""
        names = ["a/b", "a/b.c/d", "a/bc/d", "a/b-/c/d/e", "ab/c", "c"]
        for name in names:
            backend.put(name, [b""])
        for folder in ("", "a/", "a/b.c/", "a/b-/", "a/b-/c/", "ab/", "b/"):
            assert keys(backend, folder) == sorted(n for n in names if n.startswith(folder))

    def test_many_are_listed(self, backend: Backend) -> None:
        """As many as do not fit into the first folders."""
        names = sorted(f"objects/{number % 7}/{number}" for number in range(40))
        for name in names:
            backend.put(name, [b"x"])
        assert keys(backend, "objects/") == names

    def test_what_is_deleted_is_gone(self, backend: Backend) -> None:
        """And only that; deleting it again is no error."""
        backend.put(KEY, [BODY])
        backend.put(f"{KEY}e", [BODY])
        for _ in range(2):
            backend.delete(KEY)
            assert keys(backend, "") == [f"{KEY}e"]
        assert backend.stat(KEY) is None

    def test_what_it_does_better_it_does_right(self, backend: Backend) -> None:
        """Each of the capabilities of `zoo.contracts` that it has."""
        names = [f"objects/ab/{number}" for number in range(20)] + [KEY, "objects/cd/1"]
        for name in names:
            backend.put(name, [BODY])
        absent = ["objects/ab/x", *(f"objects/ef/{number}" for number in range(20))]
        if isinstance(backend, SupportsBatches):
            assert backend.at_once >= 1
            present = backend.present([*names, *absent])
            assert {name: file.bytes for name, file in present.items()} == dict.fromkeys(
                names, len(BODY)
            )
            assert not backend.present([])
            assert sorted(backend.folders("objects/")) == ["ab", "cd"]
            assert list(backend.folders("refs/")) == []
        if isinstance(backend, LocalDisk):
            assert backend.view(KEY) == BODY
            with pytest.raises(FileNotFoundError):
                backend.view(absent[0])
        if isinstance(backend, SupportsSync):
            backend.touch("tmp/sign", b"mine")
            backend.sync()
            assert get(backend, "tmp/sign") == b"mine"
        if isinstance(backend, SupportsPermissions):
            assert backend.kinds("objects/") == {"ab": "a folder", "cd": "a folder"}
            assert backend.kinds("objects/cd/") == {"1": "a file"}
            assert backend.kinds("objects/ef/") == {}
            files, unlisted = backend.readable("objects/")
            assert (sorted(file.name for file in files), unlisted) == (sorted(names), {})
            backend.tidy()


def digest_of(data: bytes) -> Digest:
    """The name of ``data``."""
    return Digest("blake3", blake3(data).hexdigest())


def read(store: Store, digest: Digest, offset: int = 0, kind: Kind = "objects") -> bytes:
    """All bytes from ``offset`` on."""
    return b"".join(store.read(kind, digest, offset))


def entry(number: int, content: bytes = b"") -> RefEntry:
    """Entry ``number`` of a ref; it points at a manifest of the bytes ``content``."""
    return RefEntry(
        number=number,
        manifest=digest_of(content),
        previous=digest_of(b"previous") if number > 1 else None,
        at="2026-01-02T03:04:05Z",
        by="Zoë",
        why="conformance",
    )


def names(store: Store, folder: Folder) -> list[str]:
    """All names below ``folder``, sorted."""
    return sorted(file.name for file in store.files(folder))


class StoreSuite:
    """A store over a backend: as `BackendSuite`, with the same fixture ``backend``."""

    @pytest.fixture
    def store(self, backend: Backend) -> Store:
        """A new store."""
        return Store.connect(backend, create=True)

    def test_a_new_store_is_empty(self, store: Store) -> None:
        """No name, no object."""
        assert list(store.refs()) == []
        assert store.missing("objects", [digest_of(BODY)]) == {digest_of(BODY)}

    @pytest.mark.parametrize("body", [BODY, b""], ids=["bytes", "nothing"])
    def test_bytes_come_back_as_they_were(self, store: Store, body: bytes) -> None:
        """What is written in pieces is read back whole; to write it again changes nothing."""
        digest = digest_of(body)
        assert store.write("objects", digest, [body[:100], b"", body[100:]]) is True
        assert store.missing("objects", [digest]) == set()
        assert store.size("objects", digest) == len(body)
        assert store.write("objects", digest, [body]) is False
        assert read(store, digest) == body

    @pytest.mark.parametrize("wrong", [BODY[:-1], BODY + b"\0", b"", b"\1" + BODY[1:]])
    def test_wrong_bytes_are_refused(self, store: Store, wrong: bytes) -> None:
        """Truncated, lengthened, none or flipped: nothing is kept, the right ones still can be."""
        digest = digest_of(BODY)
        with pytest.raises(Corrupt):
            store.write("objects", digest, [wrong])
        assert store.missing("objects", [digest]) == {digest}
        assert store.write("objects", digest, [BODY]) is True

    def test_bytes_under_a_digest_of_another_algorithm_are_refused(self, store: Store) -> None:
        """Objects are named by BLAKE3 and nothing else."""
        digest = Digest("sha256", digest_of(BODY).hex)
        with pytest.raises(Corrupt):
            store.write("objects", digest, [BODY])

    def test_an_interrupted_write_keeps_nothing(self, store: Store) -> None:
        """An object appears whole or not at all, and the error is the caller's own."""

        def pieces() -> Iterator[bytes]:
            yield BODY[:100]
            raise InterruptedError

        digest = digest_of(BODY)
        with pytest.raises(InterruptedError):
            store.write("objects", digest, pieces())
        assert store.missing("objects", [digest]) == {digest}

    def test_missing_names_what_is_not_here(self, store: Store) -> None:
        """Of those asked for, only those absent."""
        here, absent = store.put("objects", BODY), digest_of(b"absent")
        assert store.missing("objects", [here, absent]) == {absent}
        assert store.missing("objects", []) == set()

    @pytest.mark.parametrize("kind", ["objects", "manifests"])
    def test_what_is_absent_has_no_size_and_no_bytes(self, store: Store, kind: Kind) -> None:
        """`MissingObject` carries the digest."""
        digest = digest_of(b"absent")
        with pytest.raises(MissingObject) as caught:
            store.size(kind, digest)
        assert caught.value.digest == str(digest)
        with pytest.raises(MissingObject):
            read(store, digest, kind=kind)

    def test_manifests_are_kept_apart_from_objects(self, store: Store) -> None:
        """The same digest is a manifest, an object, both or neither."""
        digest = store.put("manifests", BODY)
        assert store.missing("objects", [digest]) == {digest}
        assert read(store, digest, kind="manifests") == BODY
        assert store.write("objects", digest, [BODY]) is True

    def test_a_ref_is_the_newest_of_its_entries(self, store: Store) -> None:
        """Entries come back equal; the history is oldest first, ordered by number and not as text.
        To ask for a ref that is not there is no error.
        """
        assert store.read_ref(FLOWERS) is None
        assert store.history(FLOWERS) == ()
        entries = [entry(number, b"%d" % number) for number in range(1, 13)]
        for each in entries:
            store.append_ref(FLOWERS, each)
        assert store.read_ref(FLOWERS) == entries[-1]
        assert store.history(FLOWERS) == tuple(entries)

    def test_a_taken_number_is_refused(self, store: Store) -> None:
        """The first one stays, and the error says what it is."""
        store.append_ref(FLOWERS, entry(1, b"first"))
        with pytest.raises(Conflict) as caught:
            store.append_ref(FLOWERS, entry(1, b"second"))
        assert caught.value.current == str(digest_of(b"first"))
        assert store.history(FLOWERS) == (entry(1, b"first"),)

    @pytest.mark.parametrize(("have", "number"), [(0, 2), (1, 3), (1, 0)])
    def test_a_number_out_of_turn_is_refused(self, store: Store, have: int, number: int) -> None:
        """Each entry follows the one before it."""
        entries = [entry(n) for n in range(1, have + 1)]
        for each in entries:
            store.append_ref(FLOWERS, each)
        with pytest.raises(Conflict):
            store.append_ref(FLOWERS, entry(number))
        assert store.history(FLOWERS) == tuple(entries)

    def test_refs_are_sorted_and_apart(self, store: Store) -> None:
        """Namespace, name and tag all tell refs apart."""
        names = ["b/a:v1", "a/b", "a/b:v2", "b/a", "a/b-c", "a/b.c:v1.0", "c/D", "_/0"]
        refs = [Reference.parse(name) for name in names]
        for number, ref in enumerate(refs):
            store.append_ref(ref, entry(1, bytes([number])))
        assert list(store.refs()) == sorted(refs)
        for number, ref in enumerate(refs):
            assert store.read_ref(ref) == entry(1, bytes([number]))

    @pytest.mark.parametrize("wrong", [BODY[:-1], BODY + b"\0", b"", b"\1" + BODY[1:]])
    @pytest.mark.parametrize("kind", ["objects", "manifests"])
    def test_damage_is_noticed_and_replaced(self, store: Store, kind: Kind, wrong: bytes) -> None:
        """Truncated, lengthened, none or flipped; wrong bytes do not take their place."""
        digest = store.put(kind, BODY)
        assert store.is_sound(kind, digest)
        store.backend.put(name_of(kind, digest), [wrong])
        assert not store.is_sound(kind, digest)
        with pytest.raises(Corrupt):
            store.replace(kind, digest, [b"wrong"])
        assert read(store, digest, kind=kind) == wrong
        store.replace(kind, digest, [BODY[:9], BODY[9:]])
        assert store.is_sound(kind, digest)

    def test_what_is_lost_is_replaced_too(self, store: Store) -> None:
        """An absent object is neither sound nor damaged."""
        with pytest.raises(MissingObject):
            store.is_sound("objects", digest_of(BODY))
        store.replace("objects", digest_of(BODY), [BODY])
        assert read(store, digest_of(BODY)) == BODY

    def test_an_encoded_object_is_replaced(self, store: Store) -> None:
        """If its checksum is right."""
        plain, digest = bytes(4096), digest_of(bytes(4096))
        data = encode(Codec.FULL, plain, LAYOUTS["F32"])
        store.backend.put(name_of("encoded", digest), [b"damaged"])
        with pytest.raises(Corrupt):
            store.replace("encoded", digest, [data[:-1]])
        assert read(store, digest, kind="encoded") == b"damaged"
        store.replace("encoded", digest, [data])
        assert verify(store).damages == ()

    def test_an_encoded_manifest_is_read_as_what_it_was(self, store: Store) -> None:
        """Where the marker tells other programs that there are such."""
        child, digest = BODY + b"more", digest_of(BODY + b"more")
        base = store.put("manifests", BODY)
        assert store.admit_encoded_manifests()
        assert store.admit_encoded_manifests()
        assert Store.connect(store.backend, create=False).has_manifest(base)
        data = encode_text(child, BODY, base)
        assert store.write("encoded-manifests", digest, [data]) is True
        assert store.write("encoded-manifests", digest, [data]) is False
        assert manifest_bytes(store, digest) == child
        assert store.starting_with(digest.hex[:2]) == [digest]
        encode_alone(store, digest)
        store.remove(name_of("manifests", base))
        assert manifest_bytes(store, digest) == child

    def test_a_pruned_manifest_is_remembered_until_it_is_back(self, store: Store) -> None:
        """By an empty file."""
        digest = store.put("manifests", BODY)
        for back in (store.write, store.replace):
            store.remember_pruned(digest)
            store.remove(name_of("manifests", digest))
            (mark,) = store.files("pruned")
            assert (mark.name, mark.bytes) == (name_of("pruned", digest), 0)
            back("manifests", digest, [BODY])
            assert names(store, "pruned") == []

    def test_an_upload_keeps_prunes_away(self, store: Store) -> None:
        """While it is open; other uploads do not mind."""
        with store.upload():
            with store.upload():
                assert len([n for n in names(store, "tmp") if n.startswith("tmp/uploads/")]) >= 1
            with pytest.raises(Conflict, match="upload"), store.pruning():
                pytest.fail("it started")
        with store.pruning():
            pass
        assert names(store, "tmp") == []

    def test_a_prune_keeps_uploads_and_prunes_away(self, store: Store) -> None:
        """While it is under way."""
        with store.pruning():
            assert [name[:10] for name in names(store, "tmp")] == ["tmp/prune-"]
            for other in (store.upload, store.pruning):
                with pytest.raises(Conflict, match="prune"), other():
                    pytest.fail("it started")
        with store.upload():
            pass
        assert names(store, "tmp") == []

    def test_signs_of_others_count(self, store: Store) -> None:
        """As a program leaves them that reaches the same store another way."""
        store.backend.put("tmp/prune-0123", [b""])
        with pytest.raises(Conflict), store.upload():
            pytest.fail("it started")
        store.remove("tmp/prune-0123")
        store.backend.put("tmp/uploads/0123", [b""])
        with pytest.raises(Conflict), store.pruning():
            pytest.fail("it started")

    def test_verify_finds_damage(self, store: Store) -> None:
        """And counts what is sound."""
        digest = store.put("objects", BODY)
        store.put("objects", b"sound")
        assert (verify(store).files, verify(store).damages) == (2, ())
        store.backend.put(name_of("objects", digest), [b"damaged"])
        (damage,) = verify(store).damages
        assert (damage.kind, damage.name) == ("object", str(digest))

    def test_prune_deletes_what_is_old_and_unneeded(self, store: Store) -> None:
        """After a plan, which changes nothing; what is young is spared."""
        digest = store.put("objects", BODY)
        store.backend.put("tmp/tmphalf0000", [b"half an object"])
        spared = plan(store, keep=timedelta(0), grace=timedelta(days=1))
        assert (spared.doomed, spared.young) == ((), 1)
        shown = plan(store, keep=timedelta(0), grace=AT_ONCE)
        assert [item.name for item in shown.doomed] == [str(digest), "tmp/tmphalf0000"]
        assert store.missing("objects", [digest]) == set()
        assert execute(store, shown, keep=timedelta(0), grace=AT_ONCE).doomed == shown.doomed
        assert names(store, "objects") == names(store, "tmp") == []
