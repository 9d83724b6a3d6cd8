"""torchvision's weights, delivered by a server of our own with faults on demand."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from fakes.sampled import sampled
from fakes.typed import card
from torchvision import models
from torchvision.models import WeightsEnum

from zoo.domain.catalog import CatalogEntry, Location
from zoo.domain.reference import Reference
from zoo.errors import Corrupt, InvalidWeights, Unavailable, UnknownName, Unsupported
from zoo.facade import Zoo
from zoo.testing.sources import SourceSuite
from zoo_torchvision import catalog, download, networks
from zoo_torchvision.catalog import TorchvisionCatalog
from zoo_torchvision.networks import pinned

LOCATOR = "squeezenet1_1.IMAGENET1K_V1"
NAME = f"torchvision/{LOCATOR}"


@dataclass
class Server:
    """One file under any name; ``faults`` are taken by the next requests of its bytes.

    A fault is a status, or how many bytes of the body come before the connection ends.
    """

    body: bytes
    faults: list[tuple[str, int]] = field(default_factory=list)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    ranges: bool = True
    sized: bool = True
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        start = handler.headers.get("Range")
        self.asked.append((handler.command, handler.path, start))
        kind, value = self.faults.pop(0) if self.faults else ("", 0)
        if kind == "status":
            handler.send_error(value)
            return
        offset = int(start[6:-1]) if start and self.ranges else 0
        rest = self.body[offset:]
        handler.send_response(206 if offset else 200)
        if self.sized:
            handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(rest[:value] if kind == "cut" else rest)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    module: torch.nn.Module = models.squeezenet1_1().eval()
    return module


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return file.getvalue()


@pytest.fixture
def server(weights: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Stands in for torchvision's; the file that it serves is the one that is promised."""
    served = Server(weights)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        served.url = f"http://127.0.0.1:{http.server_address[1]}"
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "127.0.0.1")
        digits = hashlib.sha256(weights).hexdigest()[:8]
        monkeypatch.setattr(catalog, "_url", lambda weights: f"{served.url}/{file_of(weights)}")
        monkeypatch.setattr(networks, "pinned", lambda weights: (file_of(weights), digits))
        yield served
        http.shutdown()
        thread.join()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been slept, without the sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(download, "sleep", slept.append)
    return slept


def file_of(weights: WeightsEnum) -> str:
    return str(weights.url).rpartition("/")[2]


def whole(source: TorchvisionCatalog, offset: int = 0) -> bytes:
    release = source.resolve(LOCATOR)
    return b"".join(source.open(release, release.weights, offset))


class TestSource(SourceSuite):
    @pytest.fixture
    def source(self, server: Server) -> TorchvisionCatalog:
        return TorchvisionCatalog()

    @pytest.fixture
    def locator(self) -> str:
        return LOCATOR


@pytest.fixture
def source(server: Server) -> TorchvisionCatalog:
    return TorchvisionCatalog()


def test_a_release_is_pinned_by_the_digits_in_the_files_name(server: Server) -> None:
    release = TorchvisionCatalog().resolve(LOCATOR)
    assert release.weights == "squeezenet1_1-b8a52dc0.pth"
    assert release.files[0].size == len(server.body)
    assert hashlib.sha256(server.body).hexdigest().startswith(release.revision)
    assert [(how, path) for how, path, _ in server.asked] == [("HEAD", f"/{release.weights}")]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_taken_up_where_it_ended(
    server: Server, source: TorchvisionCatalog, pauses: list[float], ranges: bool
) -> None:
    server.ranges = ranges
    server.faults = [("", 0), ("cut", 1000), ("status", 503), ("cut", 70_000)]
    assert whole(source) == server.body
    starts = [start for how, _, start in server.asked if how == "GET"]
    assert starts[:3] == [None, "bytes=1000-", "bytes=1000-"]
    assert len(pauses) == 3


def test_one_that_keeps_failing_is_given_up(
    server: Server, source: TorchvisionCatalog, pauses: list[float]
) -> None:
    server.faults = [("", 0), *[("cut", 0)] * 9]
    with pytest.raises(Unavailable, match="closed early"):
        whole(source)
    assert pauses == [0.5, 1, 2, 4]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_file_that_is_not_there(
    server: Server, source: TorchvisionCatalog, pauses: list[float], status: int
) -> None:
    server.faults = [("status", status)] * 9
    with pytest.raises(Unavailable, match=rf"answered {status} .*squeezenet1_1-b8a52dc0\.pth"):
        source.resolve(LOCATOR)
    assert bool(pauses) == (status == 500)


def test_a_server_that_states_no_size(server: Server, source: TorchvisionCatalog) -> None:
    server.sized = False
    with pytest.raises(Unavailable, match="no size"):
        source.resolve(LOCATOR)


def test_nobody_waits_for_a_server_that_was_never_reached(
    source: TorchvisionCatalog, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_url", lambda _: "http://127.0.0.1:9/file-12345678.pth")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9: no connection"):
        source.resolve(LOCATOR)
    assert pauses == []


def test_wrong_bytes_are_noticed_where_they_are_read_whole(
    server: Server, source: TorchvisionCatalog
) -> None:
    server.body = server.body[:-1] + b"?"
    with pytest.raises(Corrupt, match=r"squeezenet1_1-b8a52dc0\.pth"):
        whole(source)
    assert whole(source, 5) == server.body[5:]


def test_weights_whose_file_name_says_no_digest(
    source: TorchvisionCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "pinned", lambda _: None)
    with pytest.raises(Unsupported, match="digest"):
        source.resolve(LOCATOR)
    assert all(entry.location is None for entry in source.entries())


def test_pull(
    server: Server, network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Zoo.init(tmp_path_factory.mktemp("pull") / "zoo") as z:
        z.index("torchvision")
        done = z.pull(NAME)
        assert str(done.ref) == NAME
        assert done.release is not None
        manifest = z.workspace.store.manifest(done.manifest)
        assert manifest.provenance["revision"] == done.release.revision
        assert manifest.provenance["sha256"] == hashlib.sha256(server.body).hexdigest()
        assert manifest.license == "bsd-3-clause"
        loaded = z.load(NAME)
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(loaded(images), network(images))
        assert card(loaded).classes[:2] == ("tench", "goldfish")


@pytest.mark.parametrize(
    "what",
    sampled(["wrong", "longer", "code"], ["wrong"]),
)
def test_what_is_not_the_weights_is_not_kept(
    server: Server,
    what: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if what == "wrong":
        server.body = server.body[:-1] + b"?"
    if what == "longer":
        monkeypatch.setattr(download, "size_of", lambda _: len(server.body) - 9)
    if what == "code":
        server.body = b"cos\nsystem\n(S'true'\ntR."
        digits = hashlib.sha256(server.body).hexdigest()[:8]
        monkeypatch.setattr(networks, "pinned", lambda weights: (file_of(weights), digits))
    with Zoo.init(tmp_path_factory.mktemp("pull") / "zoo") as z:
        z.index("torchvision")
        with pytest.raises(InvalidWeights if what == "code" else Corrupt):
            z.pull(NAME)
        assert list(z.workspace.store.refs()) == []


def test_entries_are_valid_names_with_all_that_is_known() -> None:
    entries = {entry.name: entry for entry in TorchvisionCatalog().entries()}
    assert all(str(Reference.parse(name)) == name for name in entries)
    assert entries["torchvision/resnet50.IMAGENET1K_V2"] == CatalogEntry(
        name="torchvision/resnet50.IMAGENET1K_V2",
        backbone="torchvision",
        architecture="resnet50",
        tag="IMAGENET1K_V2",
        license="bsd-3-clause",
        input_size=(3, 224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation="bilinear",
        crop_pct=224 / 232,
        crop_mode="center",
        num_classes=1000,
        location=Location("torchvision", "resnet50.IMAGENET1K_V2"),
    )
    assert entries["torchvision/vit_b_16.IMAGENET1K_SWAG_E2E_V1"].architecture == "vit_b_16_384"
    assert entries["torchvision/vgg16.IMAGENET1K_FEATURES"].num_classes == 0


def test_licenses_are_those_that_torchvision_states() -> None:
    for entry in TorchvisionCatalog().entries():
        swag = "SWAG" in str(entry.tag)
        assert entry.license == ("cc-by-nc-4.0" if swag else "bsd-3-clause"), entry.name


def test_every_file_is_pinned() -> None:
    names = models.list_models(module=models)
    for weights in (member for name in names for member in models.get_model_weights(name)):
        assert weights.url.startswith("https://download.pytorch.org/models/")
        found = pinned(weights)
        assert found is not None
        assert len(found[1]) >= 8


def test_unknown_weights_are_answered_with_near_ones() -> None:
    with pytest.raises(UnknownName, match=r"resnet50\.IMAGENET1K_V3") as caught:
        TorchvisionCatalog().resolve("resnet50.IMAGENET1K_V3")
    assert "resnet50.IMAGENET1K_V2" in caught.value.near
