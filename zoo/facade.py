"""Zoo: everything that can be done with a zoo, in one place. Each method hands on to its room.

What a method answers is a small frozen dataclass: it prints itself, and has `to_json`. Torch, timm
and numpy are imported by the methods that touch tensors, not before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, Unpack

from zoo import config
from zoo.domain.calls import checked
from zoo.domain.digest import Digest, digits_of
from zoo.domain.file_names import check_folder
from zoo.domain.import_options import ImportOptions, StatedOptions
from zoo.domain.options import OpeningOptions, RecipeOptions, RunOptions
from zoo.domain.progress import Progress, silent, spoken
from zoo.domain.recipe import OPTIONS, Recipe
from zoo.domain.reference import Reference, is_pattern
from zoo.domain.table import Table
from zoo.domain.tta import count_views
from zoo.domain.words import checked_note
from zoo.errors import InvalidOption, InvalidReference, NoCheckpoint
from zoo.lookup.reported import all_runs, find_any
from zoo.lookup.runs import CACHE, RUNS, TRIALS, Run, caches, find_run
from zoo.machine import check_own
from zoo.remotes import (
    connect,
    login,
    login_by_job,
    login_by_page,
    logout,
    revoke_token,
    tokens_at,
)
from zoo.store.rights import for_all_of
from zoo.store.signatures import copy_signatures
from zoo.workspace import Workspace, own_signers

if TYPE_CHECKING:
    from torch import nn

    from zoo.advice.advise import Advice
    from zoo.backbones.explained import Explanation
    from zoo.backbones.predict import Picture, Prediction
    from zoo.backbones.predicted import PredictionsFile
    from zoo.domain.benched import Benched
    from zoo.domain.calibration import Calibration, Step
    from zoo.domain.change import Change
    from zoo.domain.hierarchy import Hierarchy
    from zoo.domain.history import RefEntry
    from zoo.domain.query import FieldFilters
    from zoo.domain.run_state import State
    from zoo.domain.server_token import MadeToken, ServerToken
    from zoo.domain.signature import Policy, Signature, Signer, Signers
    from zoo.domain.task import Task
    from zoo.errors import InvalidImage, InvalidWeights
    from zoo.exchange.adapt import Adapted
    from zoo.exchange.convert import Converted, Format
    from zoo.exchange.edit import Edited
    from zoo.exchange.exporting import Exported
    from zoo.exchange.exporting_signed import SignedFolder
    from zoo.exchange.importing import Imported, PlannedImport
    from zoo.exchange.indexing import Indexed
    from zoo.exchange.planned import ImportPlan
    from zoo.exchange.sharing import Pulled, Pushed
    from zoo.exchange.tracing import Traced
    from zoo.finetune.average import Averaged
    from zoo.finetune.conclude import Finetuned
    from zoo.finetune.evaluation import Evaluation
    from zoo.finetune.features.write import Features
    from zoo.finetune.folds import Folds
    from zoo.finetune.loop.find_lr import LRCurve
    from zoo.finetune.plan import FinetunePlan
    from zoo.finetune.quantize import Quantized
    from zoo.finetune.results.trackers import Log
    from zoo.finetune.seeds import Seeds
    from zoo.indexed import Reindexed
    from zoo.lookup.architectures import Architectures
    from zoo.lookup.best import Best
    from zoo.lookup.details import Details
    from zoo.lookup.diff import Diff
    from zoo.lookup.history import PastTrial
    from zoo.lookup.identify import Identified
    from zoo.lookup.keys import FileKeys
    from zoo.lookup.lineage import Lineage
    from zoo.lookup.remove_runs import Removal
    from zoo.lookup.side_by_side import Compared
    from zoo.plugins import Plugin
    from zoo.ranking.ranked import Ranking
    from zoo.registry import SearchResult
    from zoo.store.prune import PrunePlan
    from zoo.store.verify import VerifyReport
    from zoo.transfer.fetch import Fetched
    from zoo.transfer.repack import Repacked, RepackPlan

__all__ = ["Zoo"]


@checked
class Zoo:
    """A zoo on disk. A context manager; `close` releases its registry.

    Args:
        workspace: The folder, its store and its registry.
        progress: Who learns how far long work is: lines on stderr, on a terminal bars, too; False:
            nobody; or a `zoo.Progress` of yours.
    """

    def __init__(self, workspace: Workspace, *, progress: Progress | bool = True) -> None:
        self._workspace, self._closed = workspace, False
        self.progress = spoken(progress)

    def __repr__(self) -> str:
        return f"<Zoo in {self._workspace.root}{', closed' if self._closed else ''}>"

    @property
    def workspace(self) -> Workspace:
        """The folder, its store and its registry.

        Raises:
            InvalidOption: The zoo was closed.
        """
        if self._closed:
            raise InvalidOption(f"the zoo in {self._workspace.root} was closed: zoo.open opens it")
        return self._workspace

    # Open one.

    @classmethod
    def open(
        cls,
        home: Path | str | None = None,
        *,
        progress: Progress | bool = True,
        served: bool = False,
    ) -> Self:
        """Open ``home``, else what ``ZOO_HOME`` names, else the nearest zoo upward from here.

        Args:
            home: The folder of the zoo.
            progress: As the class has it.
            served: Whether it may be that of a machine that serves a shared store.

        Raises:
            NoZoo: There is none.
            Unsupported: It is that of such a machine, and ``served`` is off.
        """
        workspace = Workspace.find(Path(home) if home else None)
        if not served:
            check_own(workspace.root)
        return cls(workspace, progress=progress)

    @classmethod
    def init(cls, home: Path | str = ".", *, progress: Progress | bool = True) -> Self:
        """Make a zoo in the folder ``home``; one that is there is kept as it is."""
        return cls(Workspace.create(Path(home).resolve()), progress=progress)

    @classmethod
    def clone(
        cls, remote: str, home: Path | str = ".", *, progress: Progress | bool = True
    ) -> Self:
        """Make a zoo in the folder ``home`` that knows ``remote`` as ``origin``; `fetch` that.

        Raises:
            Unavailable: The remote is not there.
            Conflict: A zoo with another ``origin`` is in ``home`` already.
        """
        connect(remote)  # before anything is made: an address with a slip leaves no empty zoo
        zoo = cls.init(home, progress=progress)
        zoo.add_remote("origin", remote)
        return zoo

    @staticmethod
    def login(url: str, token: str, *, plain_http: bool = False) -> str:
        """Keep a token for the server of a zoo, in the settings of this user; whose token it is.

        Args:
            url: The server's.
            token: From who runs the server: ``zoo serve token create``.
            plain_http: Send it over ``http://`` to another machine, too, where others could read it
                on the way.

        Raises:
            Unavailable: The server does not answer; nothing was kept.
            Forbidden: It does not take the token; nothing was kept.
            InvalidOption: It is no URL of a server, or the token could be read on the way there.
        """
        return login(url, token, plain_http=plain_http)

    @staticmethod
    def login_by_page(
        url: str, told: Callable[[str, str], None], *, plain_http: bool = False
    ) -> str:
        """Keep a token that this user gives by a page of the server; whose it is. That is waited
        for, a quarter of an hour at most.

        Args:
            url: The server's.
            told: Is told the address of the page, and the code that it must show.
            plain_http: As for `login`.

        Raises:
            Unavailable: The server does not answer, or gives no tokens so; nothing was kept.
            Forbidden: The user has not done that.
            InvalidOption: As for `login`.
        """
        return login_by_page(url, told, plain_http=plain_http)

    @staticmethod
    def login_by_job(url: str, proof: str = "", *, name: str = "", plain_http: bool = False) -> str:
        """Keep a token that a server gives for what a service says of this job; whose it is. It
        lasts for a quarter of an hour.

        Args:
            url: The server's.
            proof: A token of OpenID Connect for the server's URL; else that of the environment:
                ``ZOO_ID_TOKEN``, or what GitHub Actions gives.
            name: A repository or a namespace to be for; else what such jobs are for.
            plain_http: As for `login`.

        Raises:
            InvalidOption: As for `login`; or there is no proof.
            Unavailable: The server, or GitHub, does not answer; nothing was kept.
            Forbidden: The server gives this job no token.
        """
        return login_by_job(url, proof, name=name, plain_http=plain_http)

    @staticmethod
    def logout(url: str) -> None:
        """Forget the token for a server.

        Raises:
            UnknownName: There is none.
        """
        logout(url)

    @staticmethod
    def tokens(url: str) -> Table[ServerToken]:
        """This user's own tokens at a server, without their secrets; those that are good first, and
        of others the last.

        Args:
            url: The server's, which this user is logged in to.

        Raises:
            Unavailable: The server does not answer.
            Forbidden: It does not take the login.
            InvalidOption: It is no URL of a server.
        """
        from zoo.domain.server_token import ServerToken

        return Table(tokens_at(url).all(), ServerToken)

    @staticmethod
    def make_token(
        url: str,
        name: str,
        *,
        purpose: str = "read",
        only: Sequence[str] = (),
        days: int | None = None,
    ) -> MadeToken:
        """Make a token of this user's own at a server; it, and its secret, which nobody can read
        again. It lasts no longer than the one that this user is logged in by.

        Args:
            url: As for `tokens`.
            name: What it is called.
            purpose: ``read``; ``append``: also to add files; ``write``: all that the account may.
            only: Namespaces and names that it is for; none: all.
            days: It expires after so many; None: it lasts until it is revoked.

        Raises:
            Unavailable: As `tokens`.
            Forbidden: As `tokens`; or the login is by a token that may not make others.
            InvalidOption: As `tokens`; or there can be no such token.
        """
        return tokens_at(url).make(name, purpose, tuple(only), days)

    @staticmethod
    def revoke_token(url: str, which: str) -> ServerToken:
        """End a token of this user's own at a server, from now on; that.

        Args:
            url: As for `tokens`.
            which: Its id or its name.

        Raises:
            Unavailable, Forbidden: As `make_token`.
            UnknownName: There is none.
            InvalidOption: As `tokens`; or several are called so.
        """
        return revoke_token(url, which)

    @staticmethod
    def exists(home: Path | str) -> bool:
        """Whether the folder ``home`` is a zoo."""
        return Workspace.exists(Path(home))

    @staticmethod
    def around(home: Path | str) -> str | None:
        """The folder of the nearest zoo that ``home`` lies in, beside one that it may be itself."""
        root = Workspace.nearest(Path(home).resolve().parent)
        return None if root is None else str(root)

    @staticmethod
    def sources() -> Iterator[str]:
        """Who publishes checkpoints: their names begin so (``timm/…``)."""
        from zoo.plugins import names

        return iter(names("zoo.sources"))

    @staticmethod
    def plugins() -> Table[Plugin]:
        """All plugins, each imported to see whether it works."""
        from zoo.plugins import installed

        return Table(installed())

    def close(self) -> None:
        """Release the registry; what this zoo trusts is trusted no more."""
        self._workspace.close()
        self._workspace.trust.close()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def root(self) -> Path:
        """The zoo's folder."""
        return self._workspace.root

    # Find: none of it loads torch unless a network must be traced.

    def index(
        self,
        source: str,
        *,
        library: str | None = None,
        author: str | None = None,
        limit: int | None = None,
        results: Iterable[str] = (),
    ) -> Indexed:
        """List a source's checkpoints, so that they can be searched and pulled.

        Args:
            source: Name of the source: ``timm``, ``hub``, …
            library: Of the hub: what belongs to this library.
            author: With hub: only what belongs to this owner.
            limit: With hub: at most this many, the newest first.
            results: Tables of results to join by name: files or addresses.

        Raises:
            UnknownName: No source of that name.
            InvalidOption: The source cannot be asked so.
            Unavailable: It does not answer.
        """
        from zoo.exchange.indexing import ListingQuery, index

        query = ListingQuery(library=library, author=author, limit=limit, results=tuple(results))
        return index(self.workspace, source, query, progress=self.progress)

    def is_indexed(self, source: str) -> bool:
        """Whether a source was listed here."""
        return self.workspace.registry.indexed_version(source) is not None

    def forget_listing(self, source: str, author: str | None = None) -> int:
        """Take a source's listing back, or what belongs to ``author``; how many entries it had."""
        from zoo.exchange.indexing import forget

        return forget(self.workspace, source, author)

    def trace(self, source: str) -> Traced:
        """Trace all architectures that a source lists, so that nobody waits for it later."""
        from zoo.exchange.tracing import trace_all

        return trace_all(self.workspace, source, progress=self.progress)

    def search(
        self,
        text: str = "",
        *,
        sort: str | None = None,
        limit: int = 50,
        **asked: Unpack[FieldFilters],
    ) -> Table[SearchResult]:
        """Checkpoints here and at remotes, newest first, then catalog entries by name; if nothing
        is asked, those with the highest published accuracy first.

        Args:
            text: Words and filters, all of which must hold (docs/search.md):
                ``convnext params<30M license:apache-2.0``.
            sort: The field to sort by; ``-params`` for the largest first.
            limit: Most results.
            asked: Fields, and what they must equal.

        Raises:
            UnknownName: No such field; near ones are suggested.
            InvalidOption: A value that the field does not take.
        """
        from zoo.lookup.measured import with_images
        from zoo.lookup.ref_status import with_deprecations, with_remotes
        from zoo.registry import Query, SearchResult

        query = Query.parse(text, sort=sort, limit=limit, **asked)
        results = with_images(self.workspace, query, self.workspace.registry.search(query))
        results = with_deprecations(self.workspace, with_remotes(self.workspace, results))
        return Table(results, SearchResult)

    def count(
        self, text: str = "", *, at_most: int | None = None, **asked: Unpack[FieldFilters]
    ) -> int:
        """How many `search` finds, whatever the limit; no more than ``at_most`` are counted."""
        from zoo.registry import Query

        return self.workspace.registry.count(Query.parse(text, **asked), at_most=at_most)

    def not_finite(self) -> dict[str, str]:
        """The digests of checkpoints here that an import, a pull or `verify` found to have NaN or
        infinite values, each with the tensors that do, in words.
        """
        from zoo.store.not_finite import NOT_FINITE, all_not_finite

        return dict(all_not_finite(self.workspace.own(NOT_FINITE)))

    def hints(self, text: str) -> list[str]:
        """Why `search` finds nothing with ``text``, and what there is that is like it, in words."""
        from zoo.lookup.hints import hints
        from zoo.registry import Query

        return [hint.text for hint in hints(self.workspace.registry, Query.parse(text))]

    def best(
        self,
        text: str = "",
        metric: str | None = None,
        *,
        dataset: str | None = None,
        lowest: bool | None = None,
    ) -> Best:
        """The checkpoint with the best ``metric`` of those that `search` finds with ``text``.

        Args:
            text: Words and filters.
            metric: What to rank by; None: accuracy, or published top1 where nothing has that.
            dataset: What it was trained on.
            lowest: Whether the lowest is the best; None: as the metric's name says.

        Raises:
            UnknownName: Nothing that matches has that metric; known metrics are suggested.
        """
        from zoo.lookup.best import best

        return best(self.workspace, text, metric=metric, dataset=dataset, lowest=lowest)

    def architectures(self, pattern: str = "*") -> Architectures:
        """The architectures that fit ``pattern``; with the name of one, all of its weights."""
        from zoo.lookup.architectures import architectures

        return architectures(self.workspace, pattern)

    def known_data(self, pattern: str = "*") -> list[str]:
        """Names of data that a checkpoint here was trained or evaluated on, and that fit
        ``pattern``, sorted.
        """
        return sorted(self.workspace.registry.known_data(pattern))

    def show(self, name: str) -> Details:
        """All that is known of a checkpoint here, at a remote, or in a catalog.

        Raises:
            UnknownName: None is called ``name``; near names are suggested.
        """
        from zoo.lookup.details import details

        return details(self.workspace, name)

    def tree(self, name: str) -> Hierarchy:
        """The units, stages and head of a checkpoint, a catalog entry, or an architecture.

        Raises:
            UnknownName: None of these is called ``name``; near names are suggested.
            Unsupported: The network cannot be traced.
        """
        from zoo.exchange.architecture import hierarchy_of

        return hierarchy_of(self.workspace, name)

    def units(self, name: str) -> list[str]:
        """Names of the units and stages of what `tree` takes, as far as they are known without
        building the network: for completion.
        """
        from zoo.exchange.architecture import units_known

        return units_known(self.workspace, name)

    def log(self, name: str) -> Lineage:
        """Lineage of a checkpoint, checked against bytes, and history of its name."""
        from zoo.lookup.lineage import lineage

        return lineage(self.workspace, name)

    def derived_from(self, name: str | Digest) -> list[str]:
        """Names of the checkpoints that have this one as a parent, sorted.

        Args:
            name: That of the checkpoint; or its digest, of one that need not be here any more.

        Raises:
            UnknownName: No checkpoint here is called so.
        """
        if not isinstance(name, Digest):
            _, name = self.workspace.names.resolve(name)
        return [*self.workspace.registry.heirs(name)]

    def diff(self, one: str, other: str) -> Diff:
        """What changes from one checkpoint to another, unit by unit and in what is recorded."""
        from zoo.lookup.diff import diff

        return diff(self.workspace, one, other)

    def compare(self, *names: str, fold: bool = True) -> Compared:
        """Checkpoints side by side: what differs in their recipes, and all figures.

        Args:
            names: The checkpoints.
            fold: Put those that differ in their seed only into one column, with the mean and the
                standard deviation of their figures.

        Raises:
            UnknownName: One of them is not here.
        """
        from zoo.lookup.side_by_side import compare_checkpoints

        return compare_checkpoints(self.workspace, names, fold=fold)

    def identify(self, path: Path | str) -> Identified:
        """Which checkpoint a weights file is, or derives from. Nothing in the file is run."""
        from zoo.exchange.identifying import identify_file

        return identify_file(self.workspace, Path(path))

    def identify_folder(
        self, folder: Path | str, *, bad: list[InvalidWeights] | None = None
    ) -> Iterator[Identified]:
        """Which checkpoint each weights file below a folder is, or derives from, as it is looked
        up; what cannot be read is put in ``bad``, if there is such a list.
        """
        from zoo.exchange.identify_folder import identify_folder

        return identify_folder(self.workspace, Path(folder), [] if bad is None else bad)

    @staticmethod
    def file_keys(path: Path | str) -> FileKeys:
        """What tells a server which checkpoint a weights file is, without a byte of its weights:
        hashes of its tensors. No zoo is needed for it, and nothing in the file is run.
        """
        from zoo.exchange.identifying import file_keys

        return file_keys(Path(path))

    def reindex(self) -> Reindexed:
        """Make ``registry.db`` again, from the store, the sources here, and the networks."""
        from zoo.exchange.indexing import reindex

        return reindex(self.workspace, progress=self.progress)

    # Share: checkpoints and names, here and elsewhere.

    def pull(
        self,
        name: str,
        *,
        remote: str | None = None,
        source: str | None = None,
        save: str | None = None,
        force: bool = False,
        into_hf_cache: bool = False,
    ) -> Pulled:
        """Bring a checkpoint in, from a teammate's or team's store, or as it is published.

        Args:
            name: ``team/flowers:v3``; ``timm/resnet50.a1_in1k``.
            remote: A folder, URL or remote's name; ``hf://org/name``, what is published there.
                None: a remote that was fetched and has it, else a source.
            source: The source to fetch published weights from.
            save: The name to keep it under; only of what comes from a store.
            force: Move the name even from work that is not known there, or from what has no class
                in common with it, or another task; its history stays.
            into_hf_cache: Have it in the cache of huggingface_hub, too, written from what is here:
                of a server (``https://…``) or of ``hf://org/name``.

        Raises:
            UnknownName: Nobody has it; near names are suggested.
            WouldReplace: The name here points at work that is not known there.
            OtherClasses: It has no class in common with that, or another task.
            Unavailable: The remote or source does not answer.
            Corrupt: The bytes are not what was promised; nothing was kept.
        """
        from zoo.exchange.sharing import pull

        return pull(
            self.workspace,
            name,
            remote=remote,
            source=source,
            save=save,
            force=force,
            into_hf_cache=into_hf_cache,
            progress=self.progress,
        )

    def push(
        self,
        name: str,
        to: str,
        *,
        save: str | None = None,
        force: bool = False,
        smallest: bool = False,
        private: bool = False,
        note: str = "",
    ) -> Pushed:
        """Send a checkpoint to a store, or publish it at the HF Hub.

        Args:
            name: The checkpoint.
            to: A remote's name, a URL or a folder; ``hf://org/name`` publishes.
            save: The name that it gets in that store; None: the one that it has here.
            force: Move the name there even from work that is not known here, or from what has no
                class in common with it, or another task.
            smallest: Take more time to send less.
            private: If a repository is made at the hub, make it private.
            note: What you say of this push, in a line: the log of the name there keeps it, at the
                hub the message of the commit.

        Raises:
            WouldReplace: The name there points at work that is not known here.
            OtherClasses: It has no class in common with that, or another task.
            Unavailable: The remote does not answer.
        """
        from zoo.exchange.sharing import push

        return push(
            self.workspace,
            name,
            to,
            save=save,
            force=force,
            smallest=smallest,
            private=private,
            note=checked_note(note),
            progress=self.progress,
        )

    def push_all_tags(
        self, name: str, to: str, *, force: bool = False, smallest: bool = False, note: str = ""
    ) -> Table[Pushed]:
        """`push` a name and all its tags that are here to a store, the name itself last.

        Raises as `push` does; of what shows before, nothing is sent then. Else the error names what
        was sent before it.
        """
        from zoo.exchange.sharing import push_all_tags

        return Table(
            push_all_tags(
                self.workspace,
                name,
                to,
                force=force,
                smallest=smallest,
                note=checked_note(note),
                progress=self.progress,
            )
        )

    def fetch(self, remote: str) -> Fetched:
        """Learn what a remote that has a short name has now, without its weights.

        Raises:
            UnknownName: No remote has that name.
            Unavailable: It does not answer; what was known of it stays.
        """
        from zoo.transfer.fetch import fetch

        return fetch(self.workspace, remote, progress=self.progress)

    def fetch_all(self) -> Table[Fetched]:
        """`fetch` all remotes that have a short name; the first that fails ends it."""
        return Table(self.fetch(name) for name in sorted(self.remotes()))

    def remotes(self) -> dict[str, str]:
        """Locations of the remotes that have a short name here."""
        return self.workspace.remotes.all()

    def add_remote(self, name: str, location: str) -> None:
        """Give a remote (a folder or a URL) a short name.

        Raises:
            InvalidOption: The name or location cannot be.
            Conflict: The name stands for another location.
        """
        self.workspace.remotes.add(name, location)

    def remove_remote(self, name: str) -> None:
        """Forget a remote's short name; nothing is deleted there."""
        self.workspace.remotes.remove(name)

    def tag(
        self,
        name: str,
        new: str,
        *,
        at: datetime | None = None,
        force: bool = False,
        note: str = "",
    ) -> RefEntry:
        """Point the reference ``new`` at what ``name`` (a reference or digest) points at.

        With ``at``, a time with a time zone, at what the reference ``name`` pointed at then. With
        ``force``, also if ``new`` is here, and of another architecture, or a checkpoint that the
        other does not derive from (`zoo.names.Names.check_descends`). The log of ``new`` keeps the
        ``note``, what you say of that in a line.

        Raises:
            Conflict: It is.
        """
        names, note = self.workspace.names, checked_note(note)
        try:
            ref = Reference.parse(new)
        except InvalidReference as error:
            with suppress(InvalidReference):  # a tag alone, as git takes it
                error.near = (str(Reference.parse(f"{name.partition(':')[0]}:{new}")),)
            raise
        names.check_free(ref)
        # Of a snapshot all files, not only those of its checkpoint.
        digest = names.target_at(name, at) if at else names.target(name)[1]
        check = None if force else lambda _: names.check_becomes(ref, digest)
        why = f"tag {name}" + (f" at {at:%F}" if at else "")
        entry = self.workspace.move(ref, digest, why, note=note, check=check)
        with suppress(InvalidReference):  # of a digest it is not known which name is meant
            path = Reference.parse(name).path
            copy_signatures(self.workspace.store, digest, path, ref.path)
        return self.workspace.shown_entry(entry)

    def change(self, before: str, after: str) -> Change | None:
        """What differs for those who use a name that moves from one checkpoint to another; None if
        nothing that is known does.
        """
        from zoo.transfer.changes import change_from

        try:
            old, new = (self.workspace.names.resolve(name)[1] for name in (before, after))
        except NoCheckpoint:
            return None
        return change_from(self.workspace.store, old, self.workspace.store.manifest(new))

    def rename(self, name: str, new: str) -> RefEntry:
        """Give the reference ``name`` the new name ``new``, which must be free.

        First the new name is given, then the old one deleted: a crash in between leaves both.

        Raises:
            UnknownName: No such name.
            Protected: It may not be deleted.
            Conflict: ``new`` is another checkpoint, or somebody moved either meanwhile.
        """
        from zoo.transfer.names import rename

        return rename(self.workspace, self.workspace.names.reference(name), Reference.parse(new))

    def rename_all_tags(self, name: str, new: str) -> dict[str, RefEntry]:
        """`rename` a name and all its tags that are here, the name itself last; the new names.

        Raises as `rename`; of what shows before, nothing is renamed then.
        """
        from zoo.transfer.names import rename_all_tags

        old, ref = self.workspace.names.reference(name), Reference.parse(new)
        return {str(each): entry for each, entry in rename_all_tags(self.workspace, old, ref)}

    def entry(self, name: str, *, remote: str | None = None) -> RefEntry:
        """The newest entry of a name's ref log, here or at a remote.

        Raises:
            UnknownName: No such name there, or it was deleted.
        """
        from zoo.transfer.names import entry

        return entry(self.workspace, Reference.parse(name), remote)

    def delete(
        self, name: str, *, remote: str | None = None, of: RefEntry | None = None
    ) -> RefEntry:
        """Delete a name, here or at a remote; until a prune there, `restore` brings it back.

        With ``of``, only if that is still its newest entry.
        """
        from zoo.transfer.names import delete

        return delete(self.workspace, Reference.parse(name), remote, of=of)

    def restore(self, name: str, *, remote: str | None = None) -> RefEntry:
        """Bring back a name that was deleted, here or at a remote."""
        from zoo.transfer.names import restore

        return restore(self.workspace, Reference.parse(name), remote)

    def deleted(self, beginning: str = "") -> list[str]:
        """Names that begin so, were deleted here, and can be restored."""
        from zoo.transfer.names import deleted

        return list(map(str, deleted(self.workspace, beginning)))

    def names_like(
        self, patterns: Iterable[str] | str, *, remote: str | None = None, deleted: bool = False
    ) -> list[str]:
        """The names that these stand for, here or at a remote, each once: a name for itself, and a
        pattern, in which * is any characters, for all that match; if ``deleted``, of those that
        were.

        Raises:
            UnknownName: A pattern matches none.
        """
        from zoo.transfer.names import matching

        names: dict[str, None] = {}
        for each in [patterns] if isinstance(patterns, str) else patterns:
            many = is_pattern(each)
            refs = matching(self.workspace, each, remote, gone=deleted) if many else [each]
            names |= dict.fromkeys(map(str, refs))
        return list(names)

    def protect(self, name: str, *, on: bool = True, remote: str | None = None) -> RefEntry:
        """Keep a name where it is, here or at a remote, until it is unprotected (``on=False``)."""
        from zoo.transfer.names import protect

        return protect(self.workspace, Reference.parse(name), remote, on=on)

    def deprecate(self, name: str, text: str, *, remote: str | None = None) -> RefEntry:
        """Say why a name is to be used no more, and what instead, here or at a remote: whoever
        pulls it is told. An empty ``text`` ends that, and so does the next version.
        """
        from zoo.transfer.names import deprecate

        return deprecate(self.workspace, Reference.parse(name), remote, text)

    # Care: keep a store sound and small.

    def why_deprecated(self, name: str) -> str:
        """Why a name is to be used no more; empty if it may be, or nothing here is called that."""
        from zoo.lookup.ref_status import why_deprecated

        if digits_of(name):
            return ""
        return why_deprecated(self.workspace, self.workspace.names.reference(name))

    def verify(self, remote: str | None = None) -> VerifyReport:
        """Hash everything in the zoo, or in a remote, again; the index is brought up to date."""
        from zoo.transfer.maintenance import verify

        return verify(self.workspace, remote, progress=self.progress)

    def repair(self, source: str | None = None, *, remote: str | None = None) -> VerifyReport:
        """Mend the zoo, or ``remote``, from the remote ``source``; None: from the zoo itself."""
        from zoo.transfer.maintenance import repair

        return repair(self.workspace, source, remote, progress=self.progress)

    def plan_prune(
        self,
        remote: str | None = None,
        *,
        keep_days: float = 90,
        grace_days: float = 14,
        cache_days: float | None = None,
    ) -> PrunePlan:
        """What a prune of the zoo, or of a remote, would delete. Nothing is changed.

        Args:
            remote: The remote.
            keep_days: Keep what a name pointed at in the last days.
            grace_days: Spare files that are younger.
            cache_days: Delete caches of training that nothing has used for so many days; None:
                leave them. A remote has none.
        """
        from zoo.lookup.caches import with_caches
        from zoo.lookup.trial_weights import with_weights
        from zoo.transfer.maintenance import plan_prune

        plan = plan_prune(self.workspace, remote, keep_days=keep_days, grace_days=grace_days)
        if remote:
            return plan
        plan = with_weights(self.root, plan, grace_days)
        return plan if cache_days is None else with_caches(self.root, plan, cache_days)

    def prune(
        self,
        plan: PrunePlan,
        remote: str | None = None,
        *,
        keep_days: float = 90,
        grace_days: float = 14,
        cache_days: float | None = None,
    ) -> PrunePlan:
        """Delete what ``plan`` lists and nothing needs by now; what was deleted.

        Raises:
            Conflict: Somebody is writing for long; nothing was deleted.
        """
        from zoo.lookup.caches import delete_caches
        from zoo.lookup.trial_weights import delete_weights
        from zoo.transfer.maintenance import prune

        days = {"keep_days": keep_days, "grace_days": grace_days}
        done = prune(self.workspace, plan, remote, **days, progress=self.progress)
        if remote:
            return done
        done = delete_weights(self.root, plan, done, grace_days)
        return done if cache_days is None else delete_caches(self.root, plan, done, cache_days)

    def plan_repack(self, remote: str) -> RepackPlan:
        """What `repack` would encode at a remote, and about how small. Nothing is changed.

        Raises:
            InvalidOption: It is a zoo, which keeps objects as they are.
        """
        from zoo.transfer.repack import plan_repack

        return plan_repack(self.workspace.remotes.connect(remote), progress=self.progress)

    def repack(self, remote: str, *, smallest: bool = False) -> Repacked:
        """Encode what a remote holds as differences from related checkpoints there.

        A plain object is deleted once its encoded form was read back, decoded and hashed.

        Args:
            remote: A remote's name, a URL or a folder.
            smallest: Take more time to make it smaller.

        Raises:
            Conflict: Somebody is writing; nothing was deleted.
            InvalidOption: It is a zoo, which keeps objects as they are.
        """
        from zoo.transfer.repack import repack

        store = self.workspace.remotes.connect(remote)
        return repack(store, smallest=smallest, progress=self.progress)

    # Trust: the user's word for modules that checkpoints name.

    def trusted(self) -> dict[str, list[str]]:
        """The import paths that were allowed in this zoo, each with the files it was found in."""
        return self.workspace.trust.all()

    def trust(self, name: str) -> str:
        """Allow the import path ``name`` (``acme.nets:make``) from where its module is now.

        Returns:
            The file that building such a network runs from now on. Nothing is imported yet.

        Raises:
            InvalidOption: It is not an import path, or one of the standard library.
            MissingPackage: There is no such module here.
        """
        from zoo.exchange.consent import allow

        return allow(self.workspace.trust, name)

    def distrust(self, name: str) -> None:
        """Take back what `trust` allowed.

        Raises:
            UnknownName: It was not allowed.
        """
        self.workspace.trust.forbid(name)

    # Signatures: who vouches for a checkpoint, and whose word counts.

    def sign(
        self,
        name: str,
        key: Path | str,
        *,
        certificate: Path | str | None = None,
        chain: Iterable[Path | str] = (),
        password: str = "",
    ) -> Signature:
        """Sign what a name points at; the signature goes with it wherever it is pushed or pulled.
        What is signed with that key and certificate already is not signed again: ``at`` says when.

        Args:
            name: The checkpoint.
            key: A file with the private key, on the curve P-256, P-384 or P-521, in PEM.
            certificate: A file with the certificate of the key.
            chain: Files with those that lead from it to an authority.
            password: That of the key, if it has one.

        Raises:
            InvalidOption: The key cannot be used, or the certificate is not of it, or has ended.
            Forbidden: Others may read the key.
            MissingPackage: What signs is not installed.
        """
        from zoo.transfer.sign import sign

        files = [Path(each) for each in chain]
        proof = Path(certificate) if certificate else None
        return sign(self.workspace, name, Path(key), proof, files, password)

    def signatures(
        self, name: str, *, remote: str | None = None, keys: Iterable[Path | str] = ()
    ) -> Table[Signature]:
        """The signatures of what a name points at, here or at a remote, each checked against whom
        the user trusts, and whose public ``keys`` (or certificates) are given.

        Raises:
            UnknownName: No such name there.
            Invalid: A file has no public key.
            MissingPackage: What checks signatures is not installed.
        """
        from zoo.transfer.sign import signatures

        return Table(signatures(self.workspace, name, remote, [Path(each) for each in keys]))

    def remove_signature(self, name: str, beginning: str) -> Signature:
        """Take away a signature of what a name points at, here: the one whose digest begins
        with ``beginning``, which is returned. Where it was pushed, it stays.

        Raises:
            UnknownName: There is none, or there are several.
        """
        from zoo.transfer.sign import remove_signature

        return remove_signature(self.workspace, name, beginning)

    @staticmethod
    def signers() -> Signers:
        """Whose signatures count, and which names have to be signed, for the user of this machine
        in all zoos.
        """
        return own_signers().all()

    @staticmethod
    def add_signer(name: str, file: Path | str) -> Signer:
        """Have signatures count that were made with the key of a public key in a ``file``, or with
        one that the certificates in it lead to; ``name`` is what you call its owner.

        Raises:
            Invalid: It is neither, in PEM, or several keys.
            InvalidReference: ``name`` has other letters than names do.
            Conflict: That name is somebody else's.
        """
        from zoo.transfer.sign import trust

        return trust(own_signers(), name, Path(file))

    @staticmethod
    def remove_signer(name: str) -> None:
        """Have the signatures of somebody count no more.

        Raises:
            UnknownName: There is nobody of that name.
        """
        own_signers().remove(name)

    @staticmethod
    def require_signatures(policy: Policy, names: str = "*") -> None:
        """Say what a pull does with what nobody trusted has signed, if it is to get one of the
        names that a pattern matches, with its tag or without: ``off`` takes it, ``warn`` says so,
        ``enforce`` refuses it, and so does ``published``, unless it comes from whoever publishes
        it (timm, the HF Hub), and not from a store. What is said of the longest pattern counts.

        Raises:
            InvalidOption: There is no such policy, or no name can match.
        """
        own_signers().require(policy, names)

    # Use: what reads or writes weights.

    def import_file(
        self,
        path: Path | str,
        name: str,
        *,
        architecture: str | None = None,
        backbone: str | None = None,
        key: str | None = None,
        **options: Unpack[ImportOptions],
    ) -> Imported:
        """Store a ``.safetensors`` or weights-only ``.pth`` file as a checkpoint.

        What was taken of the file, stripped off its names and left out is in ``taken`` of the
        result; there, too, who says what its classes and its preprocessing are.

        Args:
            path: The file; of weights in several files, their index.
            name: The checkpoint's name.
            architecture: What network it is; with a pretrained tag (``resnet50.a1_in1k``) its
                outputs are the classes of these weights. One that is an import path is trusted in
                this zoo from then on. None: the one that the file or what lies beside it says, else
                the one that its names and shapes fit.
            backbone: Plugin of the architecture; None: timm, or the one other that has what the
                file says it is.
            key: The key of the file that holds the weights; None: the likeliest of those that
                training scripts use (``state_dict_ema``, ``state_dict``, ``model``, …).
            options: What nobody wrote down: ``parent``, ``license``, ``files``, ``classes``,
                ``task``, ``mean``, ``std``, ``crop_pct``, ``interpolation``, ``image_size``,
                ``dataset``, ``metrics``, ``force`` (`zoo.domain.import_options.ImportOptions`).

        Raises:
            InvalidWeights: The file is unreadable, unsafe, or of another network; nothing is kept.
            InvalidOption: What is stated cannot be, or nothing tells what network it is.
            Conflict: The name is another checkpoint here, which this one does not derive from;
                ``force`` moves it.
        """
        from zoo.exchange.importing import import_weights

        return import_weights(
            self.workspace,
            Path(path),
            Reference.parse(name),
            architecture=architecture,
            backbone=backbone,
            key=key,
            progress=self.progress,
            **options,
        )

    def import_folder(
        self, folder: Path | str, name: str, **options: Unpack[ImportOptions]
    ) -> Imported:
        """Store what `export`, or another library, wrote; its files say what network it is.

        ``options`` are those of `import_file`.
        """
        from zoo.exchange.importing import import_folder

        return import_folder(
            self.workspace, Path(folder), Reference.parse(name), progress=self.progress, **options
        )

    def plan_import(
        self,
        path: Path | str,
        name: str,
        *,
        architecture: str | None = None,
        backbone: str | None = None,
        key: str | None = None,
        **options: Unpack[ImportOptions],
    ) -> PlannedImport:
        """What `import_file` or `import_folder` would make of ``path``, with nothing kept. A parent
        is not looked for.

        Raises as they do.
        """
        from zoo.exchange.importing import plan_single

        return plan_single(
            self.workspace,
            Path(path),
            Reference.parse(name),
            architecture=architecture,
            backbone=backbone,
            key=key,
            **options,
        )

    def import_all(
        self,
        folder: Path | str,
        pattern: str,
        *,
        architecture: str | None = None,
        backbone: str | None = None,
        dry_run: bool = False,
        plan: ImportPlan | None = None,
        **options: Unpack[ImportOptions],
    ) -> ImportPlan:
        """Store all weights below ``folder`` as checkpoints: runs of timm, Lightning and others.

        What is here already is skipped, so that an import that was cut off can be made again.

        Args:
            folder: The folder.
            pattern: The names: a reference with ``{stem}`` (what the run, or a file that is of
                none, is called), ``{folder}`` or ``{epoch}``. Without ``{epoch}`` or a tag, the
                best or last of a run gets the name, and others a tag.
            architecture: What network those files are that do not say it.
            backbone: Plugin of the architectures; None as of `import_file`.
            dry_run: Only plan, and import nothing.
            plan: What a dry run has answered: the files are not read again for it, and its parents
                are those that it found.
            options: Those of `import_file`, of all of them.

        Returns:
            The plan, with what came of each file. One that cannot be imported has the status
            ``bad`` and a ``problem``.

        Raises:
            Conflict: Two checkpoints would get one name, or another one has it; nothing is kept.
            InvalidOption: The folder or the pattern cannot be.
        """
        from zoo.exchange.import_many import run_import
        from zoo.exchange.import_plan import plan_import

        if plan is None:
            plan = plan_import(
                self.workspace,
                Path(folder),
                pattern,
                architecture=architecture,
                backbone=backbone,
                parent=options.get("parent"),
                image_size=options.get("image_size"),
                force=options.get("force", False),
                progress=self.progress,
            )
        if dry_run:
            return plan
        return run_import(self.workspace, plan, progress=self.progress, **options)

    def edit(
        self,
        name: str,
        *,
        unset: Sequence[str] = (),
        force: bool = False,
        **options: Unpack[StatedOptions],
    ) -> Edited:
        """State what nobody wrote down of a checkpoint that is here; the weights, the lineage and
        all else stay.

        As a checkpoint never changes, the name moves to another one of the same weights; its
        history keeps the one before.

        Args:
            name: The checkpoint, by a name.
            unset: Names of figures to take back that were stated.
            force: State a figure otherwise, too, that was measured, or take it back; and another
                task than what it was trained for here.
            options: ``license``, ``classes``, ``task``, ``mean``, ``std``, ``crop_pct``,
                ``interpolation``, ``image_size``, ``dataset``, ``metrics``, ``note``, as of
                `import_file`.

        Raises:
            InvalidOption: Nothing is stated, or what cannot be.
            Conflict: The name is that of a published checkpoint, or protected; or a figure was
                measured, or it was trained for another task.
        """
        from zoo.exchange.edit import edit

        return edit(self.workspace, name, unset=unset, force=force, **options)

    def export(
        self,
        name: str,
        folder: Path | str,
        *,
        all_files: bool = False,
        adapter: bool = False,
    ) -> Exported:
        """Write a checkpoint as a folder that its own library loads.

        With ``all_files``, files that could be run where they lie, too. With ``adapter``, its LoRA
        adapter and head alone, for peft.

        Raises:
            InvalidOption: The folder has the name of a file of weights.
            Conflict: It has files already.
            Unsupported: It has no adapter, or one that peft computes otherwise.
        """
        check_folder(Path(folder))
        _, digest = self.workspace.names.resolve(name)
        from zoo.exchange.exporting import export

        return export(self.workspace, digest, Path(folder), all_files=all_files, adapter=adapter)

    def export_signed(
        self, name: str, folder: Path | str, *, all_files: bool = False
    ) -> SignedFolder:
        """Write the files of a checkpoint as they were signed, with its manifest and the
        signatures, for OpenSSF's model_signing to check.

        With ``all_files``, also if there are such that could be run where they lie.

        Raises:
            InvalidOption: The folder has the name of a file of weights.
            Conflict: It has files already.
            Unsupported: Nobody has signed it, or it has files that could be run.
        """
        check_folder(Path(folder))
        from zoo.exchange.exporting_signed import export_signed

        return export_signed(self.workspace, name, Path(folder), all_files=all_files)

    def convert(
        self,
        name: str,
        folder: Path | str,
        *,
        format: Format = "onnx",  # noqa: A002
        images: Iterable[Picture] | Picture = (),
    ) -> Converted:
        """Write a checkpoint as a network that other runtimes run, and compare the two.

        Args:
            name: The checkpoint.
            folder: Gets ``model.onnx``, ``model.xml`` and ``model.bin``, or ``model.pt2``, and
                ``config.json``.
            format: ``onnx``, ``openvino``, or ``pt2``, which torch runs without the network's code.
            images: Files, folders of them, PIL images or arrays to compare with; noise if none.

        Raises:
            InvalidOption: The folder has the name of a file of weights.
            Conflict: It has files already.
            MissingPackage: What writes that is not installed.
            Unsupported: The network cannot be written so, or the file computes something else;
                nothing is kept.
        """
        check_folder(Path(folder))
        _, digest = self.workspace.names.resolve(name)
        from zoo.backbones.predict import several
        from zoo.exchange.convert import convert

        return convert(
            self.workspace, digest, Path(folder), format=format, images=[*several(images)]
        )

    def quantize(
        self,
        name: str,
        folder: Path | str,
        data: Path | str,
        *,
        images: Iterable[Picture] | Picture = (),
        **opening: Unpack[OpeningOptions],
    ) -> Quantized:
        """Write a checkpoint as ONNX, in floats and in whole numbers of eight bits, and measure
        both on the same images.

        Args:
            name: The checkpoint.
            folder: Gets ``model.onnx``, ``model-int8.onnx`` and ``config.json``.
            data: Labeled images, as `evaluate` takes them. Those of its test split are measured on,
                and ranges taken from up to 128 others; of the very images that the checkpoint was
                trained on the split is as it was then.
            images: To compare the floats with the checkpoint, as for `convert`; some of those that
                ranges are taken from, if none.
            opening: As for `evaluate`.

        Raises:
            InvalidOption, Conflict, MissingPackage, Unsupported: As `convert`; or none of the
                network's operators can be quantized; nothing is kept.
            InvalidData: The images cannot be used, or have no split.
        """
        check_folder(Path(folder))
        from zoo.backbones.predict import several
        from zoo.finetune.dataset.spec import DatasetOptions
        from zoo.finetune.preflight import check_measured
        from zoo.finetune.quantize import quantize

        asked = DatasetOptions(**opening)
        check_measured(self.workspace, [name], str(data), asked)
        return quantize(
            self.workspace,
            name,
            Path(folder),
            str(data),
            images=[*several(images)],
            opening=asked,
            progress=self.progress,
        )

    def adapt(
        self,
        name: str,
        save: str,
        *,
        truncate: str | None = None,
        image_size: tuple[int, int] | None = None,
        channels: int | None = None,
        without: Iterable[str] = (),
        convolutional: bool = False,
        classes: int | None = None,
        head: str = "linear",
    ) -> Adapted:
        """A checkpoint's weights in another network, kept as the checkpoint ``save``.

        Args:
            name: The checkpoint.
            save: Name of the result.
            truncate: Keep all up to this unit or stage; its output is pooled.
            image_size: Height and width.
            channels: Channels of the input.
            without: Residual units to take out.
            convolutional: Classify every position of larger images (AlexNet, VGG).
            classes: Give it a new, untrained head for so many.
            head: Kind of the new head.

        Raises:
            Unsupported: It cannot be done with this network; nothing is kept.
        """
        from zoo.domain.manifest import Head
        from zoo.domain.surgery import Surgery
        from zoo.exchange.adapt import adapt

        surgery = Surgery(
            truncate=truncate,
            image_size=image_size,
            channels=channels,
            without=tuple(without),
            convolutional=convolutional,
        )
        new = Head(kind=head, num_classes=classes) if classes is not None else None
        return adapt(
            self.workspace, name, Reference.parse(save), surgery, head=new, progress=self.progress
        )

    def average(
        self,
        names: Iterable[str],
        save: str,
        *,
        data: Path | str = "",
        batch_size: int = 32,
        device: str = "auto",
    ) -> Averaged:
        """The mean of the weights of several fine-tunes of one checkpoint (a uniform "model soup"),
        kept as the checkpoint ``save``. Its figures are not known: `evaluate` measures it.

        Args:
            names: The checkpoints: of one network, with the same classes and preprocessing.
            save: Name of the result.
            data: Images that they were trained on, with labels or without: where their batch norms
                have statistics of their own, these are taken anew.
            batch_size: Images that run at once.
            device: ``auto``, ``cpu``, ``cuda:1``, …

        Raises:
            InvalidOption: They are fewer than two, are not alike, do not derive from one
                checkpoint, or have NaN or infinite values; ``data`` is needed or has no effect.
            InvalidData: An image cannot be read.
        """
        from zoo.finetune.preflight import check_batches, check_device

        check_device(device)
        check_batches(batch_size, None)
        from zoo.finetune.average import average

        return average(
            self.workspace,
            list(names),
            Reference.parse(save),
            data=str(data),
            batch_size=batch_size,
            device=device,
            progress=self.progress,
        )

    def load(self, name: str, *, device: str = "cpu", merged: bool = True) -> nn.Module:
        """A checkpoint as a module in eval mode, with its `Card` as ``module.zoo``.

        A LoRA adapter is ``merged`` into the weights, or stays beside them, to the same bits.

        Raises:
            UnknownName: No such checkpoint here.
            Corrupt: A part of it is damaged.
        """
        from zoo.backbones.load import load

        _, digest = self.workspace.names.resolve(name)
        return load(self.workspace.store, digest, device=device, merged=merged)

    def load_many(self, names: Iterable[str], *, device: str = "cpu") -> dict[str, nn.Module]:
        """Checkpoints as modules, as `load` gives them; what they share is in memory once.

        So fine-tunes of one parent take the memory of that and of what changed. Adapters stay
        beside the weights. The modules are to be run: what is written into a tensor of one shows in
        the others.

        Raises:
            UnknownName: No such checkpoint here.
            Corrupt: A part of one is damaged.
        """
        from zoo.backbones.load import load_many

        names = list(names)
        digests = [self.workspace.names.resolve(name)[1] for name in names]
        modules = load_many(self.workspace.store, digests, device=device)
        return dict(zip(names, modules, strict=True))

    def predict(
        self,
        name: str,
        images: Iterable[Picture] | Picture,
        *,
        top: int = 3,
        path_column: str = "",
        root: Path | str = "",
        max_pixels: int | None = None,
        calibration: bool = True,
        abstain_at: float | None = None,
        tta: str = "",
    ) -> Table[Prediction]:
        """The likeliest classes of each image, and all logits.

        Of a checkpoint that keeps a calibration (`calibration`), probabilities are those by its
        temperature, and it is told which images are unlike its training images.

        Args:
            name: The checkpoint.
            images: Paths of images; of folders: all images in them; of tables: those that rows
                name; PIL images; uint8 arrays (H, W) or (H, W, 3). One of them, or several.
            top: How many classes to name.
            path_column: Of tables, as in `zoo.Recipe`.
            root: The folder that paths in a table begin at; by default its own.
            max_pixels: Of the largest image that is opened; None: Pillow's limit, 178,956,970.
            calibration: Take the temperature that the checkpoint keeps, if it keeps one.
            abstain_at: Abstain where the network is not so sure as it was of those validation
                images of which it told this share right.
            tta: Test-time augmentation: the mean of the probabilities of several views of each
                image, ``flip`` (itself and mirrored), or their number, up to 12.

        Raises:
            InvalidOption: ``top`` is less than 1, or no answers were so accurate; or to abstain by
                several views.
            Unsupported: To abstain, where the checkpoint does not know how accurate it is.
            InvalidImage: One is missing, unreadable or larger.
        """
        return Table(
            self.predictions(
                name,
                images,
                top=top,
                path_column=path_column,
                root=root,
                max_pixels=max_pixels,
                calibration=calibration,
                abstain_at=abstain_at,
                tta=tta,
            )
        )

    def predictions(
        self,
        name: str,
        images: Iterable[Picture] | Picture,
        *,
        top: int = 3,
        path_column: str = "",
        root: Path | str = "",
        max_pixels: int | None = None,
        calibration: bool = True,
        abstain_at: float | None = None,
        tta: str = "",
        bad: list[InvalidImage] | None = None,
    ) -> Iterator[Prediction]:
        """As `predict`, one after the other; what cannot be read is put into ``bad``."""
        from zoo.finetune.dataset.spec import DatasetOptions
        from zoo.finetune.preflight import check_predicted

        opening = DatasetOptions(path_column=path_column, root=str(root))
        problems = check_predicted(self.workspace, name, images, opening, top)
        views = count_views(tta)
        answers = self._sure(name, abstain_at, views, calibration=calibration)
        if problems:
            if bad is None:
                raise problems[0]
            bad.extend(problems)
            return iter(())
        from zoo.backbones.predict import predict, several
        from zoo.backbones.trust import trust_of
        from zoo.finetune.dataset.table import listed_images

        known, model = self.calibration(name), self.load(name)
        listed = listed_images(several(images), opening)
        trust = trust_of(model, known, answers, calibrated=calibration)
        return predict(
            model, listed, top=top, bad=bad, max_pixels=max_pixels, trust=trust, views=views
        )

    def _sure(
        self, name: str, abstain_at: float | None, views: int, *, calibration: bool
    ) -> Step | None:
        if abstain_at is None:
            return None
        if views > 1:
            raise InvalidOption(
                "abstaining takes one view of each image: the table of answers was made with one"
            )
        return self.answers_for(name, abstain_at, calibration=calibration)

    def calibration(self, name: str) -> Calibration | None:
        """What a checkpoint keeps of how far its answers can be trusted, of the validation images
        of the fine-tune that made it: a temperature, a table of how accurate answers are by how
        sure the network is, and what its training images are like. None if it keeps nothing.
        """
        from zoo.lookup.calibrated import calibration_of

        _, digest = self.workspace.names.resolve(name)
        return calibration_of(self.workspace.store, self.workspace.store.manifest(digest))

    def answers_for(self, name: str, accuracy: float, *, calibration: bool = True) -> Step:
        """How sure a checkpoint must be for answers of that accuracy on its validation images.

        Raises:
            InvalidOption: No answers are so accurate; or without its ``calibration``, where it
                keeps a temperature: how sure it is is told by that.
            Unsupported: It does not know how accurate its answers are.
        """
        from zoo.lookup.calibrated import answers_for

        return answers_for(name, self.calibration(name), accuracy, calibrated=calibration)

    def explain(
        self, name: str, image: Picture, output: str = "", *, max_pixels: int | None = None
    ) -> Explanation:
        """Which part of an image speaks for a class: by Grad-CAM, or where a network ends in tokens
        (ViT) by integrated gradients.

        Args:
            name: The checkpoint.
            image: A file, a PIL image, or a uint8 array (H, W) or (H, W, 3).
            output: The class, label or number, by name or index; empty: the likeliest.
            max_pixels: As for `predict`.

        Raises:
            InvalidImage: It is missing, unreadable or larger.
            UnknownName: There is no such checkpoint here, or no such class.
            Unsupported: The network has no head, or no map that its outputs depend on.
        """
        from zoo.backbones.explained import explain_one

        return explain_one(self.load(name), image, output, max_pixels=max_pixels)

    def write_predictions(
        self,
        name: str,
        images: Iterable[Picture] | Picture,
        out: Path | str,
        *,
        top: int = 3,
        path_column: str = "",
        root: Path | str = "",
        max_pixels: int | None = None,
        calibration: bool = True,
        abstain_at: float | None = None,
        tta: str = "",
        batch_size: int | None = None,
        workers: int | None = None,
        device: str = "auto",
        on: str = "",
        resume: bool = False,
        force: bool = False,
    ) -> PredictionsFile:
        """Write the likeliest classes of any number of images into a table, ``.csv`` or
        ``.parquet``; an image that cannot be read is a row with the reason.

        Until all rows are there, those that are lie beside it in ``NAME.partial``.

        Args:
            name: The checkpoint.
            images: As for `predict`.
            out: The file; its columns are ``path``, ``class_1``, ``probability_1``, …, ``problem``.
            top: How many classes to name.
            path_column: As for `predict`.
            root: As for `predict`.
            max_pixels: As for `predict`.
            calibration: As for `predict`.
            abstain_at: As for `predict`.
            tta: As for `predict`.
            batch_size: Images that run at once; 1: as `predict` runs them. None: 32, on the CPU 4.
            workers: Processes that decode images; None: as many as there are cores.
            device: ``auto``, ``cpu``, ``cuda:1``, …; several that share the images: ``all``, or
                ``cuda:0,cuda:1``. On a cluster ``auto``, ``cpu`` or ``cuda``.
            on: A Ray cluster whose nodes share the images, as for `rank`; empty: this machine.
            resume: Go on with what a call has left that was cut off, if there is any; do nothing if
                the file is complete, and of the same.
            force: Replace the file if it exists, or begin anew what was cut off.

        Raises:
            InvalidOption: The file has another suffix, or its folder is not there.
            Conflict: It exists, another process writes it, or what is left of a call is of other
                images, another checkpoint or other options.
            MissingPackage: Ray is not installed.
            Unavailable: There is no such cluster, or a node of it does not reach the images.
            InvalidImage: None of the paths has an image.
            DiskFull: There is no space; what was predicted stays.
        """
        from zoo.backbones.predicted import check_out
        from zoo.finetune.dataset.spec import DatasetOptions
        from zoo.finetune.preflight import check_batches, check_predicted, check_where

        out, opening = Path(out), DatasetOptions(path_column=path_column, root=str(root))
        check_out(out, force=force or resume)
        check_where(device, on)
        check_batches(batch_size, workers, on)
        if problems := check_predicted(self.workspace, name, images, opening, top):
            raise problems[0]
        views = count_views(tta)
        answers = self._sure(name, abstain_at, views, calibration=calibration)
        from zoo.backbones import many
        from zoo.backbones.devices import pick_devices
        from zoo.backbones.predict import several
        from zoo.backbones.trust import trust_of
        from zoo.executors.predicting import open_elsewhere
        from zoo.finetune.dataset.table import listed_images

        _, digest = self.workspace.names.resolve(name)
        settings = many.made_with(digest, top, max_pixels, calibration, abstain_at, views)
        listed = several(images)
        called = listed_images(listed, opening, names=True)
        with caches(self.workspace) as cache:
            if out.exists() and not force:
                return many.complete(out, called, settings, cache)
            devices = ["cpu"] if on else pick_devices(device)
            models = [self.load(name, device=each) for each in devices]
            trust = trust_of(models[0], self.calibration(name), answers, calibrated=calibration)
            # Anything else can be gone through once.
            known = listed if isinstance(listed, list | tuple) else None
            where = on, device, self.workspace, digest, known or (), cache
            with open_elsewhere(*where, self.progress) as elsewhere:
                size = batch_size or many.usual_batch(elsewhere.device if elsewhere else devices[0])
                return many.predict_many(
                    models,
                    listed_images(listed, opening),
                    out,
                    many.PredictOptions(
                        top=top,
                        max_pixels=max_pixels,
                        trust=trust,
                        views=views,
                        batch_size=size,
                        workers=workers,
                        made_with=settings,
                    ),
                    count=None if known is None else many.count_pictures(called),
                    resume=resume,
                    force=force,
                    cache=cache,
                    progress=self.progress,
                    elsewhere=elsewhere,
                )

    def evaluate(
        self,
        name: str,
        data: Path | str,
        *,
        against: str | None = None,
        split: Literal["all", "train", "validation", "test"] | None = None,
        unseen: bool = False,
        group_by: str = "",
        skip_bad: bool = False,
        out: Path | str | None = None,
        force: bool = False,
        batch_size: int = 32,
        device: str = "auto",
        save: bool = True,
        tta: str = "",
        **opening: Unpack[OpeningOptions],
    ) -> Evaluation:
        """Measure a checkpoint on labeled images, class by class; classes are matched by name.

        Args:
            name: The checkpoint.
            data: What `finetune` takes.
            against: Another checkpoint to measure on the same images, with a paired test.
            split: Which of the images. None: the test split that the data has, or that the
                checkpoint was tested on if it was trained on these very images; else all.
            unseen: Leave out of these what the checkpoint, or that of ``against``, was trained on
                or chosen by, as far as this zoo knows, and what is in one group with such an image.
            group_by: What belongs together, as in `zoo.Recipe`: intervals are of groups then. Of
                the very images that the checkpoint was trained on, its recipe says it.
            skip_bad: Skip and count images that cannot be read.
            out: A folder to write ``report.json``, ``predictions.csv``, the images that are most
                wrong and unsure, and for classes their matrix into.
            force: Replace a report that is there.
            batch_size: Images that run at once.
            device: ``auto``, ``cpu``, ``cuda:1``, …
            save: Keep the figures in the zoo, for `show`, `search`, `best` and `compare`: where it
                may be written to, and of images that the checkpoint was not trained on.
            tta: Test-time augmentation, as for `predict`; such figures are not kept.
            opening: ``path_column``, ``label_column``, ``root``, ``max_pixels``: see `zoo.Recipe`.

        Raises:
            InvalidData: It cannot be used, or none of its classes is one of the checkpoint's.
            Unsupported: The checkpoint has no head, or does not take such images.
            Conflict: The folder ``out`` has a report.
        """
        from zoo.finetune.dataset.spec import DatasetOptions
        from zoo.finetune.preflight import check_device, check_measured, check_report

        check_device(device)
        asked, folder, views = (
            DatasetOptions(**opening),
            Path(out) if out else None,
            count_views(tta),
        )
        check_report(folder, force=force)
        check_measured(self.workspace, [name, *filter(None, [against])], str(data), asked)
        from zoo.finetune.evaluation import evaluate

        return evaluate(
            self.workspace,
            name,
            str(data),
            against=against,
            split=split,
            unseen=unseen,
            group_by=group_by,
            skip_bad=skip_bad,
            opening=asked,
            out=folder,
            batch_size=batch_size,
            device=device,
            save=save,
            views=views,
            progress=self.progress,
        )

    def bench(
        self,
        name: str,
        *,
        device: str = "auto",
        batch_sizes: Sequence[int] = (1, 8, 32),
        threads: int | None = None,
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
        seconds: float = 2.0,
        save: bool = True,
    ) -> Benched:
        """Measure how fast a checkpoint runs here, on random images of its own size.

        Args:
            name: The checkpoint.
            device: ``auto``, ``cpu``, ``cuda:1``, …
            batch_sizes: How many images run at once. One that does not fit into memory is told and
                left out, with those that are larger.
            threads: Of the CPU; None: as many as torch takes.
            precision: ``bf16`` and ``fp16`` run in `torch.autocast`.
            seconds: For each batch size, after a warm-up.
            save: Keep the figures in the zoo, for `show` and for searches: ``ms.cpu<20``.

        Raises:
            UnknownName: No such checkpoint here.
            InvalidOption: There is no such device here, an option cannot be, or not even the
                smallest batch fits into memory.
            Unsupported: The network does not take images of its own size.
        """
        if threads is not None and threads < 1:
            raise InvalidOption(f"threads are 1 or more, not {threads}")
        if not batch_sizes or not all(type(each) is int and each > 0 for each in batch_sizes):
            raise InvalidOption("batch sizes are whole numbers, 1 or more")
        if precision not in ("fp32", "bf16", "fp16"):
            raise InvalidOption(f"precision is fp32, bf16 or fp16, not {precision!r}")
        if not 0 < seconds < math.inf:
            raise InvalidOption(f"seconds are more than 0, not {seconds}")
        from zoo.backbones.bench import bench

        return bench(
            self.workspace,
            name,
            device=device,
            batch_sizes=batch_sizes,
            threads=threads,
            precision=precision,
            seconds=seconds,
            save=save,
            progress=self.progress,
        )

    def features(
        self,
        name: str,
        data: Path | str,
        out: Path | str | None = None,
        *,
        at: str = "head",
        task: Task | None = None,
        image_size: int | None = None,
        skip_bad: bool = False,
        batch_size: int = 32,
        device: str = "auto",
        force: bool = False,
        **opening: Unpack[OpeningOptions],
    ) -> Features:
        """What a checkpoint makes of all images in ``data`` at one of its units.

        Args:
            name: The checkpoint.
            data: What `finetune` takes; or a folder of images without class folders, an image or a
                pattern (``photos/*.jpg``): no labels are written then.
            out: The safetensors file to write; None: the answer has the arrays themselves
                (``features``, ``labels``, ``keys``).
            at: The unit or stage; ``head``: what the head gets.
            task: What the labels are; None: what the data looks like.
            image_size: Height and width that the network gets, as in a fine-tune; None: its own.
            skip_bad: Skip and count images that cannot be read.
            batch_size: Images that run at once.
            device: ``auto``, ``cpu``, ``cuda:1``, …
            force: Replace the file if it exists.
            opening: ``path_column``, ``label_column``, ``root``, ``max_pixels``: see `zoo.Recipe`.
        """
        from zoo.finetune.dataset.spec import opening_of
        from zoo.finetune.preflight import check_device, check_file, check_pictured

        check_device(device)
        asked = opening_of(Recipe(data=str(data), image_size=image_size, **opening))
        path = Path(out) if out else None
        if path:
            check_file(path, force=force)
        check_pictured(self.workspace, name, str(data), asked, task)
        from zoo.finetune.features.write import write_features

        return write_features(
            self.workspace,
            name,
            str(data),
            path,
            at=at,
            task=task,
            image_size=image_size,
            skip_bad=skip_bad,
            opening=asked,
            batch_size=batch_size,
            device=device,
            progress=self.progress,
        )

    # Train.

    def advise(
        self,
        base: str,
        data: Path | str,
        *,
        task: Literal["auto", "classification", "multi-label", "regression"] = "auto",
        image_size: int | None = None,
        group_by: str = "",
        seed: int = 0,
        budget: str | float = "10m",
        skip_alone: bool = True,
        out: Path | str | None = None,
        force: bool = False,
        batch_size: int = 32,
        device: str = "auto",
        on: str = "",
        **opening: Unpack[OpeningOptions],
    ) -> Advice:
        """Say what the images are before ``base`` is fine-tuned on them, which are suspect, and how
        to fine-tune: recipes are tried on images that are held out.

        Bad images are left out and named. Nothing is changed: neither images nor labels. After
        Ctrl-C while recipes are tried, the plan says what is known by then.

        Args:
            base: The checkpoint that sees the images.
            data: What `finetune` takes.
            budget: ``90s``, ``10m``, ``1h``, or seconds: for so long recipes are tried; 0: not at
                all.
            skip_alone: Leave out classes of fewer than two images, which a fine-tune refuses.
            task: What is learned; ``auto``: what the data looks like.
            image_size: Height and width that the network gets; None: those of the base.
            group_by: What stays in one split, as in `zoo.Recipe`.
            seed: Of the splits, if the data has none, and of the folds.
            out: A folder to write all suspects, their contact sheet, tables to mend splits and
                labels by, and ``advice.json`` into.
            force: Replace advice that is there.
            batch_size: Images that run at once.
            device: ``auto``, ``cpu``, ``cuda:1``, …; of several, ``cuda:0,cuda:1`` or ``all``, each
                has its own trials.
            on: A Ray cluster that tries recipes: ``ray://HOST:10001``, or ``ray``.
            opening: ``path_column``, ``label_column``, ``root``, ``max_pixels``: see `zoo.Recipe`.

        Raises:
            InvalidData: It cannot be used.
            InvalidOption: The base does not take images of that size.
            Conflict: The folder ``out`` has advice.
        """
        from zoo.domain.duration import seconds_of
        from zoo.finetune.preflight import ADVICE, check_recipe, check_report, check_where

        asked: dict[str, object] = {"task": task, "image_size": image_size, "group_by": group_by}
        recipe = Recipe.from_json(
            {"data": str(data), "skip_bad": True, "seed": seed, **asked, **opening}
        )
        folder, allowed = Path(out) if out else None, seconds_of(budget)
        check_where(device, on)
        check_report(folder, force=force, name=ADVICE)
        check_recipe(self.workspace, base, recipe, self.progress)
        self._begin(base, recipe.data)
        from zoo.advice.advise import advise

        return advise(
            self.workspace,
            base,
            recipe,
            out=folder,
            budget=allowed,
            skip_alone=skip_alone,
            batch_size=batch_size,
            device=device,
            on=on,
            progress=self.progress,
        )

    def trials(self) -> Table[PastTrial]:
        """What `advise` has tried here, probes and recipes, newest first: the last time that each
        network was asked about images of a size.
        """
        from zoo.lookup.history import PastTrial, history

        return Table(history(self.workspace), PastTrial)

    def rank(
        self,
        data: Path | str,
        among: str = "pulled:yes",
        *,
        top: int = 3,
        budget: str = "30m",
        pull: bool = False,
        results: Path | str | None = None,
        task: Literal["auto", "classification", "multi-label", "regression"] = "auto",
        image_size: int | None = None,
        group_by: str = "",
        seed: int = 0,
        out: Path | str | None = None,
        force: bool = False,
        batch_size: int = 32,
        device: str = "auto",
        on: str = "",
        **opening: Unpack[OpeningOptions],
    ) -> Ranking:
        """Say which networks suit the images, before any of them is fine-tuned.

        Each is run over the training and validation images once. The finalists are then trained for
        a short while, on parts of these images in turn. Test images choose nothing. What came of it
        is kept. After Ctrl-C, too, what is known by then is ranked.

        Args:
            data: What `finetune` takes. Bad images are left out.
            among: Words and filters of `search`, which choose the networks.
            top: How many finalists there are, beside the one with the best prior.
            budget: ``90s``, ``30m``, ``1h``: after that nothing further is begun; ``0``: what is
                known is ranked.
            pull: Pull networks that are not here, when it is their turn.
            results: A CSV file of published results: ``network,dataset,accuracy``.
            task: What is learned; ``auto``: what the data looks like.
            image_size: Height and width that networks get; None: those of each.
            group_by: What stays in one fold, as in `zoo.Recipe`.
            seed: Of the splits, if the data has none, and of the folds.
            out: A folder to write ``rank.json`` and ``rank.png`` into.
            force: Replace a ranking that is there.
            batch_size: Images that run at once.
            device: ``auto``, ``cpu``, ``cuda:1``, …; of several, ``cuda:0,cuda:1`` or ``all``, each
                has its own networks.
            on: A Ray cluster that measures and trains: ``ray://HOST:10001``, or ``ray``.
            opening: ``path_column``, ``label_column``, ``root``, ``max_pixels``: see `zoo.Recipe`.

        Raises:
            UnknownName, InvalidOption: Nothing fits ``among``, or too much; or ``results`` has
                none of that.
            InvalidData: The images cannot be used, or are too few.
            Conflict: The folder ``out`` has a ranking.
        """
        from zoo.ranking.asked import ask

        size: dict[str, object] = {"task": task, "image_size": image_size, "group_by": group_by}
        recipe = Recipe.from_json(
            {"data": str(data), "skip_bad": True, "seed": seed, **size, **opening}
        )
        asked = ask(
            self.workspace,
            recipe,
            among,
            results=results,
            top=top,
            budget=budget,
            pulls=pull,
            out=out,
            force=force,
            batch_size=batch_size,
            device=device,
            on=on,
        )
        self._begin(recipe.data)
        from zoo.ranking.rank import rank

        return rank(self.workspace, recipe, asked, self.progress)

    def finetune(
        self,
        base: str,
        data: Path | str,
        save: str,
        *,
        recipe: Path | str = "",
        device: str = "auto",
        save_every: int = 0,
        profile: bool = False,
        log: Log = (),
        launch: int | Path | str | None = None,
        force: bool = False,
        note: str = "",
        report: str = "",
        workers: int | None = None,
        **options: Unpack[RecipeOptions],
    ) -> Finetuned:
        """Fine-tune ``base`` on ``data`` and save the result under ``save``.

        Args:
            base: The checkpoint to begin with.
            data: Class folders, a table of paths and labels, or a named dataset.
            save: Name of the result.
            recipe: A preset (``small-data``, ``standard``, ``long``) or a TOML file; ``options``
                count more.
            device: ``auto``, ``cpu``, ``cuda:1``, …
            save_every: Steps after which the state is kept, to resume from; 0: each epoch or so.
            profile: Write a trace of some steps, and what takes their time, in the run's folder.
            log: Trackers beside TensorBoard: ``"wandb"``, ``"mlflow"``, ``"aim"``, a plugin's name,
                a `zoo.contracts.Tracker` of yours, or several in a list.
            launch: In so many processes on this machine, or in those that accelerate's config file
                of that name describes.
            force: Move the name also from what has no class in common with it, or another task.
            note: What you say of it, in a line that goes with the checkpoint.
            report: The URL of a server that is told of the run while it goes on.
            workers: Processes that read images, at most; None: what suits the device, or
                ``ZOO_WORKERS``.
            options: Those of `zoo.Recipe`: ``freeze="stages.2"``, ``head``, ``epochs``, …

        Raises:
            InvalidOption, InvalidFreeze, InvalidData, OtherClasses: Before anything is trained.
        """
        if "freeze" in options:  # a count may be given as a number
            options["freeze"] = str(options["freeze"])
        chosen = {"data": str(data), **options}
        asked = Recipe.read(recipe, **chosen) if recipe else Recipe.from_json(chosen)
        return self.run_recipe(
            asked,
            base,
            save,
            device=device,
            save_every=save_every,
            profile=profile,
            log=log,
            launch=launch,
            force=force,
            note=note,
            report=report,
            workers=workers,
        )

    def run_recipe(
        self,
        recipe: Recipe,
        base: str,
        save: str,
        *,
        launch: int | Path | str | None = None,
        workers: int | None = None,
        **how: Unpack[RunOptions],
    ) -> Finetuned:
        """Fine-tune ``base`` after ``recipe``, say ``zoo.Recipe.read("flowers.toml")``; the rest is
        as for `finetune`.
        """
        from zoo.finetune.preflight import check_batches

        how = self._check_run(recipe, base, save, how)
        check_batches(None, workers)
        with config.reading_by(workers):
            if launch is not None:
                words = ("finetune", base, "--save", save, *_words(**how))
                count = config.asked_workers()
                read = () if count is None else ("--workers", count)
                return self._launch((*words, *read), launch, how.get("log", ()), recipe)
            self._begin(base, recipe.data)
            from zoo.finetune.run import finetune

            name = Reference.parse(save)
            with self._runs_shared():
                return finetune(self.workspace, base, recipe, name, progress=self.progress, **how)

    def _check_run(self, recipe: Recipe, base: str, save: str, how: RunOptions) -> RunOptions:
        """How a run is done, after all that shows before anything is trained."""
        note, report = checked_note(how.get("note", "")), how.get("report", "")
        how = {**how, "note": note, "report": self._place(report, save)}
        device, log = how.get("device", "auto"), how.get("log", ())
        self.check_finetune(recipe, base, save, device=device, log=log)
        return how

    def check_finetune(
        self, recipe: Recipe, base: str, save: str, *, device: str = "auto", log: Log = ()
    ) -> None:
        """See, within a moment, whether `run_recipe` could begin, as far as that shows without
        torch: names, units, data, head, device and trackers. It does so by itself.

        Raises:
            ZooError: It could not.
        """
        from zoo.finetune.preflight import check_new

        check_new(self.workspace, base, recipe, Reference.parse(save), log, device, self.progress)

    def run_seeds(
        self,
        recipe: Recipe,
        base: str,
        save: str,
        *,
        seeds: int = 5,
        launch: int | Path | str | None = None,
        workers: int | None = None,
        **how: Unpack[RunOptions],
    ) -> Seeds:
        """Fine-tune ``base`` with so many ``seeds``, from that of ``recipe`` on, one after another.

        Each is saved under a tag (``team/flowers:seed-3``), and ``save`` itself is then the one
        that did best on its validation images. The rest is as for `finetune`.
        """
        how = self._check_run(recipe, base, save, how)
        self._begin(base, recipe.data)
        from zoo.finetune.seeds import finetune_seeds

        return finetune_seeds(
            self.workspace,
            base,
            recipe,
            Reference.parse(save),
            seeds=seeds,
            run=partial(self.run_recipe, launch=launch, workers=workers, **how),
            force=how.get("force", False),
            progress=self.progress,
        )

    def run_folds(
        self,
        recipe: Recipe,
        base: str,
        save: str,
        *,
        folds: int = 5,
        launch: int | Path | str | None = None,
        workers: int | None = None,
        **how: Unpack[RunOptions],
    ) -> Folds:
        """Fine-tune ``base`` with each of so many ``folds`` of training and validation images held
        out, and then on all of these, for as long as that was best.

        Each is saved under a tag (``team/flowers:fold-3``), the last under ``save``. The rest is as
        for `finetune`.
        """
        how = self._check_run(recipe, base, save, how)
        self._begin(base, recipe.data)
        from zoo.finetune.folds import finetune_folds

        return finetune_folds(
            self.workspace,
            base,
            recipe,
            Reference.parse(save),
            folds=folds,
            run=partial(self.run_recipe, launch=launch, workers=workers, **how),
            force=how.get("force", False),
            progress=self.progress,
        )

    def plan_finetune(
        self,
        recipe: Recipe,
        base: str,
        save: str | None = None,
        *,
        device: str = "auto",
        log: Log = (),
        force: bool = False,
    ) -> FinetunePlan:
        """What `run_recipe` would do and how long that may take; nothing is written. With ``save``,
        what becomes of that name, too.

        Raises as `finetune` does before anything is trained.
        """
        from zoo.finetune.preflight import check_device, check_new, check_recipe
        from zoo.finetune.results.trackers import check_installed

        ref = Reference.parse(save) if save else None
        if ref:
            check_new(self.workspace, base, recipe, ref, log, device, self.progress)
        else:
            check_device(device)
            check_installed(log)
            check_recipe(self.workspace, base, recipe, self.progress)
        self._begin(base, recipe.data)
        from zoo.finetune.plan import plan_finetune

        return plan_finetune(
            self.workspace,
            base,
            recipe,
            save=ref,
            device=device,
            force=force,
            progress=self.progress,
        )

    def find_lr(self, recipe: Recipe, base: str, *, device: str = "auto") -> LRCurve:
        """Try learning rates for ``recipe`` on ``base``; only a table and a picture are kept.

        Raises:
            InvalidOption: The recipe trains nothing; else as `finetune`.
        """
        from zoo.finetune.preflight import check_device, check_recipe

        check_device(device)
        check_recipe(self.workspace, base, recipe, self.progress)
        self._begin(base, recipe.data)
        from zoo.finetune.run import find_lr

        with caches(self.workspace) as folder:
            return find_lr(
                self.workspace, base, recipe, folder, device=device, progress=self.progress
            )

    def resume(
        self,
        run: str,
        *,
        device: str | None = None,
        save_every: int = 0,
        profile: bool = False,
        log: Log = (),
        report: str = "",
        launch: int | Path | str | None = None,
    ) -> Finetuned:
        """Resume a run that was cut off; ``last`` is your newest that is not going on.

        It resumes on the ``device`` that it was on, or on another, which gives other bits, and is
        reported to where it was, or to ``report``.

        Raises:
            UnknownName: No such run.
            Conflict: It is done, or going on.
            InvalidData: The images, or their split, are not those that it was trained on so far.
        """
        from zoo.finetune.preflight import check_device, check_resumed

        check_device(device or "auto")
        earlier = find_run(self.workspace, check_resumed(self.workspace, run, log))
        report = self._place(report, earlier.save)
        if run == "last":
            began = f", begun by {earlier.author}" if earlier.author else ""
            self.progress.say(f"resuming {earlier.id} -> {earlier.save}{began}")
        run = earlier.id
        if launch is not None:
            on = _words(device=device, save_every=save_every, profile=profile, report=report)
            return self._launch(("finetune", "--resume", run, *on), launch, log)
        self._begin(earlier.base, str(earlier.recipe.get("data", "")))
        from zoo.finetune.run import resume

        with self._runs_shared():
            return resume(
                self.workspace,
                run,
                device=device,
                save_every=save_every,
                profile=profile,
                log=log,
                report=report,
                progress=self.progress,
            )

    def rerun(
        self,
        name: str,
        save: str,
        *,
        data: Path | str | None = None,
        root: Path | str = "",
        device: str = "auto",
        log: Log = (),
        launch: int | Path | str | None = None,
        force: bool = False,
        note: str = "",
        report: str = "",
    ) -> Finetuned:
        """Fine-tune again as the checkpoint ``name`` was.

        ``data`` is where the images are now, if they moved, or it was trained elsewhere; ``root``
        where paths in such a table begin. ``force``, ``note`` and ``report`` are as for
        `finetune`.

        Raises:
            OtherClasses: As `finetune`.
            UnknownName: No such checkpoint, or its base is not here.
            Unsupported: It is not the result of a fine-tune.
            InvalidData: The images, or their split, are not those that it was trained on.
        """
        from zoo.finetune.preflight import check_new, recorded

        note, report = checked_note(note), self._place(report, save)
        before = recorded(self.workspace, name, str(data) if data else None, str(root))
        base = str(before.base.manifest)
        check_new(
            self.workspace, base, before.recipe, Reference.parse(save), log, device, self.progress
        )
        if launch is not None:
            given = _words(data=data, root=root) if data else ()
            how = _words(device=device, force=force, note=note, report=report)
            return self._launch(("rerun", name, "--save", save, *given, *how), launch, log)
        self._begin(before.base.ref or name, before.recipe.data)
        from zoo.finetune.run import rerun

        with self._runs_shared():
            return rerun(
                self.workspace,
                name,
                Reference.parse(save),
                data=str(data) if data else None,
                root=str(root),
                device=device,
                log=log,
                force=force,
                note=note,
                report=report,
                progress=self.progress,
            )

    def runs(self) -> Table[Run]:
        """All fine-tunes that were begun here, newest first, and those on other machines that were
        reported to the server of this zoo.
        """
        return Table(all_runs(self.workspace))

    def run(self, name: str) -> Run:
        """One of them, by its id or the beginning of it; ``last`` is the newest that you began.

        Raises:
            UnknownName: None begins so, or several do.
        """
        return find_any(self.workspace, name)

    def report_run(self, name: str, to: str = "") -> str:
        """Report a run to a server, or what is left of its report: ``to`` a URL, or where it was
        reported to already; where it is there.

        Raises:
            UnknownName, InvalidOption: No such run, or no server.
            Unavailable, Forbidden: The server does not answer, or does not take it.
            Conflict: It has another course of the run, which is done.
        """
        from zoo.lookup.reporting import report_run

        return report_run(find_run(self.workspace, name), to)

    def plan_remove_runs(
        self,
        *names: str,
        older_days: float | None = None,
        states: Sequence[State] = (),
        resumable: bool = False,
        results: bool = False,
    ) -> Removal:
        """What `remove_runs` would remove: the runs that are named, or all that fit. Nothing is
        changed.

        Args:
            names: Runs, as `run` takes them.
            older_days: Those in whose folders nothing was written in the last days.
            states: Those in one of these states.
            resumable: Also those that could be resumed.
            results: Also those that a checkpoint here relies on, which stays.

        Raises:
            UnknownName, InvalidOption: No such run, or several; or nothing says which.
            Conflict: One that is named is running, or is needed, and no word says that it goes.
        """
        from zoo.lookup.remove_runs import plan_removal

        words = {"resumable": resumable, "results": results}
        return plan_removal(self.workspace, names, older_days=older_days, states=states, **words)

    def remove_runs(self, plan: Removal) -> Removal:
        """Remove the runs that ``plan`` lists, but for what runs by now, or is needed; what was
        removed.
        """
        from zoo.lookup.remove_runs import remove_runs

        return remove_runs(self.workspace, plan)

    def compare_runs(self, *names: str, fold: bool = True) -> Compared:
        """Runs side by side, as `compare` shows checkpoints, whether or not they finished."""
        from zoo.lookup.side_by_side import compare_runs

        return compare_runs(self.workspace, names, fold=fold)

    def _launch(
        self,
        words: Iterable[object],
        how: int | Path | str,
        log: Log,
        recipe: Recipe | None = None,
    ) -> Finetuned:
        """Do in several processes what the command ``words`` does in one."""
        from zoo.finetune.launched import launched

        shown = self.progress is not silent
        return launched(self.root, words, how, log=log, recipe=recipe, shown=shown)

    def _begin(self, *read: str) -> None:
        from zoo.finetune.preflight import say_loading

        say_loading(self.progress, *read)

    @staticmethod
    def _place(report: str, save: str) -> str:
        """The server that a run, which is saved as ``save``, is reported to, seen before anything
        is trained; empty: none.
        """
        from zoo.lookup.reporting import check_place

        return check_place(report, save) if report else ""

    def _runs_shared(self) -> AbstractContextManager[None]:
        """Whoever may use the zoo can resume the run, and use what it has cached."""
        return for_all_of(self.workspace.root, RUNS, TRIALS, CACHE)


def _words(**options: object) -> tuple[str, ...]:
    """Options as words of a command, those that say something; trackers go to it otherwise."""
    given = {f"--{name.replace('_', '-')}": it for name, it in options.items() if name != "log"}
    return tuple(
        word
        for name, it in given.items()
        if it
        for word in ((name,) if it is True else (name, str(it)))
    )


Zoo.finetune.__doc__ = (
    f"{Zoo.finetune.__doc__}\nOptions, and what they are by default:\n\n{OPTIONS}"
)
