"""From Python: what is typed gets a plain reason, and what is answered can be read at a glance."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from traceback import format_exception
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fakes.checkpoints import add_checkpoint, tensors
from fakes.hub_zoo import make_zoo
from fakes.program import zoo as program
from fakes.typed import card, shown
from PIL import Image
from safetensors.numpy import load_file

import zoo
from zoo import errors as e
from zoo.backbones.predict import Prediction
from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.options import RecipeOptions
from zoo.domain.table import Table
from zoo.finetune import launched
from zoo.finetune.evaluation import Evaluation
from zoo.finetune.results.report import ByClass, Confusion, Report
from zoo.lookup.runs import Run
from zoo.lookup.side_by_side import Figure

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zoo.Zoo]:
    """A zoo with ``team/flowers``, a fine-tune of ``team/base``."""
    with zoo.init(tmp_path_factory.mktemp("python") / "zoo") as z:
        base = add_checkpoint(z.workspace, "team/base")
        parents = (Parent(manifest=base, relation="finetune", ref="team/base"),)
        add_checkpoint(z.workspace, "team/flowers", tensors(1), parents=parents)
        yield z


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with zoo.open(make_zoo(tmp_path_factory.mktemp("net") / "zoo")) as z:
        return z.load("team/net")


def test_names_of_the_package_are_completed() -> None:
    assert dir(zoo) == [*zoo.__all__, "open"]  # which `from zoo import *` must not shadow
    assert {"open", "init", "Recipe", "Zoo"} <= set(dir(zoo))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda z: z.show(5), "name must be a text, not 5"),
        (lambda z: z.load(None), "name must be a text, not None"),
        (lambda z: z.tag("team/base", Path("x")), "new must be a text, not PosixPath('x')"),
        (lambda z: z.search(limit="3"), "limit must be a whole number, not '3'"),
        (lambda z: z.search(limit=True), "limit must be a whole number, not True"),
        (lambda z: z.verify(3.5), "remote must be a text or None, not 3.5"),
        (lambda z: z.plan_prune(keep_days="9"), "keep_days must be a number, not '9'"),
        (lambda z: z.adapt("a/b", "c/d", without="layer1"), "without must be a list, not 'layer1'"),
        (lambda z: z.evaluate("a/b", "x", split="tst"),
         "split must be one of all, train, validation, test"),
        (lambda z: z.import_file("x.pth", "a/b", architecture="c", mean=3),
         "mean must be a list or None, not 3"),
        (lambda z: z.import_file("x.pth", "a/b", architecture="c", meen=[3]),
         "there is no option 'meen'; did you mean mean?"),
        (lambda z: z.finetune("team/base", "x", "a/b", epochs="3"),
         "epochs must be a whole number, not '3'"),
        (lambda z: z.finetune("team/base", "x", "a/b", freez="3"),
         "there is no option 'freez'; did you mean freeze?"),
    ],
)  # fmt: skip
def test_an_argument_of_the_wrong_kind_is_said_plainly(
    opened: zoo.Zoo, call: Callable[[zoo.Zoo], object], said: str
) -> None:
    with pytest.raises(e.InvalidOption) as refused:
        call(opened)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda z, r: z.find_lr("a/b", r), "recipe must be a zoo.Recipe, not 'a/b'"),
        (lambda z, r: z.plan_finetune("a/b", r), "the order is plan_finetune(recipe, base, save)"),
        (lambda z, r: z.run_recipe("a/b", r, "a/c"), "the order is run_recipe(recipe, base, save)"),
        (lambda z, r: z.finetune(r, "a/b", "a/c"), "the order is finetune(base, data, save)"),
    ],
)
def test_arguments_that_are_swapped_are_told_their_order(
    opened: zoo.Zoo, call: Callable[[zoo.Zoo, zoo.Recipe], object], said: str
) -> None:
    with pytest.raises(e.InvalidOption) as refused:
        call(opened, zoo.Recipe(data="x"))
    assert said in f"{refused.value} {refused.value.advice}"


def test_answers_say_which_checkpoint_and_how_likely(tmp_path: Path) -> None:
    opened = zoo.init(tmp_path)
    add_checkpoint(opened.workspace, "team/scored", tensors(2), metrics={"accuracy": 0.9})
    best = opened.best("team/scored")
    assert opened.best("team/scored", "accuracy").value == best.value == 0.9
    assert "<SearchResult team/scored>" in repr(best)
    assert "team/scored" in best._repr_html_()
    classes, outputs = ("ant", "bee"), ("bee", "ant")
    one = Prediction(
        image="a.png", classes=classes, probabilities=(0.9, 0.1), outputs=outputs, logits=(0, 2)
    )
    assert "ant 0.900  bee 0.100" in repr(Table([one]))
    opened.tag("team/scored", "team/gone")
    opened.delete("team/gone")
    assert opened.deleted("team/g") == ["team/gone"]
    assert opened.names_like("team/*") == ["team/scored"]
    opened.close()
    opened.close()
    with pytest.raises(e.InvalidOption, match=r"was closed: zoo\.open opens it"):
        opened.search()
    assert "closed" in repr(opened)


def test_features_come_as_arrays_or_as_a_file(
    tmp_path: Path,
) -> None:
    colors = tmp_path / "colors"
    for number in range(4):
        folder = colors / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number * 60, 9, 99)).save(folder / f"{number}.png")
    with zoo.open(make_zoo(tmp_path / "zoo")) as z:
        answer = z.features("team/net", colors)
        file = z.features("team/net", colors, tmp_path / "f.safetensors")
    written = load_file(tmp_path / "f.safetensors")
    assert (answer.path, file.features, file.path) == (None, None, tmp_path / "f.safetensors")
    assert answer.features is not None
    assert answer.features.dtype == np.float32
    assert np.array_equal(answer.features, written["features"])
    assert answer.labels is not None
    assert np.array_equal(answer.labels, written["labels"])
    assert answer.keys[0] == "a/0.png"
    assert answer.to_json() == {**file.to_json(), "path": None}
    assert "array" not in repr(answer)


def test_help_and_notebooks_see_every_option_of_a_recipe() -> None:
    parameters = inspect.signature(zoo.Zoo.finetune).parameters
    assert str(parameters["strategy"].annotation).startswith("Literal['auto', 'probe'")
    assert set(RecipeOptions.__annotations__) < set(parameters)
    said = zoo.Zoo.finetune.__doc__ or ""
    assert "epochs (5): Passes over the training images." in said
    assert "epochs (5): Passes over the training images." in (zoo.Recipe.__doc__ or "")
    assert [name for name in RecipeOptions.__annotations__ if f" {name} (" not in said] == []


def test_numbers_of_numpy_are_numbers(opened: zoo.Zoo) -> None:
    limit: Any = np.int64(1)
    assert len(opened.search(limit=limit)) == 1
    days: Any = np.float32(3)
    opened.plan_prune(keep_days=days)


def test_an_argument_that_is_missing_is_an_error_of_python(opened: zoo.Zoo) -> None:
    with pytest.raises(TypeError, match=r"Zoo.show\(\) missing 1 required"):
        opened.show()  # type: ignore[call-arg]


def test_an_error_names_what_is_near_in_its_own_text(opened: zoo.Zoo) -> None:
    with pytest.raises(e.UnknownName) as unknown:
        opened.show("team/flower")
    text = "unknown checkpoint 'team/flower'; did you mean team/flowers or team/base?"
    assert str(unknown.value) == text
    assert unknown.value.message == "unknown checkpoint 'team/flower'"
    assert not any("did you mean" in note for note in unknown.value.__notes__)


def test_a_traceback_says_it_once(opened: zoo.Zoo) -> None:
    with pytest.raises(e.UnknownName) as unknown:
        opened.show("team/flower")
    printed = "".join(format_exception(unknown.value))
    assert printed.count("did you mean team/flowers or team/base?") == 1


def test_a_device_that_is_not_there_is_said_plainly(opened: zoo.Zoo) -> None:
    with pytest.raises(e.InvalidOption, match="the device 'nonsense' cannot be used here"):
        opened.load("team/base", device="nonsense")


def test_a_model_prepares_files_images_and_arrays(model: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    wanted = card(model).preprocess(Image.fromarray(pixels))
    for image in (pixels, tmp_path / "a.png", str(tmp_path / "a.png")):
        assert torch.equal(card(model).preprocess(image), wanted)
    with pytest.raises(e.InvalidImage, match=r"none\.png: no such file"):
        card(model).preprocess(tmp_path / "none.png")
    for wrong in (3, None, pixels.astype(np.float64)):
        with pytest.raises(e.InvalidImage, match="write uint8"):
            card(model).preprocess(wrong)  # type: ignore[arg-type]


def test_what_is_long_is_not_printed_whole(opened: zoo.Zoo, model: Any) -> None:
    for answer in (
        opened, model.zoo, opened.show("team/flowers"), shown(opened, "team/flowers").checkpoint,
        opened.log("team/flowers"), opened.diff("team/base", "team/flowers"), opened.verify(),
        opened.compare("team/base", "team/flowers"), opened.entry("team/flowers"),
        opened.search()[0], zoo.Recipe(data="x", epochs=3), opened.plugins()[0],
    ):  # fmt: skip
        assert len(repr(answer)) < 260, answer
        assert "\n" not in repr(answer)


def test_a_diff_prints_its_main_figures(opened: zoo.Zoo) -> None:
    found = opened.diff("team/base", "team/flowers")
    same = f"identical_share={found.identical_share:.4g}, units="
    assert repr(found).startswith(f"Diff(a=team/base, b=team/flowers, {same}")
    assert " identical" in repr(found)


def test_a_recipe_prints_what_was_chosen() -> None:
    assert repr(zoo.Recipe(data="x", epochs=3)) == "Recipe(data='x', epochs=3)"


def test_a_list_is_printed_as_a_table(opened: zoo.Zoo) -> None:
    found = opened.search()
    lines = repr(found).splitlines()
    assert lines[0].split()[:2] == ["NAME", "PARAMS"]
    assert {line.split()[0] for line in lines[1:]} == {"team/flowers", "team/base"}
    assert repr(opened.runs()) == "nothing"
    assert found == list(found)
    assert repr(Table(list(found) * 20)).splitlines()[-1] == "… and 20 more"


def test_runs_of_each_task_show_the_figure_that_they_are_judged_by() -> None:
    figures = {
        "classification": {"loss": 0.1, "accuracy": 0.91, "top5_accuracy": 0.99, "macro_f1": 0.9},
        "multi-label": {"loss": 0.2, "accuracy": 0.8, "mean_average_precision": 0.72},
        "regression": {"loss": 0.3, "mae": 0.1, "rmse": 0.2, "r2": 0.63, "r2_low": 0.5},
    }
    run = partial(Run, folder=Path("20261129"), base="a", parent="", save="b", device="cpu")
    shown = repr(
        Table(
            run(recipe={"task": task}, started="", status="done", result={"metrics": metrics})
            for task, metrics in figures.items()
        )
    )
    titles, *rows = (line.split() for line in shown.splitlines())
    assert titles[2:5] == ["ACCURACY", "MEAN_AVERAGE_PRECISION", "R2"]
    assert ["0.91" in rows[0], "0.72" in rows[1], "0.63" in rows[2]] == [True] * 3


def test_a_list_shows_what_a_regression_is_judged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    with zoo.init(tmp_path) as z:
        add_checkpoint(z.workspace, "team/age", tensors(2), metrics={"loss": 0.4, "r2": 0.9312})
    assert "0.9312 r2" in program("ls").done().out


def test_a_notebook_shows_tables(opened: zoo.Zoo) -> None:
    found = opened.search()._repr_html_()
    assert found.startswith("<table><thead><tr><th>name</th>")
    assert found.count("<tr>") == 3
    diff = opened.diff("team/base", "team/flowers")._repr_html_()
    assert "<p>units</p><table>" in diff
    log = opened.log("team/flowers")._repr_html_()
    assert "<th>by</th>" in log
    compared = opened.compare("team/base", "team/flowers")._repr_html_()
    assert "<th>team/base</th><th>team/flowers</th>" in compared


def test_a_report_is_a_table_for_each_of_its_parts() -> None:
    figures = {"precision": 0.5, "recall": None, "recall_low": 0.1}
    report = Report(
        task="classification", images=3, metrics={"accuracy": 0.5},
        classes=(ByClass(name=HOSTILE, images=3, figures=figures),),
        confusions=(Confusion(true="a", predicted=HOSTILE, images=1, share=0.5, low=0, high=1),),
        wrong=(), unsure=(),
    )  # fmt: skip
    html = report._repr_html_()
    assert html.count("<table>") == 2
    assert "<th>name</th><th>images</th><th>precision</th>" in html
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 2
    evaluation = Evaluation(
        name="team/x", manifest=Digest.parse(f"blake3:{'0' * 64}"), data="x", data_digest="",
        split="all", report=report, skipped=0, unknown={}, absent=(), remarks=(), against=None,
        kept=False, seen=0,
    )  # fmt: skip
    assert evaluation._repr_html_().count("<table>") == 2


@pytest.mark.long  # pandas takes seconds to import
def test_pandas_takes_what_a_search_finds(opened: zoo.Zoo) -> None:
    pandas = pytest.importorskip("pandas")
    assert set(pandas.DataFrame(opened.search())["name"]) == {"team/flowers", "team/base"}
    frame = opened.search().to_pandas()
    assert set(frame["name"]) == {"team/flowers", "team/base"}
    assert {"params", "kind", "license"} <= set(frame)


def test_nothing_found_has_columns_in_pandas(
    opened: zoo.Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as they are known: what metrics there are, only an answer tells."""
    pandas = SimpleNamespace(DataFrame=lambda *, columns: columns)
    monkeypatch.setitem(sys.modules, "pandas", pandas)  # the real one takes seconds to import
    columns = opened.search("nothing-like-this").to_pandas()
    found = opened.search()[0].to_json()
    assert columns == [name for name, value in found.items() if not isinstance(value, dict)]


def test_without_pandas_it_says_what_to_install(
    opened: zoo.Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(e.MissingPackage, match="pandas"):
        opened.search().to_pandas()


def test_a_figure_is_printed_with_its_interval() -> None:
    assert str(Figure(value=0.5, low=0.25, high=0.75)) == "0.5000 (0.2500 to 0.7500)"
    assert str(Figure(value=0.5, std=0.1, seeds=3)) == "0.5000 ± 0.1000"


@pytest.mark.parametrize(
    ("prints", "kind", "said"),
    [
        ('{"error": {"code": "invalid_data", "message": "x: no images", "hint": "add some"}}',
         e.InvalidData, "x: no images"),
        ("error: process 1 was killed by SIGKILL", e.ZooError, "process 1 was killed by SIGKILL"),
        ("", e.ZooError, "it ended with the status 7"),
        ('{"error": {"code": "interrupted", "message": "interrupted", "hint": "go on so"}}\n'
         '{"error": {"code": "interrupted", "message": "interrupted", "hint": null}}',
         KeyboardInterrupt, ""),
    ],
)  # fmt: skip
def test_what_fails_in_launched_processes_is_raised_here(
    opened: zoo.Zoo, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    prints: str, kind: type[BaseException], said: str,
) -> None:  # fmt: skip
    code = f"import sys; sys.stderr.write({prints!r} + '\\n'); sys.exit(7)"
    monkeypatch.setattr(launched, "PROGRAM", (sys.executable, "-Sc", code))
    monkeypatch.setattr("zoo.finetune.preflight.check_new", lambda *_: None)
    with pytest.raises(kind) as failed:
        opened.finetune("team/base", "x", "team/new", launch=2, epochs=3, freeze=2)
    assert str(failed.value) == said
    assert isinstance(failed.value, KeyboardInterrupt) or type(failed.value) is kind
    if kind is KeyboardInterrupt:
        assert failed.value.__notes__ == ["go on so"]
    assert '"error"' not in capfd.readouterr().err


def test_a_recipe_is_handed_on_as_it_is() -> None:
    recipe = zoo.Recipe(data='a "b" ä\\c', strategy="gradual", phases=("all:1",), ema=0.5, seed=3)
    with launched.recipe_file(recipe) as file:
        assert zoo.Recipe.read(file) == recipe
        assert zoo.Recipe.read(str(file), seed=4).seed == 4
    with pytest.raises(e.InvalidOption, match=r"the recipe .* cannot be read"):
        zoo.Recipe.read(file)


@pytest.mark.long
def test_several_processes_make_what_the_command_makes(
    tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zoo.open(make_zoo(tmp_path / "zoo")) as z:
        done = z.finetune(
            "team/net", few, "team/new", strategy="probe", image_size=32, device="cpu", launch=2
        )
        assert shown(z, "team/new").manifest == done.manifest
        assert shown(z, "team/new").checkpoint.provenance["processes"] == "2"
        assert z.run(done.run).metrics == done.metrics
        with pytest.raises(e.InvalidOption, match="number of processes or a config file"):
            z.rerun("team/new", "team/again", launch="nonsense")
