"""Run: a zoo's server in this process, until it is told to end."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from anyio.to_thread import run_sync

from zoo.errors import Unavailable, ZooError
from zoo.machine import join
from zoo.reflog import now
from zoo.serve.app import App
from zoo.serve.http.cycle import ZeroCopyProtocol
from zoo.serve.http.guard import Address
from zoo.serve.hub.adoption import adopt_what_is_left
from zoo.serve.hub.ask import Hub
from zoo.serve.hub.webhooks import Deliveries
from zoo.serve.keep.chunk_list import clear_chunks
from zoo.serve.keep.tryouts import Tryouts
from zoo.serve.pages.page import compile_templates
from zoo.serve.pages.warm import warm
from zoo.serve.watch.logs import Format, logging_as
from zoo.serve.watch.metrics import Metrics
from zoo.serve.watch.scrub import Scrub
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.alone import LinkHolder
from zoo.serve.who.downloads import SETTLE_SECONDS
from zoo.serve.who.open import FILE, open_file
from zoo.store.cached import CachedBackend
from zoo.store.folder import FolderBackend
from zoo.store.sent import clear_sent
from zoo.workspace import Workspace

__all__ = [
    "DRAIN_SECONDS",
    "END_SECONDS",
    "Address",
    "Server",
    "join",
    "listen",
    "run",
    "run_alone",
    "serve",
    "url_of",
]

LOG = logging.getLogger("zoo.serve")
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 15
TEND_SECONDS = 600
LEAD_SECONDS = 5
"""So soon another machine does what one has done that is gone."""
END_SECONDS = 10
"""What is done beside answering has so long to end."""
DRAIN_SECONDS = 30
"""Answers that are being sent have so long to end."""


class Server(uvicorn.Server):
    """uvicorn's server of a zoo. It listens once it is made.

    Args:
        workspace: The zoo, which is closed with it.
        address: Where it listens; port 0 is any that is free.
        announce: Called once it answers.
        worker: Which it is of several processes that answer together, and where they listen. Of
            those the first one does what is to be done beside answering.
        own: If it is for one person alone, how that one comes in, and accounts for the while.
        tries: An empty folder of the server's own, if images may be tried by its checkpoints.
        scrub: Bytes a day that may be read of a bucket to see that they are what was stored; None:
            none. A folder is read as a whole.

    Attributes:
        url: Where it answers.
    """

    def __init__(
        self,
        workspace: Workspace,
        address: Address,
        announce: Callable[[str], None] = lambda _: None,
        worker: tuple[int, socket.socket] | None = None,
        own: tuple[LinkHolder, Accounts] | None = None,
        tries: Path | None = None,
        scrub: int | None = None,
    ) -> None:
        number, self.listening = worker or (0, listen(address))
        self.url = url_of(address, self.listening)
        compile_templates()
        self.announce = announce
        self._ended = threading.Event()
        beside = {"prepare": self._prepare, "tend": self._tend, "webhooks": self._tell}
        self._scrubbed = scrub
        if scrub or isinstance(workspace.store.backend, FolderBackend):
            beside["scrub"] = self._scrub
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in beside.items()
            if number == 0 and not own  # who looks at a zoo does not change it
        ]
        workspace.registry  # noqa: B018 - opened by one thread
        alone, accounts = own or (None, Accounts.of(workspace))
        metrics, url = Metrics(shared=worker is not None), address.public_url
        tryouts = Tryouts(workspace.root, tries) if tries else None
        self.hub = Hub(workspace, accounts, url, alone, metrics=metrics, tryouts=tryouts)
        self._leads = bool(self._threads) and accounts.locks.leads()
        if not own:
            self._threads.append(threading.Thread(target=self._settle, name="settle", daemon=True))
        looking = partial(_try, partial(warm, self.hub, self.url))
        self._threads.append(threading.Thread(target=looking, name="warm", daemon=True))
        super().__init__(_uvicorn_config(App(self.hub, address), proxied=bool(address.public_url)))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and describe meanwhile what nobody has asked for yet."""
        await super().startup(sockets)
        # By a thread as those that answer: the first answer would wait for what makes them.
        await run_sync(self._begin)
        self.announce(self.url)

    def _begin(self) -> None:
        for thread in self._threads:
            thread.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let answers end, for a while, and cut the connections that are left."""
        await super().shutdown(sockets)
        for connection in [*self.server_state.connections]:
            if connection.transport:
                connection.transport.abort()
        # Here: what comes after it is not done by a worker, which the signal ends at once.
        await run_sync(_try, self.hub.accounts.downloads.settle)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer until told to end."""
        try:
            super().run(sockets or [self.listening])
        finally:
            self._ended.set()
            self.listening.close()
            self.hub.stop()  # what the threads wait for
            for thread in self._threads:
                with suppress(RuntimeError):  # it was never started
                    thread.join(END_SECONDS)
            self.hub.close()

    def _settle(self) -> None:
        """Now and then, write down what was counted."""
        while not self._ended.wait(SETTLE_SECONDS):
            _try(self.hub.accounts.downloads.settle)

    def _tend(self) -> None:
        """Now and then, delete what was sent and not committed, and look what is there."""
        leads, led = self.hub.accounts.locks.leads, self._leads
        if led:
            _try(self._clear)  # all is being described now, by who looks at it next
        tended, last_day = time.monotonic(), ""
        while not self._ended.wait(LEAD_SECONDS):
            led, before = leads(), led
            if led and not before:
                LOG.info("what is done once for all machines is done here from now on")
                _try(self._prepare_all)
            if time.monotonic() - tended < TEND_SECONDS:
                continue
            tended = time.monotonic()
            _try(self.hub.blobs.holders.look_at_all)
            _try(self.hub.reserve.keep)
            if led:
                _try(self._clear)
            if led and (day := now()[:10]) != last_day:
                last_day = day
                _try(self._tell_head)

    def _clear(self) -> None:
        """Delete what was sent and not committed, and what can be made again."""
        clear_sent(self.hub.workspace.store)
        clear_chunks(self.hub.workspace.store)

    def _tell_head(self) -> None:
        """Note where the audit log ends: it could be cut off there."""
        LOG.info("the newest row of the audit log is %s", self.hub.accounts.audit.head())

    def _scrub(self) -> None:
        """Read the store again and again, to see that it is what was stored."""
        hub, note_damage = self.hub, partial(self.hub.accounts.audit.note, "damage found")
        is_busy, leads = lambda: hub.under_way > 0, hub.accounts.locks.leads
        arguments = hub.workspace.store, is_busy, note_damage, self._ended
        Scrub(*arguments, daily=self._scrubbed, leads=leads).work()

    def _tell(self) -> None:
        """Tell webhooks of what changes."""
        Deliveries(self.hub, self.url, self._ended).work()

    def _prepare(self) -> None:
        """Make all ready that is asked for most."""
        _try(self.hub.reserve.keep)
        if isinstance(backend := self.hub.workspace.store.backend, CachedBackend):
            _try(lambda: LOG.info("%s bytes of the store are kept here", backend.count()))
        if self._leads:
            _try(self._prepare_all)
        _try(self.hub.blobs.holders.look_at_all)

    def _prepare_all(self) -> None:
        """Describe what all names have now, then what they had: a commit needs those below it."""
        store, lines = self.hub.workspace.store, []
        if isinstance(store.backend, CachedBackend):  # somebody may have pushed into the bucket
            _try(self.hub.workspace.index.catch_up)
        refs, _ = store.readable_refs()
        for ref in refs:
            if self._ended.is_set():
                return
            with suppress(ZooError, OSError):  # whoever asks for it is told
                lines.append([entry.manifest for entry in store.history(ref)[::-1]])
        newest = [manifest for line in lines for manifest in line[:1]]
        every = dict.fromkeys([*newest, *(each for line in lines for each in line)])
        _try(partial(self.hub.reach.follow_all, refs))
        _try(partial(adopt_what_is_left, self.hub))
        _try(partial(self.hub.views.prepare, every))


def _uvicorn_config(app: App, *, proxied: bool) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=ZeroCopyProtocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Whose address it is, a proxy says; without one, any program of this machine could.
        proxy_headers=proxied,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def _try(what: Callable[[], None]) -> None:
    """Do something beside answering; whatever fails, the thread goes on."""
    try:
        what()
    except (ZooError, OSError) as error:
        LOG.warning("not all is looked after: %s", error)
    except Exception:
        LOG.exception("not all is looked after")


def url_of(address: Address, listening: socket.socket) -> str:
    """Where a server answers."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return address.public_url or f"http://{host}:{listening.getsockname()[1]}"


def listen(address: Address) -> socket.socket:
    """A socket that listens.

    Raises:
        Unavailable: The address is in use, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listening = socket.create_server(
            (address.host, address.port), family=family, backlog=BACKLOG
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unavailable(f"{address.host}:{address.port}", reason, hint=PORT) from error
    # For all connections: asyncio sees to it only where the protocol is named, and without it
    # headers would wait 40 ms for the client to acknowledge what came before.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


LOOPBACK = "127.0.0.1"
PORT = "another one may have it: choose one by --port"


def run(
    workspace: Workspace,
    address: Address,
    announce: Callable[[str], None],
    *,
    quiet: bool,
    log_format: Format = "text",
    tries: bool = False,
    scrub: int | None = None,
) -> None:
    """Serve a zoo until somebody presses Ctrl-C; unless ``quiet``, with a line for each request;
    with ``tries``, its pages try images; of a bucket, ``scrub`` bytes a day are read again.

    Raises:
        Unavailable: It cannot listen there.
    """
    level = logging.WARNING if quiet else logging.INFO
    # Ctrl-C is how a server is ended, or that signal, which else would leave the folder, and what
    # tries images.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        logging_as(log_format, level),
        suppress(KeyboardInterrupt),
        TemporaryDirectory(prefix="zoo-try-") as folder,
    ):
        trying = Path(folder) if tries else None
        serve(Server(workspace, address, announce, tries=trying, scrub=scrub))


def serve(server: Server) -> None:
    """Answer until told to end, in a process that does nothing else.

    What is there by now stays to the end, so the garbage collector leaves it out: else it looks
    through all of it every dozen of searches, which then take 0.1 s longer.
    """
    gc.freeze()
    server.run()


def run_alone(workspace: Workspace, port: int, announce: Callable[[str], None]) -> None:
    """Show the pages of one's own zoo until somebody presses Ctrl-C, to who has the link that is
    handed to ``announce``.

    Raises:
        Unavailable: It cannot listen at that port.
    """
    alone = LinkHolder()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the folder would stay
    with (
        logging_as("text", logging.WARNING),
        suppress(KeyboardInterrupt),
        TemporaryDirectory(prefix="zoo-ui-") as folder,
    ):
        # In a file of its own: the zoo's accounts are none of its business, nor need there be any.
        accounts = Accounts(open_file(Path(folder) / FILE))
        address = Address.checked(LOOPBACK, port, "")

        def tell(url: str) -> None:
            announce(f"{url}/-/open?key={alone.key}")

        tries = Path(folder) / "try"
        tries.mkdir()
        serve(Server(workspace, address, tell, own=(alone, accounts), tries=tries))
