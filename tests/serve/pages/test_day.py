"""A day with the pages: an admin makes an account, its owner a token, the stock client sends by it,
a program is let in; what was sent is looked at, compared, protected and shown to fewer.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.browser import browsing, watched
from fakes.served import Served, serving
from playwright.sync_api import Page

pytestmark = pytest.mark.long
HF = Path(sys.executable).parent / "hf"


@pytest.fixture
def team(tmp_path: Path, make_zoo: Callable[[Path], None]) -> Iterator[Served]:
    make_zoo(tmp_path / "zoo")
    with serving(tmp_path / "zoo") as served:
        yield served


def environment(served: Served, folder: Path, token: str = "") -> dict[str, str]:
    left = {key: text for key, text in os.environ.items() if key != "HF_TOKEN"}
    token_too = {"HF_TOKEN": token} if token else {}
    return left | token_too | {
        "HF_ENDPOINT": served.url, "HF_HOME": str(folder / "hf"), "NO_PROXY": "127.0.0.1",
        "PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }  # fmt: skip


def upload(served: Served, folder: Path, token: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "sent").mkdir(exist_ok=True)
    (folder / "sent" / "README.md").write_text(f"# Birds\n\nsent by {token[4:12] or 'a login'}\n")
    command = [
        str(HF),
        "upload",
        "nina/birds",
        str(folder / "sent"),
        "--commit-message",
        "what I have",
    ]
    return subprocess.run(command, env=environment(served, folder, token), check=False,
                          capture_output=True, text=True)  # fmt: skip


def sign_in(page: Page, token: str) -> None:
    """By keyboard alone."""
    page.get_by_role("link", name="Sign in").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/sign-in*")
    page.locator("input:focus").wait_for()  # on a busy machine it has the focus a moment later
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign out").wait_for()


def secret(page: Page) -> str:
    """What a page shows once."""
    text = page.locator(".made pre").inner_text().strip()
    page.goto(page.url)
    assert text not in page.content(), "it is shown this once"
    return text


@pytest.mark.parametrize("scripts", [True, False])
def test_a_day(team: Served, tmp_path: Path, scripts: bool) -> None:
    pytest.importorskip("huggingface_hub.utils._oauth_device", reason="it asks for a token only")
    if not HF.exists():
        pytest.skip("the hf program is not installed")
    admin = team.token("admin", "write")
    with browsing() as browser:
        page = browser.new_context(java_script_enabled=scripts).new_page()
        wrong = watched(page, team.url)
        page.goto(f"{team.url}/")
        sign_in(page, admin)
        first = makes_an_account(page, team)
        page.get_by_role("button", name="Sign out").press("Enter")
        page.get_by_role("link", name="Sign in").first.wait_for()
        sign_in(page, first)
        token = makes_a_token(page, team)
        done = upload(team, tmp_path, token)
        assert done.returncode == 0, done.stderr
        looks_at_it(page, team)
        lets_a_program_in(page, team, tmp_path)
        revokes(page, team, token)
        assert upload(team, tmp_path, token).returncode != 0
        done = upload(team, tmp_path)
        assert done.returncode == 0, done.stderr
        assert not wrong
    rows = team.accounts.audit.newest(who="nina", limit=99)
    actions = {row.action for row in rows}
    assert actions >= {"session begun", "token made", "repository made", "name moved", "level set",
                       "pattern set", "device let in", "token revoked"}  # fmt: skip
    assert {row.who for row in rows if row.action != "refused"} == {"nina"}


def makes_an_account(page: Page, team: Served) -> str:
    page.get_by_role("link", name="Admin", exact=True).press("Enter")
    page.wait_for_url("**/-/people")
    page.locator("#user-name").fill("nina")
    page.get_by_label("First token, to").select_option("write")
    page.get_by_role("button", name="Make an account").press("Enter")
    page.locator(".made").wait_for()
    made = secret(page)
    assert team.ask("/api/whoami-v2", token=made).json["name"] == "nina"
    return made


def makes_a_token(page: Page, team: Served) -> str:
    page.get_by_role("link", name="nina", exact=True).press("Enter")
    page.wait_for_url("**/-/settings")
    page.get_by_label("Name").fill("ci")
    page.get_by_label("To", exact=True).select_option("append")
    page.get_by_label("Days").fill("7")
    page.get_by_role("button", name="Make a token").press("Enter")
    page.locator(".made").wait_for()
    made = secret(page)
    assert page.get_by_role("row", name=re.compile("ci.*append")).count() == 1
    assert team.ask("/api/whoami-v2", token=made).json["name"] == "nina"
    return made


def looks_at_it(page: Page, team: Served) -> None:
    """It is there; it is shown to who has a role alone, and its tags stay where they are; two
    versions of another one are compared.
    """
    page.goto(f"{team.url}/nina/birds")
    assert page.get_by_role("heading", name="Birds", exact=True).count() == 1
    page.get_by_role("link", name="Who may do what").press("Enter")
    page.wait_for_url("**/-/access/nina/birds")
    page.get_by_label("The repository is").select_option("private")
    page.get_by_role("button", name="Say so").press("Enter")
    page.wait_for_url("**?done=level")
    assert team.accounts.rules().access("nina/birds").level == "private"
    page.get_by_role("button", name="Protect").press("Enter")
    page.wait_for_url("**?done=protect")
    assert team.accounts.patterns() == ["nina/birds:v*"]
    assert page.get_by_text("level set").count() >= 1
    page.goto(f"{team.url}/compare?names=team/net&names=team/net:v1")
    assert page.locator("h1").count() == 1


def lets_a_program_in(page: Page, team: Served, folder: Path) -> None:
    with subprocess.Popen(
        [HF, "auth", "login"], env=environment(team, folder), stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        (link,) = next(
            found for line in lines if (found := re.findall(r"http\S+user_code\S+", line))
        )
        page.goto(link)
        assert page.locator(".code").inner_text() == link.rpartition("=")[2]
        page.get_by_label("It may").select_option("write")
        page.get_by_label("Its token is called").fill("laptop")
        page.get_by_role("button", name="Let it in").press("Enter")
        page.get_by_text("It is let in").wait_for()
        told = process.stdout.read()
    assert process.returncode == 0, told


def revokes(page: Page, team: Served, token: str) -> None:
    page.goto(f"{team.url}/-/settings")
    row = page.get_by_role("row", name=re.compile("^ci"))
    row.locator("summary").press("Enter")
    row.get_by_role("button", name="Revoke ci").press("Enter")
    page.wait_for_url("**?done=revoke")
    assert page.get_by_role("row", name=re.compile("laptop.*write")).count() == 1
    assert team.ask("/api/whoami-v2", token=token).code == "InvalidToken"
