"""The plugin contracts, whole. One protocol per entry-point group.

Conformance suites for each are in `zoo.testing`.

| group | protocol | what a user types |
| --- | --- | --- |
| ``zoo.backbones`` | `Backbone` | the first part of an architecture's full name, ``timm`` |
| ``zoo.sources`` | `Catalog`, or `Source` where it also delivers files | ``zoo index timm`` |
| ``zoo.heads`` | `Head` | ``--head linear`` |
| ``zoo.remotes`` | `Backend` | the scheme of ``--to``; a plain path is ``folder`` |
| ``zoo.trackers`` | `Tracker` | ``--log wandb`` |
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

from zoo.domain.catalog import CatalogEntry, Page, Release
from zoo.domain.heard import Heard
from zoo.domain.hierarchy import Hierarchy, InputSize
from zoo.domain.manifest import Manifest, Preprocessing
from zoo.domain.network import Config, Network
from zoo.domain.outline import Outline
from zoo.domain.plain import Json
from zoo.domain.server_token import MadeToken, ServerToken
from zoo.domain.stored import StoredFile
from zoo.domain.surgery import AS_IT_IS, BuildOptions
from zoo.domain.task import Task
from zoo.errors import ZooError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "Backbone",
    "Backend",
    "Catalog",
    "SupportsConfigFiles",
    "SupportsLogin",
    "Folder",
    "SupportsPermissions",
    "Head",
    "Installable",
    "Kind",
    "Known",
    "SupportsReports",
    "SupportsTokens",
    "Local",
    "SupportsBatches",
    "LocalDisk",
    "PagedCatalog",
    "Reports",
    "ServerBackend",
    "Source",
    "SupportsSync",
    "Target",
    "Tokens",
]

Kind = Literal["objects", "encoded", "manifests", "encoded-manifests"]
"""What a store holds under a digest: an object as it is or encoded (see ``docs/store.md``), or a
manifest, as it is or encoded."""

Folder = Literal[Kind, "pruned", "refs", "signatures", "tmp"]
"""What can be listed of a store: what is kept under digests, the marks of manifests that were
deleted on purpose, the entries of names, signatures of checkpoints, and scratch: unfinished writes,
and the signs of uploads and prunes."""


class Backbone(Protocol):
    """Builds the networks of one library and says what their layers are.

    Its hierarchies are kept until `zoo.plugins.backbone_version` changes.
    """

    def architectures(self) -> Sequence[str]:
        """All names that `build` takes, sorted; import paths (``package.module:name``) need not be
        among them.
        """

    def build(self, architecture: str, options: BuildOptions = AS_IT_IS) -> nn.Module:
        """The network with untrained weights; works under ``torch.device("meta")``. One that takes
        images of any size need not heed ``image_size``, except in its `preprocessing`.

        Raises:
            UnknownName: No such architecture, or no such tag of it.
            Unsupported: It is not built for images of that size, or of so many channels.
        """

    def hierarchy(
        self, architecture: str, module: nn.Module, *, input_size: InputSize | None = None
    ) -> Hierarchy:
        """The units of ``module`` (`zoo.backbones.trace.trace` does this for most networks).

        Output shapes are those for images of ``input_size`` (C, H, W); None: its native size.
        """

    def head_modules(self, module: nn.Module) -> tuple[str, ...]:
        """Paths of the modules that make up the head; empty for an encoder."""

    def replace_head(
        self, module: nn.Module, num_outputs: int, build: Callable[[int], nn.Module]
    ) -> None:
        """Put ``build(num_features)`` in the place of the head, which gives ``num_outputs``.

        Raises:
            Unsupported: This head cannot be replaced by such a module.
        """

    def preprocessing(self, module: nn.Module) -> Preprocessing:
        """How images become input of these weights."""

    def classes(self, module: nn.Module) -> tuple[str, ...]:
        """Class names of the published weights in index order; empty where unknown."""

    def convert(self, module: nn.Module, names: Collection[str]) -> Mapping[str, str]:
        """The module's own key for each key in ``names`` of a weights file; one that no rule covers
        maps to itself, as whoever loads the result checks the fit. Left out is what published files
        are known to hold beside the network, such as the text encoder of a pair.
        """

    def fit_weights(
        self, module: nn.Module, state: Mapping[str, torch.Tensor]
    ) -> Mapping[str, torch.Tensor]:
        """``state``, own names to weights of another image size or of three channels, fitted to
        ``module`` (`zoo.backbones.adapt.adapt_channels` does the latter for most networks). Tensors
        that fit already come back as they are, and so do those that no rule covers.

        Raises:
            Unsupported: A tensor cannot be fitted, and the reason is known.
        """

    def export_config(self, module: nn.Module, manifest: Manifest) -> Json:
        """The ``config.json`` with which the library itself loads the exported weights."""


@runtime_checkable
class SupportsConfigFiles(Protocol):
    """A backbone plugin whose library keeps configuration files beside weights.

    What they hold comes from anybody: nothing in it is imported, called or opened by its name.
    """

    def read_config(self, config: Config, processor: Config, names: Sequence[str]) -> Network:
        """The network that ``config.json`` and ``preprocessor_config.json`` describe; ``names`` are
        what the files and what they derive from are called, likeliest first. The result tells all
        of ``config`` that changes what the network computes.

        Raises:
            Unsupported: It holds an argument that is not known, or a value out of bounds, which is
                named; or no architecture is like it.
            KeyError, TypeError, ValueError, AttributeError, OverflowError: It is malformed.
        """

    def configured(self, arguments: Config) -> Backbone:
        """This plugin, building each network with these keyword arguments of its library.

        Raises:
            Unsupported: One is not known, or has a value out of bounds; it is named.
        """

    def companions(self, module: nn.Module, manifest: Manifest) -> Mapping[str, Json]:
        """JSON files that its library looks for beside ``config.json``, by name."""


@runtime_checkable
class Known(Protocol):
    """What a backbone plugin knows without its library, which takes seconds to import: a module
    ``known`` beside the plugin's own, in the same package.

    All of it is as the plugin itself would tell. None means that it must be asked.
    """

    def outline(self, architecture: str) -> Outline | None:
        """What the installed version of the library builds under that name."""

    def architectures(self) -> Sequence[str] | None:
        """All names that the plugin builds, sorted."""

    def fitting(self, shapes: Mapping[str, tuple[int, ...]]) -> Sequence[str]:
        """The architectures that have exactly these tensors, with any number of outputs; where
        there is none, those that have them but for the head. Sorted; empty if none is known.
        """

    def read_config(self, config: Config) -> Network | None:
        """The network that ``config.json`` describes, if it is built as its outline says, but for
        the number of outputs.
        """

    def classes(self, outputs: int) -> tuple[str, ...] | None:
        """Names of so many outputs of published weights in index order; empty if they have none."""


@runtime_checkable
class Naming(Protocol):
    """How files call the tensors of a backbone plugin's networks, known without its library: a
    module ``names`` beside the plugin's own, in the same package.

    With it checkpoints under two kinds of names are compared tensor by tensor.
    """

    def own_names(self, own: Collection[str], names: Collection[str]) -> Mapping[str, str]:
        """What `Backbone.convert` gives for ``names`` and a network whose keys are ``own``."""


@runtime_checkable
class Catalog(Protocol):
    """Lists published checkpoints."""

    network: bool
    """Whether listing or delivering asks another machine."""

    def version(self) -> str:
        """What the listing depends on; an unchanged version need not be listed again."""

    def entries(self) -> Iterable[CatalogEntry]:
        """All checkpoints known to this catalog."""


@runtime_checkable
class PagedCatalog(Catalog, Protocol):
    """A catalog that is too large to be listed again each time: it is read newest first."""

    def pages(
        self, *, library: str | None = None, author: str | None = None, cursor: str | None = None
    ) -> Iterator[Page]:
        """What belongs to a library or an author, last updated first, in pages from ``cursor`` on,
        that of the page before.

        Raises:
            Unavailable: The source does not answer.
        """


@runtime_checkable
class Source(Catalog, Protocol):
    """A catalog that delivers files too. Read-only; never unpickles."""

    def resolve(self, locator: str) -> Release:
        """Pin what ``locator`` names to an immutable revision.

        Raises:
            UnknownName: There is no such thing.
            Unavailable: The source does not answer.
            MissingPackage: The package that holds it is not installed.
        """

    def open(self, release: Release, path: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of one file of the release from ``offset`` on, in pieces.

        Raises:
            Unavailable: The source stopped answering.
        """


@runtime_checkable
class Local(Protocol):
    """A source that may have files on this machine already."""

    def local(self, release: Release, path: str) -> Path | None:
        """Where the file is; None if it is not here. Not checked: whoever uses it hashes it."""


@runtime_checkable
class Installable(Protocol):
    """A source whose files come to this machine with packages that the user installs."""

    def install(self, name: str) -> str:
        """The command that installs what ships the checkpoint ``name``; empty if nothing does."""


@runtime_checkable
class Target(Protocol):
    """A source that checkpoints can be published at, for others and other programs to load."""

    def publish(
        self,
        locator: str,
        folder: Path,
        *,
        facts: Config,
        lineage: Sequence[str],
        known: Collection[str],
        force: bool,
        private: bool,
        note: str,
    ) -> str:
        """Make the files of ``folder`` the newest revision of ``locator``; which that is.

        ``facts`` and ``lineage``, lines of Markdown, go into its card, beside what people wrote
        there. On top of another revision than the ``known`` ones, that this builds on, only
        ``force`` publishes. What is made is ``private`` if asked so. The revision says the
        ``note``, if there is one.

        Raises:
            Conflict: Somebody else has changed what is there; nothing was sent.
            Unavailable: It does not answer, or lets this user not write.
        """


class Head(Protocol):
    """A task output: module, loss and metrics. `zoo.backbones.heads.tasks.TaskHead` has the last
    two for heads with ordinary outputs.
    """

    def build(self, num_features: int, num_outputs: int) -> nn.Module:
        """From features ``(N, num_features)`` to outputs ``(N, num_outputs)``, float32."""

    def loss(self, task: Task = "classification") -> nn.Module:
        """From outputs ``(N, K)`` and targets to a mean loss, a scalar.

        Targets are class indices ``(N,)`` int64, labels in 0..1 ``(N, K)`` float32, or numbers
        ``(N, K)`` float32.

        Raises:
            Unsupported: This head is not for that task.
        """

    def metrics(
        self, outputs: torch.Tensor, targets: torch.Tensor, task: Task = "classification"
    ) -> dict[str, float]:
        """Figures for a whole split, ``accuracy`` (0..1) among them for classes and labels."""


class Tracker(Protocol):
    """Where the figures of a run go beside its folder. Only the main process calls it, in this
    order. Whatever a method raises is reported, the tracker is left out, and the run goes on.
    """

    def start(self, run: Mapping[str, object], step: int) -> None:
        """A run begins, or goes on after so many steps. ``run`` is what ``zoo runs --json`` prints:
        ``id``, ``base``, ``save``, ``recipe``, ``device``, ``folder``, ….
        """

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures after so many steps: ``step/loss``, ``epoch/accuracy``, ``test/accuracy``, …."""

    def picture(self, name: str, file: Path) -> None:
        """A picture in the run's folder, PNG: ``samples``, ``curves``, ``confusion``."""

    def finish(self, report: Mapping[str, object]) -> None:
        """The run ended: ``status`` is done, interrupted or failed; ``metrics``, ``warning`` and
        ``manifest`` are there when it is done, and ``error`` when it failed.
        """


@runtime_checkable
class Backend(Protocol):
    """Bytes under keys: all that a remote plugin has to write. The one `zoo.store.Store` above it
    knows the format: names, digests, history, verify, prune.

    A key is made of parts with slashes between them, ``objects/ab/abcdef…``; a *folder* is what
    keys begin with: empty, or ending with a slash. ``str()`` of a backend is its location, for
    messages. Methods are called from several threads at once. Nothing is retried here, but
    whoever calls may do anything again: `put` and `delete` may be done twice.

    Raises from all methods:
        Unavailable: The place does not answer, or refuses.
        Forbidden: The user's rights do not allow it.
    """

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        """Reach the place that a user calls ``location``; ``create`` may make it.

        Whether a store is there, and whether one may be made, is not asked here.

        Raises:
            Unavailable: It does not answer, or is not there.
            InvalidOption: The location is malformed.
        """

    def stat(self, key: str) -> StoredFile | None:
        """Size and date of what is under a key; None if nothing is."""

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from ``offset`` on, at most ``length`` of them, in pieces; none past the end.

        Raises:
            FileNotFoundError: Nothing is under the key: at once, or in place of the first piece.
        """

    def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Keep the pieces under a key, in the place of what is there.

        Nobody ever sees a part of them. If taking the next piece raises, or anything else does,
        what was there before stays. It is durable when this returns (but see `SupportsSync`).

        Raises:
            DiskFull: There is no space, here or there.
            Corrupt: They did not arrive as they were sent.
        """

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """As `put`, unless something is under the key already; whether it was kept.

        Of many who do so at once, exactly one gets True: that is what keeps two people who push at
        once from undoing each other's work.

        Raises:
            Unsupported: This place cannot do so.
        """

    def list(self, folder: str) -> Iterator[StoredFile]:
        """All that is in a folder and in those below, in any order, with what was put just now."""

    def delete(self, key: str) -> None:
        """Delete what is under a key, if anything is."""

    def now(self) -> datetime:
        """The time, by the clock that dates what is put; has a time zone."""


@runtime_checkable
class SupportsBatches(Protocol):
    """A backend that can be asked about many keys in one go, or by many at once."""

    at_once: int
    """How many requests it serves well at a time."""

    def present(self, keys: Collection[str]) -> Mapping[str, StoredFile]:
        """What is under those keys under which something is."""

    def folders(self, folder: str) -> Collection[str]:
        """The names of the folders directly in a folder."""


@runtime_checkable
class ServerBackend(Protocol):
    """A backend behind a server that looks after the store itself: a prune there spares what an
    upload relies on, objects and manifests are kept as they are, however they are sent, and a name
    is looked at by the server before it moves. So nothing of that is asked or announced from here.
    """

    served: bool
    """Whether it is so: what wraps another backend is as that."""

    def newest(self) -> Mapping[str, bytes]:
        """The newest entry of each name, by its key, in one go."""

    def present_to(self, name: str, keys: Collection[str]) -> Mapping[str, StoredFile]:
        """As `SupportsBatches.present`, before an upload to a name, ``namespace/name:tag``: what
        may not move is not sent for nothing.

        Raises:
            Forbidden: The user may not move it.
        """


@runtime_checkable
class SupportsLogin(Protocol):
    """A kind of backend that a user has accounts at: `zoo login` keeps a token for each place."""

    def account(self, location: str, token: str) -> str:
        """Whose token it is, for messages.

        Raises:
            Unavailable: The place does not answer.
            Forbidden: It does not take the token.
        """

    def enter(self, location: str, wants: str, told: Callable[[str, str], None]) -> str:
        """A token that the user gives to this program by a page of the place, of which ``told``
        learns the address, and the code that it must show. ``wants`` is what it is to be for:
        ``read``, ``append`` or ``write``.

        Raises:
            Unavailable: The place does not answer, or gives no tokens so.
            Forbidden: The user has not done that.
        """

    def enter_job(self, location: str, proof: str, name: str) -> str:
        """A token for what a service says of this job, signed: ``proof``, or if that is empty, what
        is found. It is for a repository or a namespace, or for what such jobs are for.

        Raises:
            InvalidOption: There is no proof.
            Unavailable: The place does not answer.
            Forbidden: It gives this job none.
        """


class Tokens(Protocol):
    """The tokens of who is logged in at a place.

    Raises from all methods:
        Unavailable: The place does not answer.
        Forbidden: Nobody is logged in, or by a token that is not for that.
    """

    def all(self) -> tuple[ServerToken, ...]:
        """Those that are good first, the newest first, and of others the last."""

    def make(self, name: str, purpose: str, only: tuple[str, ...], days: int | None) -> MadeToken:
        """Make one, and have its secret, which nobody can read again.

        Raises:
            InvalidOption: There can be no such token.
        """

    def revoke(self, token_id: str) -> None:
        """End one, and those that end with it.

        Raises:
            UnknownName: There is none.
        """


@runtime_checkable
class SupportsTokens(Protocol):
    """A kind of backend at which a user makes tokens for others: ``zoo token``."""

    def tokens(self, location: str) -> Tokens:
        """The tokens of the user at a place, which is not asked yet.

        Raises:
            InvalidOption: There can be none.
        """


class Reports(Protocol):
    """Where runs are reported to. Whatever is done again there, changes nothing.

    Raises from all methods:
        Unavailable, Forbidden: As `Backend`.
        Conflict: More is there of the run than was known, or less: `tell` says how much.
        Unsupported: It is more than the place takes, or nothing that it knows.
    """

    def check(self, path: str) -> None:
        """See, before a run begins, that one may be told that is saved under ``namespace/name``."""

    def tell(self, run: Mapping[str, object]) -> Heard:
        """How a run is that began, goes on or has ended; what is there of it. It has the fields of
        `zoo.lookup.reporting.facts`.
        """

    def lines(self, run: str, generation: int, at: int, lines: bytes) -> Heard:
        """Lines of its journal, in JSON, that follow so many bytes of them; at 0 of the next
        generation, in the place of all before. Without any, that it is alive.
        """

    def file(self, run: str, name: str, data: bytes) -> None:
        """One of its results: ``report.json``, ``confusion.json``, …."""


@runtime_checkable
class SupportsReports(Protocol):
    """A kind of backend that runs are reported to: ``zoo finetune --report``."""

    def reports(self, location: str) -> Reports:
        """Reach a place with the token that is kept for it; nothing is asked yet.

        Raises:
            InvalidOption, Forbidden, Invalid: As `zoo.logins.token_for`.
        """


@runtime_checkable
class LocalDisk(Protocol):
    """A backend on this machine, read at the speed of a disk: what it holds is read and hashed
    where elsewhere sizes are compared, and is asked once only.
    """

    def view(self, key: str) -> memoryview:
        """What is under a key, as a memory map.

        Raises:
            FileNotFoundError: Nothing is.
        """


@runtime_checkable
class SupportsSync(Protocol):
    """A backend that makes what was put durable in batches, which is faster."""

    def sync(self) -> None:
        """Make all that was put and created so far durable."""

    def touch(self, key: str, data: bytes) -> None:
        """As `Backend.put`, of a small mark that need not last; no space is no error."""


@runtime_checkable
class SupportsPermissions(Protocol):
    """A backend with folders that may be closed to some, or be something else."""

    def readable(self, folder: str) -> tuple[Collection[StoredFile], dict[str, ZooError]]:
        """What `Backend.list` lists and can be listed, and the folders that cannot be, such as
        ``objects/ab``, with the reason.
        """

    def kinds(self, folder: str) -> Mapping[str, str]:
        """What is directly in a folder, and what it is: ``a folder``, ``a file``, ``a link``.

        Raises:
            Forbidden: It cannot be listed.
            NotAFile: It is not a folder.
        """

    def tidy(self) -> None:
        """Remove the empty folders that killed writers have left."""
