"""Screenshots of the pages of `zoo demo`'s checkpoint, as README.md and docs/pages.md show them.

``python docs/shots.py build/demo/mine`` writes docs/shots/. Where there is no Chromium, or that
zoo is not there (`make demo` makes it), those that are there stay.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

CHROMIUM = Path("/usr/bin/chromium")
SHOTS = Path(__file__).parent / "shots"
PAGES = {"model": "demo/digits", "layers": "demo/digits/layers"}
SERVER = "http://zoo.lab.org"
"""What the pages call it: a port of this machine would be another one each time."""
WIDTH, HEIGHT = 1280, 860
MOST = 200_000
"""Bytes of a picture."""
SECONDS = 60


@contextmanager
def served(zoo: Path) -> Iterator[str]:
    """Serve a copy of a zoo, in which all may be read by anybody; the address."""
    with TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        home, port = Path(folder) / "zoo", free.getsockname()[1]
        shutil.copytree(zoo, home)
        free.close()
        command = [sys.executable, "-m", "zoo_cli", "serve"]
        for namespace in ("demo", "timm"):
            subprocess.run(
                [*command, "access", namespace, "public", "--home", home],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        server = subprocess.Popen(
            [*command, "--home", home, "--port", str(port), "--public-url", SERVER, "--quiet"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            wait(url)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def wait(url: str) -> None:
    """Wait until a server has what the pages show: also how far units are from the parent."""
    for _ in range(10 * SECONDS):
        time.sleep(0.1)
        try:
            with urlopen(f"{url}/{PAGES['layers']}") as answer:
                if b"being measured" not in answer.read():
                    return
        except OSError:  # it does not listen yet
            continue
    raise TimeoutError(url)


def shoot(address: str) -> None:
    """Write each page of the server at an address as a picture, in light and dark."""
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-gpu", f"--host-resolver-rules=MAP * {address}"],
        )
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme
            )
            for name, path in PAGES.items():
                page.goto(f"{SERVER}/{path}")
                target = SHOTS / f"{name}-{scheme}.png"
                page.screenshot(path=target)
                assert target.stat().st_size <= MOST, target
        browser.close()


if __name__ == "__main__":
    zoo = Path(sys.argv[1])
    if not CHROMIUM.exists() or find_spec("playwright") is None:
        print("no screenshots: Chromium or playwright is not installed")
    elif not zoo.is_dir():
        print(f"no screenshots: {zoo} is not there; make demo makes it")
    else:
        with served(zoo) as address:
            shoot(address)
