"""zoo ui: the pages of one's own zoo, in a browser."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import click

from zoo_cli.command import command, flag, open_zoo
from zoo_cli.output import note, print_json

__all__ = ["ui"]

PAGE = '<!doctype html><meta http-equiv="refresh" content="0;url={link}"><a href="{link}">zoo</a>'


@command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any that is free.")
@flag("--no-browser", help="Print the link, and open no browser.")
def ui(port: int, no_browser: bool, as_json: bool) -> None:
    """Open this zoo's pages in a browser, until Ctrl-C.

    They show models, layers, lineage, differences and runs, try images, and change nothing. Only
    this machine reaches them, and only the browser that opens the link, which works once.

    \b
    Examples:
      zoo ui
      zoo ui --no-browser
      zoo ui --no-browser --port 8000  # on a machine reached by: ssh -L 8000:localhost:8000 gpu
    """
    from zoo.serve import check_installed

    check_installed()
    from zoo.serve.run import run_alone

    workspace = open_zoo(quiet=True).workspace
    with TemporaryDirectory(prefix="zoo-ui-") as folder:

        def announce(link: str) -> None:
            if as_json:
                print_json({"url": link})
            else:
                click.echo(f"{workspace.root}, for you alone (Ctrl-C ends it): {link}")
            if not no_browser:  # one for the terminal would have the server wait for it
                Thread(target=_open, args=(Path(folder), link), daemon=True).start()

        run_alone(workspace, port, announce)


def _open(folder: Path, link: str) -> None:
    """Have a browser open a link, by a file that only its user reads: what a program was started
    with is shown to everybody on the machine.
    """
    import webbrowser  # slow to import

    page = folder / "open.html"
    page.touch(0o600)
    page.write_text(PAGE.format(link=link))
    if not webbrowser.open(page.as_uri()):
        note("no browser could be opened: open the link in one")
