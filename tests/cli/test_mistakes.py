"""A user's mistake: one clear text, a hint that helps, the right exit code, nothing half done."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
from fakes.prepared import BASE, TUNE, TUNED, Run
from safetensors.torch import save_file

from zoo.finetune import preflight
from zoo_cli.main import ALIASES, ELSEWHERE, cli

# Names


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "tf_efficientnet_lite0"), (BASE,)),
        (("show", "timm/tf_efficientnet_lite0.in1"), ("did you mean", BASE)),
        (("show", "team/digit"), ("unknown checkpoint 'team/digit'", f"did you mean {TUNED}?")),
        (("log", "team/digit"), ("team/digit'", f"did you mean {TUNED}?")),
        (("predict", "team/digit", "a.png"), ("team/digit'", f"did you mean {TUNED}?")),
        (("push", "team/digit", "--to", "x"), ("team/digit'", f"did you mean {TUNED}?")),
        (("export", "team/digit", "x"), ("team/digit'", f"did you mean {TUNED}?")),
        (("tag", "team/digit", "team/x"), ("team/digit'", f"did you mean {TUNED}?")),
        (("tree", "team/digit"), ("team/digit'", f"did you mean {TUNED}?")),
        (("finetune", "team/digit", "--data", "x", "--save", "a/b"), ("team/digit'", TUNED)),
        (("show", f"{TUNED}:v9"), (f"{TUNED}:v9", f"did you mean {TUNED}?")),
        (("tree", "resnet5"), ("unknown checkpoint or architecture 'resnet5'", "resnet50")),
        (("pull", "timm/resnet50"), ("did you mean", "timm/resnet50.a1_in1k")),
        (("pull", "zz/qqq"), ("unknown checkpoint", "zoo search WORD", "zoo index timm")),
        (("predict", "timm/resnet50.a1_in1k", "a.png"), ("zoo pull timm/resnet50.a1_in1k",)),
        (("index", "tim"), ("unknown source 'tim'", "did you mean timm?")),
        (("index", "zzz"), ("unknown source 'zzz'", "known here: hub, package, timm")),
        (("pull", BASE, "--source", "zzz"), ("'zzz' does not have", "package has")),
        (("pull", "hf://x/y@v1"), ("where a checkpoint is", "zoo pull x/y --from hf://x/y@v1")),
        (("show", f"blake3:{'0' * 64}"), ("unknown checkpoint",)),
        (("show", "blake3:12"), ("blake3:12", "64 hex digits")),
        (("show", "a/b/c"), ("is not a reference", "team/flowers:v3")),
        (("show", "a/../b"), ("is not a reference",)),
        (("show", "a/b c"), ("'a/b c' is not a reference",)),
        (("show", "a/b:"), ("is not a reference",)),
        (("show", "qqqqqqqqqq"), ("is not a reference", "namespace/name")),
        (("tag", TUNED, "v1"), ("'v1' is not a reference", "team/flowers:v3")),
        (("tag", TUNED, "a/b:c:d"), ("is not a reference",)),
        (("tag", TUNED, "../evil/x"), ("is not a reference",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_names(fails: Run, arguments: tuple[str, ...], says: tuple[str, ...]) -> None:
    fails(*arguments, says=says)


def test_no_zoo_here(bare: Run) -> None:
    for line in (("search",), ("show", "a/b"), ("push", "a/b", "--to", "x"), ("remote",)):
        done = bare(*line)
        assert (done.code, done.out) == (1, "")
        assert str(Path.cwd()) in done.err
        assert "zoo init" in done.err
        assert "--home" in done.err
    assert list(Path.cwd().iterdir()) == []


def test_a_named_home_that_is_no_zoo(fails: Run, files: Path) -> None:
    fails("--home", files / "nowhere", "search", says=(str(files / "nowhere"), "zoo init"))
    fails("search", "--home", files, says=(str(files), "zoo init"))


def test_words_of_other_programs_lead_to_commands() -> None:
    assert {ours.split()[0] for ours in ELSEWHERE.values()} <= cli.commands.keys()
    assert not ELSEWHERE.keys() & (cli.commands.keys() | ALIASES.keys())
    assert {*ALIASES.values()} <= cli.commands.keys()


def test_a_pull_of_what_only_this_zoo_has(fails: Run) -> None:
    err = fails(
        "pull", TUNED, says=(f"error: {TUNED} is here already", "no fetched remote", "zoo push")
    )
    assert "did you mean" not in err


def test_an_empty_zoo_says_which_remote_to_fetch(run: Run, tmp_path: Path) -> None:
    home = ("--home", tmp_path / "new")
    run(*home, "init")
    (tmp_path / "team").mkdir()
    run(*home, "remote", "add", "team", tmp_path / "team")
    assert "zoo fetch team" in run(*home, "search", "flowers").err
    assert "zoo fetch team" in run(*home, "list-arch").err


# Usage


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("finetun",), ("No such command 'finetun'", "finetune")),
        (("models",), ("No such command 'models'", "zoo search")),
        (("restore", "a/b"), ("zoo delete --restore",)),
        (("nosuch",), ("No such command 'nosuch'", "zoo --help")),
        (("predict", TUNED, ""), ("a path is needed",)),
        (("export", TUNED, "x", "--format", "timm"), ("'timm' is a library: without --format",)),
        (("export", TUNED, "x", "--format", "y"), ("'y' is not one of 'safetensors'",)),
        (("show",), ("Missing argument 'NAME'", "zoo show --help")),
        (("push", TUNED), ("Missing option '--to'",)),
        (("predict", TUNED), ("Missing argument",)),
        (("tag", TUNED, "a/b", "c/d"), ("unexpected extra argument",)),
        (("search", "--jsno"), ("No such option", "--json")),
        (("search", "--max-params", "abc"), ("'abc' is not a count", "5M")),
        (("search", "--max-params", "30X"), ("'30X' is not a count",)),
        (("search", "--max-params", "-5"), ("'-5' is not a count",)),
        (("search", "--max-params", "9" * 400), ("too large",)),
        (("search", "--limit", "0"), ("0 is not in the range",)),
        (("predict", TUNED, "a.png", "--top", "0"), ("0 is not in the range",)),
        (("finetune", BASE, "--data", "x", "--save", "a/b", "--epochs", "two"), ("'two'",)),
        (("pull", TUNED, "--from", "x", "--source", "hub"), ("--from", "--source")),
        (("remote", "nosuch"), ("No such command 'nosuch'",)),
        (("finetune", "a/b", "--save", "a/c"), ("Missing option '--data'", "finetune --help")),
        (("advise", "x", "--base", BASE, "--run"), ("for example: --run --save team/flowers",)),
        (("train", "x", "--recipe", "long"), ("Missing option '--data'", "Usage: ")),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else None,
)
def test_usage(fails: Run, arguments: tuple[str, ...], says: tuple[str, ...]) -> None:
    fails(*arguments, says=says, code=2)


# Import


@pytest.mark.parametrize(
    ("file", "says"),
    [
        pytest.param("text.pth", "neither safetensors nor a PyTorch file"),
        ("text.safetensors", "safetensors"),
        ("table.csv", "neither safetensors nor a PyTorch file"),
        pytest.param("empty.pth", "the file is empty"),
        ("empty.safetensors", "the file is empty"),
        ("cut.safetensors", "truncated"),
        ("good.png", "is no file of weights, but PNG"),
        ("gone.pth", "no such file"),
        ("code.pth", "refused"),
        ("code4.pth", ""),
        ("zipped.pth", "refused"),
        ("list.pth", "not a set of named tensors"),
        ("other.pth", "does not fit the network"),
    ],
)
def test_import_of_what_is_no_checkpoint(fails: Run, files: Path, file: str, says: str) -> None:
    text = fails("import", files / file, "--architecture", "test_vit", "--as", "team/x",
                 says=(str(files / file), says, "nothing was imported"))  # fmt: skip
    assert not Path("trapped").exists()
    fact = text.splitlines()[0].rstrip()
    assert not fact.endswith(":"), "a reason is announced, but there is none"
    assert not fact.rpartition(": ")[2].isdecimal(), "a bare number is no reason"


def test_what_cannot_be_weights_or_data_is_refused_before_torch(files: Path) -> None:
    """By a program of its own: torch takes seconds to import."""
    Path("nothing").mkdir()
    picture = imported_by("identify", files / "good.png", says="no file of weights, but PNG")
    empty = imported_by(
        "finetune",
        TUNED,
        "--data",
        "nothing",
        "--save",
        "a/b",
        says="no class folders: it holds neither folders nor images",
    )
    assert not {"torch", "timm"} & (picture | empty)


def imported_by(*arguments: object, says: str) -> set[str]:
    """The modules that a command has imported when it refuses."""
    program = (
        "import sys\n"
        "from zoo_cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules)"
    )
    line = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert says in done.stderr, done.stderr
    return set(done.stdout.split())


def test_identify_of_a_folder(fails: Run, files: Path) -> None:
    fails("identify", files, "--keys", says=("is a folder", "name a file in it: zoo identify"))


def test_import_of_folders(fails: Run, files: Path) -> None:
    folder = files / "folder"
    fails("import", folder, "--as", "team/x", says=(str(folder), "config.json", "zoo import FILE"))
    fails("import", folder, "--architecture", "test_vit", "--as", "team/x", code=2,
          says=("a folder says what network it is",))  # fmt: skip
    hostile = folder / "$(touch pwned).safetensors"
    hostile.touch()
    fails("import", folder, "--as", "team/x", says=(f"or one: zoo import '{hostile}'",))
    fails("import", files / "gone", "--as", "team/x", says=("no such file or folder",))


def test_import_names(fails: Run, files: Path) -> None:
    good = files / "good.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), good)
    line = ("import", good, "--as", "team/x", "--architecture")
    fails(*line, "test_vi", says=("'test_vi'", "test_vit"))
    fails(*line, "test_resnet", says=("as test_resnet", "does not fit"))
    fails(*line, "test_vit", "--backbone", "zzz", says=("backbone 'zzz'", "known here: timm"))
    fails("import", good, "--architecture", "test_vit", "--as", "x", says=("is not a reference",))


# Images and training data


def test_predict_on_what_is_no_image(fails: Run, files: Path) -> None:
    fails("predict", TUNED, files / "gone.png", says=(str(files / "gone.png"), "no such file"))
    fails("predict", TUNED, files / "bad.png", says=("bad.png", "not a readable image"))
    fails("predict", TUNED, files / "folder", says=("folder", "is a folder without images"))
    swapped = fails("predict", files / "good.png", TUNED, says=("is a file",))
    assert f"zoo predict NAME {files / 'good.png'}" in swapped


def test_data_that_cannot_be_trained_on(fails: Run, files: Path) -> None:
    hint = "a folder of its own"
    fails(*TUNE, "--data", files / "gone", says=("gone", "no such folder", hint))
    fails(*TUNE, "--data", files / "good.png", says=("good.png", "is a file", hint))
    fails(*TUNE, "--data", files / "folder", says=("no class folders", hint))
    data = files / "data"
    for name in ("cat", "dog", "emu"):
        (data / name).mkdir(parents=True)
    for number in range(3):
        shutil.copy(files / "good.png", data / "cat" / f"{number}.png")
    shutil.copy(files / "good.png", data / "dog" / "1.png")
    shutil.copy(files / "bad.png", data / "cat" / "bad.png")
    fails(*TUNE, "--data", data, says=(
        "class 'dog' has one image", "class 'emu' has no image",
        "cat/bad.png is not a readable image", "--skip-bad leaves out the image",
        "beside that, add images of what has too few, or take it out of the data",
    ))  # fmt: skip
    table = data / "ages.csv"
    table.write_text("path,label\ncat/0.png,1.5\ncat/1.png,2.5\ncat/2.png,3.5\n")
    told = fails(*TUNE, "--data", table, says=("3 of 3 labels are numbers", "--task regression"))
    assert hint not in told


def test_options_of_a_fine_tune(fails: Run, digits: Path) -> None:
    tune = (*TUNE, "--data", digits)
    units = "zoo tree lists them"
    fails(*tune, "--freeze", "blocks.44", says=("'blocks.44'", "did you mean blocks.4", units))
    fails(*tune, "--freeze", "block", says=("'block'", "did you mean blocks.", units))
    fails(*tune, "--freeze", "99", says=("'99'", "18 units", units))
    fails(*tune, "--freeze=-99", says=("'-99'", "18 units", units))
    fails(*tune, "--freeze", "150%", says=("150%", "at most 100%"))
    fails(*tune, "--head", "linaer", says=("unknown head 'linaer'", "did you mean linear or"))
    fails(*tune, "--head", "zzz", says=("unknown head 'zzz'", "known here: cosine, linear, mlp"))
    fails(*tune, "--device", "nosuch", says=("device 'nosuch'",))
    phased = ("--strategy", "gradual", "--phases", "all:1", "--freeze", "blocks.4")
    example = "--phases all:2 --phases blocks.4:3"
    fails(*tune, "--strategy", "gradual", says=("need each other", f"gradual {example}"))
    fails(*tune, *phased, says=("takes no freeze", f"each phase has its own: {example}"))
    fails(*tune, "--strategy", "full", "--freeze", "1", says=("--strategy partial or lp-ft takes",))
    fails(*tune, "--epochs", "0", says=("epochs must be at least 1",))
    fails(*tune, "--batch-size", "1", says=("batch size",))
    fails(*tune, "--lr", "nan", says=("learning rate",))
    fails(*tune, "--test-share", "1", says=("test share",))
    fails(*tune, "--image-size", "4", says=("image size",))
    fails("finetune", BASE, "--data", digits, "--save", "x", says=("is not a reference",))


def test_a_device_that_holds_no_data(fails: Run, digits: Path) -> None:
    fails(*TUNE, "--data", digits, "--device", "meta", says=("device 'meta'",))


# Remotes


@pytest.mark.parametrize(
    "line",
    [
        ("finetune", "team/base", "--save", "team/x", "--data"),
        ("evaluate", "team/base"),
        ("features", "team/base", ".", "--out"),
        ("import", "--as", "team/x"),
        ("push", "team/base", "--to"),
    ],
    ids=" ".join,
)
def test_what_is_too_long_for_a_path_is_said_to_be(toy: Run, line: tuple[str, ...]) -> None:
    says = "xxx…' cannot be a file or folder: a name has at most 255 bytes, and this one 300\n"
    assert len(toy(*line, "x" * 300).refused(says).err) < 200
    says = "yyy…' cannot be a file or folder: a path has at most 4095 bytes, and this one 6029\n"
    toy(*line, "/".join(["y" * 200] * 30)[:6029].rstrip("/")).refused(says)


def test_a_recipe_whose_path_is_too_long(toy: Run) -> None:
    line = ("finetune", "team/base", "--data", ".", "--save", "team/x", "--recipe")
    said = toy(*line, "x" * 300 + ".toml").refused("cannot be read: File name too long\n")
    assert "Errno" not in said.err


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
@pytest.mark.parametrize(
    "line",
    [
        ("finetune", "team/base", "--data", "none", "--save", "team/x"),
        ("finetune", "team/base", "--data", "none", "--save", "team/x", "--launch", "2"),
        ("finetune", "team/base", "--data", "none", "--dry-run"),
        ("finetune", "team/base", "--data", "none", "--find-lr"),
        ("finetune", "--resume", "none"),
        ("evaluate", "team/base", "none"),
        ("features", "team/base", "none", "--out", "x"),
    ],
    ids=" ".join,
)
def test_a_device_that_cannot_be_here_is_refused_before_images_are_read(
    toy: Run, line: tuple[str, ...], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "_may_have_cuda", lambda: False)
    toy(*line, "--device", device).refused(f"the device '{device}' cannot be used here: ", "cpu")


def test_a_device_that_torch_must_be_asked_for_comes_before_weights_and_images(
    toy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "CUDA_FILES", ("null",))  # as if there were one
    Path("images/a").mkdir(parents=True)
    said = toy("evaluate", "team/base", "images", "--device", "cuda:99")
    said.refused("the device 'cuda:99' cannot be used here; these can: auto, cpu")


def test_remotes_that_are_not_there(fails: Run, files: Path, home: Path) -> None:
    hint = "zoo remote"
    gone = files / "no" / "such"
    fails("push", TUNED, "--to", gone, says=(str(gone), "does not exist", hint))
    fails("pull", TUNED, "--from", files / "gone", says=("gone", "does not exist", hint))
    fails("push", TUNED, "--to", files, says=("not a zoo store", "not an empty folder"))
    fails("push", TUNED, "--to", files / "good.png", says=("not a zoo store",))
    fails("pull", TUNED, "--from", files, says=("not a zoo store",))
    fails("push", TUNED, "--to", "ftp://lab/zoo", says=("'ftp'", "kinds of remotes", "folder"))
    fails("push", TUNED, "--to", home, says=("its own remote",))


def test_push_of_a_digest(fails: Run, prepared: Any, files: Path) -> None:
    digest = prepared.finetune["manifest"]
    fails(
        "push", digest, "--to", files / "new", says=("needs a name", f"zoo push {digest} --as NAME")
    )


def test_names_of_remotes(fails: Run, run: Run, files: Path) -> None:
    assert run("remote", "add", "team", files / "a").code == 0
    fails("remote", "add", "team", files / "b", says=("'team' is taken", "zoo remote remove"))
    fails("remote", "add", "a/b", files / "b", says=("not a name for a remote",))
    fails("remote", "add", "web", "https://me:secret@host/x", says=("credentials",))
    fails("remote", "remove", "tem", says=("unknown remote 'tem'", "did you mean team?"))
    fails("remote", "remove", "zzzzzz", says=("unknown remote 'zzzzzz'",))


def test_a_name_that_the_remote_does_not_have(fails: Run, run: Run, files: Path) -> None:
    run("push", TUNED, "--to", files / "team")
    fails("pull", "team/digit", "--from", files / "team", says=("team/digit'", f"mean {TUNED}?"))


@pytest.mark.long
def test_a_push_that_would_hide_a_teammates_work(
    fails: Run, run: Run, files: Path, home: Path, prepared: Any
) -> None:
    team, other = files / "team", files / "other"
    run("init", other)
    run("--home", other, "pull", BASE)
    run("--home", other, "tag", BASE, TUNED)
    assert run("--home", other, "push", TUNED, "--to", team).code == 0
    theirs = prepared.pull["manifest"]
    run("tag", TUNED, "team/mine")
    scratch = ("tag", "team/mine", TUNED)
    run(*scratch)
    # The remote has the parent under this name, which a fine-tune of it may follow, though not
    # unasked with other classes ...
    run("push", TUNED, "--to", team).refused("no class in common: 10 new (0, 1, 2, 3 and 6 more)")
    assert run("push", TUNED, "--to", team, "--force").code == 0
    # ... but the teammate does not know the new one.
    run("--home", other, "tag", BASE, f"{TUNED}:x")
    fails("--home", other, "push", TUNED, "--to", team, says=(
        "is behind", prepared.finetune["manifest"],
        "nothing was changed", f"zoo pull {TUNED} --from {team}\n",
    ))  # fmt: skip
    assert run("--home", other, "push", TUNED, "--to", team, "--force").code == 0
    got = run("--home", other, "pull", TUNED, "--from", team, "--json")
    assert got.json["manifest"] == theirs


# Export


def test_export_to_where_something_is(fails: Run, files: Path) -> None:
    fails("export", TUNED, files, says=("not an empty folder", "nothing was changed"))
    fails("export", TUNED, files / "good.png", says=("not an empty folder",))
