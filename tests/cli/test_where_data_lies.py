"""Where images lie is known to their own zoo, and to nobody else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.prepared import NET, Run

from zoo.finetune.dataset.open import absolute, without_folders_above

TUNE = ("finetune", NET, "--strategy", "probe", "--image-size", 32)


def test_a_push_tells_the_folders_name_only(
    small: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "clinic-of-dr-x" / "scans"
    shutil.copytree(few, secret)
    (Path.cwd() / "below").mkdir()
    monkeypatch.chdir("below")
    small(*TUNE, "--data", Path("..", "..", secret.relative_to(tmp_path)), "--save", "a/b").done()
    assert small("show", "a/b", "--json").json["recipe"]["data"] == "scans"
    run = small("runs", "show", "last", "--json").json
    assert run["recipe"]["data"] == str(secret.resolve())  # without what leads up
    monkeypatch.chdir("/")
    here = Path(run["folder"]).parents[1]
    small("--home", here, "push", "a/b", "--to", tmp_path / "team").done()
    told = [path.read_bytes() for path in (tmp_path / "team").rglob("*") if path.is_file()]
    assert not any(b"dr-x" in data for data in told)
    # At home it is run again as it is; elsewhere somebody must say where the images are.
    again = small("--home", here, "rerun", "a/b", "--save", "a/again", "--json").done().json
    assert again["metrics"] == run["result"]["metrics"]
    there = tmp_path / "there"
    small("init", "--home", there).done()
    small("--home", there, "pull", "a/b", "--from", tmp_path / "team").done()
    rerun = ("--home", there, "rerun", "a/b", "--save", "a/c")
    small(*rerun, "--data", few).refused(
        "which a/b derives from, is not in this zoo", f"zoo pull {NET} --from {tmp_path / 'team'}"
    )
    small("--home", there, "pull", NET, "--from", tmp_path / "team")
    small(*rerun).refused("no run of this zoo made a/b", "('scans')", "zoo rerun a/b --data FOLDER")


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("/home/me/flowers/", "flowers"),
        ("/home/me/flowers.csv", "flowers.csv"),
        ("torch/cifar10?root=/home/me/data&train=train", "torch/cifar10?train=train"),
        ("hfds/uoft-cs/cifar10", "hfds/uoft-cs/cifar10"),
        ("wds//home/me/shards?root=/home/me/shards", "wds/shards"),
    ],
)
def test_what_data_is_called_elsewhere(spec: str, shown: str) -> None:
    assert without_folders_above(absolute(spec)) == shown
