"""Conformance of remotes: what every `zoo.contracts.Remote`, and every `Maintained`, must do.

The suites check the instance that a subclass supplies; what `Remote.connect` refuses differs from
place to place and is the author's own to test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from blake3 import blake3

from zoo.codec.frame import encode
from zoo.codec.header import FIXED, Codec
from zoo.codec.layouts import LAYOUTS
from zoo.contracts import Folder, Kind, Maintained, Remote
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Corrupt, MissingObject
from zoo.store.prune import execute, plan
from zoo.store.verify import verify

__all__ = ["MaintainedSuite", "RemoteSuite"]

BODY = bytes(range(256)) * 20
LARGE = 3 * (1 << 20) + 5
FLOWERS = Reference("team", "flowers")
AT_ONCE = timedelta(seconds=-5)
"""A grace that spares nothing, also where times are whole seconds."""

Plant = Callable[[str, bytes], None]


def digest_of(data: bytes) -> Digest:
    """The name of ``data``."""
    return Digest("blake3", blake3(data).hexdigest())


def put(remote: Remote, data: bytes, kind: Kind = "objects") -> Digest:
    """Write ``data`` under its own digest."""
    digest = digest_of(data)
    remote.write(kind, digest, [data])
    return digest


def read(remote: Remote, digest: Digest, offset: int = 0, kind: Kind = "objects") -> bytes:
    """All bytes from ``offset`` on."""
    return b"".join(remote.read(kind, digest, offset))


def entry(number: int, content: bytes = b"") -> RefEntry:
    """Move ``number`` of a ref; it points at a manifest of the bytes ``content``."""
    return RefEntry(
        number=number,
        manifest=digest_of(content),
        previous=digest_of(b"previous") if number > 1 else None,
        at="2026-01-02T03:04:05Z",
        by="Zoë",
        why="conformance",
    )


class RemoteSuite:
    """Subclass it, and supply a fixture ``remote`` that returns a new, empty remote.

    class TestBucket(RemoteSuite):
        @pytest.fixture
        def remote(self, tmp_path: Path) -> Remote:
            return Bucket.connect(f"bucket://{tmp_path}/zoo", create=True)

    Call the class ``Test…`` and the file ``test_….py``, so that pytest collects the tests.
    """

    def test_a_new_remote_is_empty(self, remote: Remote) -> None:
        """No name, no object."""
        assert list(remote.refs()) == []
        assert remote.missing("objects", [digest_of(BODY)]) == {digest_of(BODY)}

    def test_bytes_come_back_as_they_were(self, remote: Remote) -> None:
        """What is written in pieces is read back whole."""
        assert remote.write("objects", digest_of(BODY), [BODY[:100], b"", BODY[100:]]) is True
        assert read(remote, digest_of(BODY)) == BODY

    def test_a_large_object_comes_back_as_it_was(self, remote: Remote) -> None:
        """An object larger than the piece that a remote is likely to read at a time."""
        body = (BODY * (LARGE // len(BODY) + 1))[:LARGE]
        assert read(remote, put(remote, body)) == body

    @pytest.mark.parametrize("offset", [0, 1, 255, len(BODY) - 1])
    def test_reading_starts_at_the_offset(self, remote: Remote, offset: int) -> None:
        """`Remote.read` leaves out the bytes before the offset, and those only."""
        assert read(remote, put(remote, BODY), offset) == BODY[offset:]

    def test_nothing_follows_the_last_byte(self, remote: Remote) -> None:
        """Reading from the very end gives no bytes and no error."""
        assert read(remote, put(remote, BODY), len(BODY)) == b""

    def test_an_empty_object_is_an_object(self, remote: Remote) -> None:
        """No bytes are kept under a digest, too."""
        digest = put(remote, b"")
        assert remote.missing("objects", [digest]) == set()
        assert remote.size("objects", digest) == 0
        assert read(remote, digest) == b""

    def test_writing_again_changes_nothing(self, remote: Remote) -> None:
        """The second write says False."""
        digest = put(remote, BODY)
        assert remote.write("objects", digest, [BODY]) is False
        assert read(remote, digest) == BODY

    @pytest.mark.parametrize("found", [BODY[:-1], BODY + b"\0", b"", b"\1" + BODY[1:]])
    def test_wrong_bytes_are_refused(self, remote: Remote, found: bytes) -> None:
        """Truncated, lengthened, none or flipped: nothing is kept, the right ones still can be."""
        digest = digest_of(BODY)
        with pytest.raises(Corrupt):
            remote.write("objects", digest, [found])
        assert remote.missing("objects", [digest]) == {digest}
        assert remote.write("objects", digest, [BODY]) is True

    def test_bytes_under_a_digest_of_another_algorithm_are_refused(self, remote: Remote) -> None:
        """Objects are named by BLAKE3 and nothing else."""
        digest = Digest("sha256", digest_of(BODY).hex)
        with pytest.raises(Corrupt):
            remote.write("objects", digest, [BODY])

    def test_an_interrupted_write_keeps_nothing(self, remote: Remote) -> None:
        """An object appears whole or not at all, and the error is the caller's own."""

        def pieces() -> Iterator[bytes]:
            yield BODY[:100]
            raise InterruptedError

        digest = digest_of(BODY)
        with pytest.raises(InterruptedError):
            remote.write("objects", digest, pieces())
        assert remote.missing("objects", [digest]) == {digest}

    def test_missing_names_what_is_not_here(self, remote: Remote) -> None:
        """Of those asked for, only those absent."""
        here, absent = put(remote, BODY), digest_of(b"absent")
        assert remote.missing("objects", [here, absent]) == {absent}
        assert remote.missing("objects", []) == set()

    def test_size_is_that_of_the_bytes(self, remote: Remote) -> None:
        """Decoded bytes, whatever the remote does to keep them."""
        assert remote.size("objects", put(remote, BODY)) == len(BODY)

    @pytest.mark.parametrize("kind", ["objects", "manifests"])
    def test_what_is_absent_has_no_size_and_no_bytes(self, remote: Remote, kind: Kind) -> None:
        """`MissingObject` carries the digest."""
        digest = digest_of(b"absent")
        with pytest.raises(MissingObject) as caught:
            remote.size(kind, digest)
        assert caught.value.digest == str(digest)
        with pytest.raises(MissingObject):
            read(remote, digest, kind=kind)

    def test_manifests_are_kept_apart_from_objects(self, remote: Remote) -> None:
        """The same digest is a manifest, an object, both or neither."""
        digest = put(remote, BODY, kind="manifests")
        assert remote.missing("objects", [digest]) == {digest}
        assert read(remote, digest, kind="manifests") == BODY
        assert remote.write("objects", digest, [BODY]) is True

    def test_a_ref_is_the_newest_of_its_entries(self, remote: Remote) -> None:
        """Entries come back equal; the history is oldest first."""
        moves = [entry(1, b"one"), entry(2, b"two"), entry(3, b"three")]
        for move in moves:
            remote.append_ref(FLOWERS, move)
        assert remote.read_ref(FLOWERS) == moves[-1]
        assert remote.history(FLOWERS) == tuple(moves)

    def test_an_unknown_ref_has_no_entries(self, remote: Remote) -> None:
        """No error: to ask is how one finds out."""
        assert remote.read_ref(FLOWERS) is None
        assert remote.history(FLOWERS) == ()

    def test_ten_moves_and_more_stay_in_order(self, remote: Remote) -> None:
        """Numbers are ordered as numbers, not as text."""
        for number in range(1, 13):
            remote.append_ref(FLOWERS, entry(number))
        assert [move.number for move in remote.history(FLOWERS)] == list(range(1, 13))
        newest = remote.read_ref(FLOWERS)
        assert newest is not None
        assert newest.number == 12

    def test_a_taken_number_is_refused(self, remote: Remote) -> None:
        """The first one stays, and the error says what it is."""
        remote.append_ref(FLOWERS, entry(1, b"first"))
        with pytest.raises(Conflict) as caught:
            remote.append_ref(FLOWERS, entry(1, b"second"))
        assert caught.value.current == str(digest_of(b"first"))
        assert remote.history(FLOWERS) == (entry(1, b"first"),)

    @pytest.mark.parametrize(("have", "number"), [(0, 2), (1, 3), (1, 0)])
    def test_a_number_out_of_turn_is_refused(self, remote: Remote, have: int, number: int) -> None:
        """Each entry follows the one before it."""
        moves = [entry(n) for n in range(1, have + 1)]
        for move in moves:
            remote.append_ref(FLOWERS, move)
        with pytest.raises(Conflict):
            remote.append_ref(FLOWERS, entry(number))
        assert remote.history(FLOWERS) == tuple(moves)

    def test_refs_are_sorted_and_apart(self, remote: Remote) -> None:
        """Namespace, name and tag all tell refs apart."""
        names = ["b/a:v1", "a/b", "a/b:v2", "b/a", "a/b-c", "a/b.c:v1.0", "c/D", "_/0"]
        refs = [Reference.parse(name) for name in names]
        for number, ref in enumerate(refs):
            remote.append_ref(ref, entry(1, bytes([number])))
        assert list(remote.refs()) == sorted(refs)
        for number, ref in enumerate(refs):
            assert remote.read_ref(ref) == entry(1, bytes([number]))


def name_of(folder: Folder, digest: Digest) -> str:
    """The name of what a store keeps under a digest, by ``docs/store.md``."""
    suffix = ".json" if folder == "manifests" else ""
    return f"{folder}/{digest.hex[:2]}/{digest.hex}{suffix}"


def names(remote: Maintained, folder: Folder) -> list[str]:
    """All names below ``folder``, sorted."""
    return sorted(file.name for file in remote.files(folder))


class MaintainedSuite(RemoteSuite):
    """As `RemoteSuite`, with a fixture ``plant`` besides: what writes a file past the remote.

    class TestBucket(MaintainedSuite):
        ...

        @pytest.fixture
        def plant(self, tmp_path: Path, remote: Remote) -> Plant:
            return lambda name, data: write_file(tmp_path / "zoo" / name, data)
    """

    def test_it_can_be_maintained(self, remote: Maintained) -> None:
        """All methods are there, and it serves one request at a time at least."""
        assert isinstance(remote, Maintained)
        assert remote.at_once >= 1

    @pytest.mark.parametrize("kind", ["objects", "manifests"])
    def test_what_is_written_is_listed(self, remote: Maintained, kind: Kind) -> None:
        """Name by the layout, size, and an age by the remote's own clock."""
        before = remote.now()
        digest = put(remote, BODY, kind=kind)
        (file,) = remote.files(kind)
        assert (file.name, file.bytes) == (name_of(kind, digest), len(BODY))
        second = timedelta(seconds=1)  # as exact as some services are
        assert before - second <= file.at <= remote.now() + second

    def test_folders_are_listed_apart(self, remote: Maintained) -> None:
        """What one holds is not in another, whose name may begin alike."""
        put(remote, BODY)
        for folder in ("encoded", "manifests", "pruned", "tmp"):
            assert names(remote, folder) == []

    def test_many_are_listed(self, remote: Maintained) -> None:
        """As many as do not fit into the first shards."""
        expected = sorted(name_of("objects", put(remote, b"%d" % n)) for n in range(40))
        assert names(remote, "objects") == expected

    def test_strays_are_listed(self, remote: Maintained, plant: Plant) -> None:
        """Whatever lies in the store, so that `verify` can tell of it."""
        plant("objects/notes.txt", b"mine")
        plant("tmp/abc/half", b"half an object")
        assert names(remote, "objects") == ["objects/notes.txt"]
        assert names(remote, "tmp") == ["tmp/abc/half"]

    def test_what_is_removed_is_gone(self, remote: Maintained) -> None:
        """And only that; removing it again is no error."""
        gone, stays = put(remote, BODY), put(remote, b"stays")
        for _ in range(2):
            remote.remove(name_of("objects", gone))
            assert names(remote, "objects") == [name_of("objects", stays)]
        assert remote.missing("objects", [gone, stays]) == {gone}

    @pytest.mark.parametrize("length", [1, 88, len(BODY), len(BODY) + 1])
    def test_the_start_is_the_first_bytes(self, remote: Maintained, length: int) -> None:
        """Or all, if there are fewer."""
        assert remote.start("objects", put(remote, BODY), length) == BODY[:length]

    def test_the_start_of_nothing_is_nothing(self, remote: Maintained) -> None:
        """Of an empty object, no bytes; of an absent one, an error."""
        assert remote.start("objects", put(remote, b""), FIXED.size) == b""
        with pytest.raises(MissingObject):
            remote.start("encoded", digest_of(b""), FIXED.size)

    @pytest.mark.parametrize("found", [BODY[:-1], BODY + b"\0", b"", b"\1" + BODY[1:]])
    @pytest.mark.parametrize("kind", ["objects", "manifests"])
    def test_damage_is_noticed_and_replaced(
        self, remote: Maintained, plant: Plant, kind: Kind, found: bytes
    ) -> None:
        """Truncated, lengthened, none or flipped; wrong bytes do not take their place."""
        digest = put(remote, BODY, kind=kind)
        assert remote.is_sound(kind, digest)
        plant(name_of(kind, digest), found)
        assert not remote.is_sound(kind, digest)
        with pytest.raises(Corrupt):
            remote.replace(kind, digest, [b"wrong"])
        assert read(remote, digest, kind=kind) == found
        remote.replace(kind, digest, [BODY[:9], BODY[9:]])
        assert remote.is_sound(kind, digest)

    def test_what_is_lost_is_replaced_too(self, remote: Maintained) -> None:
        """An absent object is neither sound nor damaged."""
        with pytest.raises(MissingObject):
            remote.is_sound("objects", digest_of(BODY))
        remote.replace("objects", digest_of(BODY), [BODY])
        assert read(remote, digest_of(BODY)) == BODY

    def test_an_encoded_object_is_replaced(self, remote: Maintained, plant: Plant) -> None:
        """If its checksum is right."""
        plain, digest = bytes(4096), digest_of(bytes(4096))
        data = encode(Codec.FULL, plain, LAYOUTS["F32"])
        plant(name_of("encoded", digest), b"damaged")
        with pytest.raises(Corrupt):
            remote.replace("encoded", digest, [data[:-1]])
        assert read(remote, digest, kind="encoded") == b"damaged"
        remote.replace("encoded", digest, [data])
        assert verify(remote).damages == ()

    def test_a_pruned_manifest_is_remembered_until_it_is_back(self, remote: Maintained) -> None:
        """By an empty file."""
        digest = put(remote, BODY, kind="manifests")
        for back in (remote.write, remote.replace):
            remote.remember_pruned(digest)
            remote.remove(name_of("manifests", digest))
            (mark,) = remote.files("pruned")
            assert (mark.name, mark.bytes) == (name_of("pruned", digest), 0)
            back("manifests", digest, [BODY])
            assert names(remote, "pruned") == []

    def test_an_upload_keeps_prunes_away(self, remote: Maintained) -> None:
        """While it is open; other uploads do not mind."""
        with remote.upload():
            with remote.upload():
                assert len([n for n in names(remote, "tmp") if n.startswith("tmp/uploads/")]) >= 1
            with pytest.raises(Conflict, match="upload"), remote.pruning():
                pytest.fail("it started")
        with remote.pruning():
            pass
        assert names(remote, "tmp") == []

    def test_a_prune_keeps_uploads_and_prunes_away(self, remote: Maintained) -> None:
        """While it is under way."""
        with remote.pruning():
            assert [name[:10] for name in names(remote, "tmp")] == ["tmp/prune-"]
            for other in (remote.upload, remote.pruning):
                with pytest.raises(Conflict, match="prune"), other():
                    pytest.fail("it started")
        with remote.upload():
            pass
        assert names(remote, "tmp") == []

    def test_signs_of_others_count(self, remote: Maintained, plant: Plant) -> None:
        """As a program leaves them that reaches the same store another way."""
        plant("tmp/prune-0123", b"")
        with pytest.raises(Conflict), remote.upload():
            pytest.fail("it started")
        remote.remove("tmp/prune-0123")
        plant("tmp/uploads/0123", b"")
        with pytest.raises(Conflict), remote.pruning():
            pytest.fail("it started")

    def test_verify_finds_damage(self, remote: Maintained, plant: Plant) -> None:
        """And counts what is sound."""
        digest = put(remote, BODY)
        put(remote, b"sound")
        assert (verify(remote).files, verify(remote).damages) == (2, ())
        plant(name_of("objects", digest), b"damaged")
        (damage,) = verify(remote).damages
        assert (damage.kind, damage.name) == ("object", str(digest))

    def test_prune_deletes_what_is_old_and_unneeded(self, remote: Maintained, plant: Plant) -> None:
        """After a plan, which changes nothing; what is young is spared."""
        digest = put(remote, BODY)
        plant("tmp/tmphalf0000", b"half an object")
        spared = plan(remote, keep=timedelta(0), grace=timedelta(days=1))
        assert (spared.doomed, spared.young) == ((), 1)
        shown = plan(remote, keep=timedelta(0), grace=AT_ONCE)
        assert [item.name for item in shown.doomed] == [str(digest), "tmp/tmphalf0000"]
        assert remote.missing("objects", [digest]) == set()
        assert execute(remote, shown, keep=timedelta(0), grace=AT_ONCE).doomed == shown.doomed
        assert names(remote, "objects") == names(remote, "tmp") == []
