"""What a fine-tune keeps of how far its answers can be trusted, and what becomes of it."""

from __future__ import annotations

import base64
import csv
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from fakes.cuts import Cut, cut_at
from fakes.tuned import KINDS, drawings, quick, small_zoo
from torch import nn

import zoo
from zoo.backbones.load import Card
from zoo.backbones.predict import likely
from zoo.backbones.tried import TryoutRunner
from zoo.backbones.trust import Trust
from zoo.domain.calibration import (
    CALIBRATION_FILE,
    CALIBRATION_TOLD,
    Calibration,
    calibration_error,
)
from zoo.domain.manifest import Manifest
from zoo.errors import InvalidOption, Unsupported
from zoo.finetune import calibration
from zoo.finetune.results.calibrate import fitted_temperature, risk_coverage
from zoo.lookup.calibrated import calibration_of
from zoo.store.encoded import read_object
from zoo.store.files import add_file

Json = dict[str, Any]
PARTS = {"train": 8, "val": 8, "test": 8}
QUICK: dict[str, Any] = {
    "strategy": "partial", "freeze": "layer3", "epochs": 3, "lr": 0.05, "batch_size": 8,
    "image_size": 32, "device": "cpu",
}  # fmt: skip


class Made:
    """A zoo with ``team/net``, a fine-tune, and its images."""

    def __init__(self, root: Path) -> None:
        self.data = drawings(root / "drawn", PARTS)
        self.zoo = small_zoo(root)
        self.run = self.tune("team/net")

    def tune(self, save: str, base: str = "team/base", **options: Any) -> Any:
        return self.zoo.finetune(base, self.data, save, **{**QUICK, **options})

    def manifest(self, name: str) -> Manifest:
        workspace = self.zoo.workspace
        return workspace.store.manifest(workspace.names.resolve(name)[1])

    def kept(self, name: str) -> Calibration:
        found = self.zoo.calibration(name)
        assert found
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with quick():
        yield Made(tmp_path_factory.mktemp("made"))


@torch.no_grad()
def said(made: Made, name: str, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What a checkpoint says of images, one by one, and what they show."""
    model = made.zoo.load(name)
    card: Any = model.zoo
    paths = sorted((made.data / part).glob("*/*.png"))
    outputs = torch.cat([model(card.preprocess(str(path))[None]) for path in paths])
    return outputs, torch.tensor([KINDS.index(path.parent.name) for path in paths])


def test_it_is_of_the_validation_images_and_the_published_weights(made: Made) -> None:
    kept = made.kept("team/net")
    outputs, targets = said(made, "team/net", "val")
    assert kept.images == 24
    found = fitted_temperature("classification", outputs.numpy(), targets.numpy())
    assert kept.temperature == (None if isinstance(found, str) else pytest.approx(found, rel=1e-3))
    sure = (outputs / (kept.temperature or 1)).softmax(dim=1).amax(dim=1)
    assert kept.steps[-1].confidence == pytest.approx(float(sure.min()), abs=1e-4)
    assert kept.steps[-1].right == int((outputs.argmax(dim=1) == targets).sum())


def test_its_bins_are_of_the_test_images(made: Made) -> None:
    kept = made.kept("team/net")
    outputs, targets = said(made, "team/net", "test")
    sure = (outputs / (kept.temperature or 1)).softmax(dim=1).amax(dim=1)
    assert sum(each.count for each in kept.bins) == 24
    mean = sum(each.count * each.confidence for each in kept.bins) / 24
    assert mean == pytest.approx(float(sure.mean()), abs=1e-4)
    right = sum(each.count * each.right for each in kept.bins)
    assert right == pytest.approx(int((outputs.argmax(dim=1) == targets).sum()))
    error = made.run.metrics["calibration_error"]
    assert error == pytest.approx(calibration_error(kept.bins))
    for figure in ("raw_calibration_error", "raw_loss"):
        assert (figure in made.run.metrics) == (kept.temperature is not None)


def test_a_temperature_is_told_by_the_loss_of_the_test_images(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "fitted_temperature", lambda *_: 3.0)
    run = made.tune("team/cooled")
    effect = made.kept("team/cooled").effect
    assert effect
    outputs, targets = said(made, "team/cooled", "test")
    loss = torch.nn.CrossEntropyLoss()
    wanted = [float(loss(outputs, targets)), float(loss(outputs / 3, targets)), 24]
    assert [effect.raw_loss, effect.loss, effect.images] == pytest.approx(wanted, rel=1e-3)
    # So are the figures of the run and of an evaluation: all that is measured is by it.
    again = made.zoo.evaluate("team/cooled", made.data).report
    for metrics in (run.metrics, made.manifest("team/cooled").metrics, again.metrics):
        found = [metrics["raw_loss"], metrics["loss"]]
        assert found == pytest.approx(wanted[:2], rel=1e-3)
    each = torch.nn.functional.cross_entropy(outputs / 3, targets, reduction="none")
    if again.wrong:
        wrong = each[outputs.argmax(dim=1) != targets]
        assert again.wrong[0].error == pytest.approx(float(wrong.max()), rel=1e-3)


def test_predictions_are_calibrated_and_abstain(made: Made) -> None:
    name = tempered(made, "team/tempered", 2.0)
    images = sorted((made.data / "test").glob("*/*.png"))
    raw = made.zoo.predict(name, images, calibration=False)
    for before, after in zip(raw, made.zoo.predict(name, images, abstain_at=1.0), strict=True):
        assert (before.calibrated, after.calibrated) == (False, True)
        assert before.logits == after.logits
        shares = (torch.tensor(after.logits) / 2).softmax(0)
        assert after.probabilities == pytest.approx(shares.sort(descending=True).values.tolist())
        shares = torch.tensor(before.logits).softmax(0)
        assert before.probabilities == pytest.approx(shares.sort(descending=True).values.tolist())
        step = made.kept(name).step_for(1.0)
        assert step
        assert after.abstained == (after.probabilities[0] < step.confidence * (1 - 1e-5))
        assert before.abstained is None


def test_it_answers_for_all_images_that_a_step_counts(made: Made) -> None:
    """Also for the one at the threshold, whatever the last bits of its outputs are here."""
    kept, card = made.kept("team/net"), cast(Card, made.zoo.load("team/net").zoo)
    logits = [one.logits for one in made.zoo.predict("team/net", made.data / "val")]
    for step in kept.steps:
        found = likely(torch.tensor(logits), card, 1, Trust(kept.temperature, step))
        assert found
        assert found.abstained
        assert found.abstained.count(False) == step.answered


def tempered(made: Made, name: str, temperature: float) -> str:
    """``team/net`` as it would be with another temperature; its name."""
    workspace = made.zoo.workspace
    manifest = workspace.store.manifest(made.run.manifest)
    kept = made.kept("team/net")
    whole = replace(kept, temperature=temperature)
    return with_file(made, name, manifest, whole.to_bytes())


def with_file(made: Made, name: str, manifest: Any, data: bytes) -> str:
    workspace = made.zoo.workspace
    path = made.data.parent / CALIBRATION_FILE
    path.write_bytes(data)
    file = add_file(workspace.store, path, name=CALIBRATION_FILE)
    others = (each for each in manifest.files if each.name != CALIBRATION_FILE)
    workspace.commit(replace(manifest, files=(*others, file)), zoo.Reference.parse(name), "test")
    return name


def test_evaluation_has_the_error_by_the_temperature(made: Made) -> None:
    name = tempered(made, "team/tempered", 2.0)
    report = made.zoo.evaluate(name, made.data, split="test", save=False).report
    outputs, targets = said(made, name, "test")
    for temperature, key in ((2.0, "calibration_error"), (1.0, "raw_calibration_error")):
        sure, guess = (outputs.double() / temperature).softmax(dim=1).max(dim=1)
        place = (sure * 15).floor().clamp(max=14)
        error = 0.0
        for at in range(15):
            if (inside := place == at).any():
                right = (guess == targets)[inside].double().mean()
                error += float(inside.sum() * (sure[inside].mean() - right).abs()) / len(sure)
        assert report.metrics[key] == pytest.approx(error, abs=1e-4)


def test_views_are_averaged_by_the_temperature(made: Made) -> None:
    name = tempered(made, "team/tempered", 0.1)
    report = made.zoo.evaluate(name, made.data, split="test", tta="6", save=False).report
    images = sorted((made.data / "test").glob("*/*.png"))
    shares = [max(one.probabilities) for one in made.zoo.predict(name, images, tta="6")]
    found = sum(each.count * each.confidence for each in report.bins) / len(images)
    assert found == pytest.approx(np.mean(shares), abs=1e-5)


def test_images_of_a_group_count_as_one(made: Made) -> None:
    made.tune("team/grouped", group_by=r"((?:train|val|test)/\w+)/")
    alone, grouped = made.kept("team/net"), made.kept("team/grouped")
    assert grouped.why.startswith("3 groups of validation images are too few")
    outputs, targets = (each.numpy() for each in said(made, "team/grouped", "val"))
    kinds = [KINDS[at] for at in targets]
    expected = risk_coverage(outputs, targets, 1.0, kinds)[-1]
    assert grouped.steps[-1].right == alone.steps[-1].right
    assert grouped.steps[-1].low == pytest.approx(expected.low)
    assert grouped.steps[-1].low < alone.steps[-1].low


def test_images_unlike_the_training_images_are_told(made: Made) -> None:
    known = made.zoo.predict("team/net", sorted((made.data / "val").glob("*/*.png")))
    assert sum(bool(one.unlike) for one in known) <= 1  # of 24: 5 % at most
    noise = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    far = [one.distance or 0 for one in made.zoo.predict("team/net", [*noise])]
    assert np.median(far) > np.median([one.distance or 0 for one in known])


def test_an_image_that_is_tried_on_a_page_is_told_of_as_predict_does(made: Made) -> None:
    path = min((made.data / "val").glob("*/*.png"))
    (told,) = made.zoo.predict("team/net", path, top=5)
    workspace = made.zoo.workspace
    trial = TryoutRunner(workspace.store).answer(
        workspace.names.resolve("team/net")[1], path.read_bytes()
    )
    assert told.distance is not None
    assert trial.prediction.distance == pytest.approx(told.distance)
    assert trial.prediction.probabilities == pytest.approx(told.probabilities)
    assert any("unlike the training images" in each for each in trial.guesses) == told.unlike


@pytest.mark.long
def test_caching_changes_nothing(made: Made) -> None:
    made.tune("team/cached")
    made.tune("team/uncached", cache=False)
    one, other = made.kept("team/cached"), made.kept("team/uncached")
    assert one.temperature == pytest.approx(other.temperature, rel=1e-3)
    assert [step.right for step in one.steps] == [step.right for step in other.steps]
    assert one.typical
    assert other.typical
    assert one.typical.limit == pytest.approx(other.typical.limit, rel=1e-2)


def test_a_run_that_was_resumed_keeps_the_same_bits(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        cut_at(patch, 5)
        with pytest.raises(Cut):
            made.tune("team/resumed")
    done = made.zoo.resume("last", device="cpu")
    assert done.manifest != made.run.manifest  # it is of another moment
    assert made.kept("team/resumed") == made.kept("team/net")


@pytest.mark.long
def test_what_is_made_of_it_has_its_own_or_none(made: Made) -> None:
    made.tune("team/child", base="team/net", lr=0.01, seed=1)
    assert made.kept("team/child").of != made.kept("team/net").of
    made.zoo.adapt("team/net", "team/truncated", truncate="layer2", classes=3)
    assert made.zoo.calibration("team/truncated") is None
    made.zoo.adapt("team/net", "team/larger", image_size=(64, 64))
    assert made.zoo.calibration("team/larger") is None
    with pytest.raises(Unsupported, match="keeps no table"):
        made.zoo.predict("team/larger", made.data, abstain_at=0.9)


def test_what_was_made_for_other_weights_is_left_out(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    made.tune("team/other", seed=7)
    other = made.manifest("team/other")
    name = with_file(made, "team/mixed", other, made.kept("team/net").to_bytes())
    with caplog.at_level(logging.WARNING):
        assert made.zoo.calibration(name) is None
        assert not any(one.calibrated for one in made.zoo.predict(name, made.data / "val"))
    assert "it is of other weights or settings" in caplog.text


def test_a_damaged_one_does_not_stop_predictions(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = made.zoo.workspace.store.manifest(made.run.manifest)
    data = json.loads(made.kept("team/net").to_bytes())
    data["steps"][0]["confidence"] = 7
    name = with_file(made, "team/damaged", manifest, json.dumps(data).encode())
    with caplog.at_level(logging.WARNING):
        assert len(made.zoo.predict(name, made.data / "val")) == 24
    assert "left out" in caplog.text


def with_nan(typical: Json) -> Json:
    places = np.full(typical["centers"] * typical["rank"], np.nan, "<f4")
    return {**typical, "places": base64.b64encode(places.tobytes()).decode()}


def with_other_features(typical: Json) -> Json:
    none = {name: base64.b64encode(bytes(2 * size)).decode() for name, size in
            (("mean", 3), ("basis", 3 * typical["rank"]))}  # fmt: skip
    return {**typical, "features": 3, **none}


@pytest.mark.parametrize(
    ("change", "why"),
    [(with_nan, "NaN or infinite"), (with_other_features, "is of 3 features, and the head gets"),
     (dict, "no features here")],
)  # fmt: skip
@pytest.mark.parametrize("calibration", [True, False])
def test_training_images_that_are_ill_described_do_not_stop_predictions(
    made: Made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    change: Callable[[Json], Json], why: str, calibration: bool,
) -> None:  # fmt: skip
    def no_tap(*_: Any) -> Any:
        raise Unsupported("no features here")

    manifest = made.zoo.workspace.store.manifest(made.run.manifest)
    data = json.loads(made.kept("team/net").to_bytes())
    data["typical"] = change(data["typical"])
    name = with_file(made, "team/ill", manifest, json.dumps(data).encode())
    if change is dict:
        monkeypatch.setattr("zoo.backbones.trust.find_tap", no_tap)
    (image, *_) = sorted((made.data / "val").glob("*/*.png"))
    with caplog.at_level(logging.WARNING):
        (one,) = made.zoo.predict(
            name, image, calibration=calibration, abstain_at=0.1 if calibration else None
        )
    assert (one.distance, one.unlike, one.abstained) == (None, None, False if calibration else None)
    (warning,) = [each for each in caplog.messages if "left out" in each]
    assert why in warning


def test_settings_that_are_stated_otherwise_end_it(made: Made) -> None:
    made.zoo.tag("team/net", "team/edited")
    made.zoo.edit("team/edited", license="mit")
    assert made.kept("team/edited") == made.kept("team/net")
    made.zoo.edit("team/edited", mean=(0.4, 0.4, 0.4))
    files = made.manifest("team/edited").files
    assert CALIBRATION_FILE not in {file.name for file in files}
    before, after = (card_of(made, name) for name in ("team/net", "team/edited"))
    told = before[before.index("\n## Trust\n") : before.index("\n## Outputs\n")]
    assert str(made.kept("team/net"))[1:] in told
    assert CALIBRATION_TOLD in told
    assert after == before.replace(told, "")


def card_of(made: Made, name: str) -> str:
    (file,) = (each for each in made.manifest(name).files if each.name == "README.md")
    store = made.zoo.workspace.store
    return b"".join(read_object(store, file.object, least=file.size)).decode()


def test_an_adapter_that_is_exported_merged_keeps_it(made: Made, tmp_path: Path) -> None:
    """The file of weights is another one, and answers are the same."""
    made.tune("team/lora", strategy="lora", freeze=0)
    made.zoo.export("team/lora", tmp_path / "whole")
    made.zoo.import_folder(tmp_path / "whole", "team/back")
    before, after = made.kept("team/lora"), made.kept("team/back")
    assert before.of != after.of
    assert before == replace(after, of=before.of)
    images = [*(made.data / "test").glob("*/*.png")][:3]
    told = [made.zoo.predict(name, images, abstain_at=0.1) for name in ("team/lora", "team/back")]
    assert told[0] == told[1]


def test_it_goes_where_the_checkpoint_goes_and_no_further(made: Made, tmp_path: Path) -> None:
    made.tune("team/gone", seed=3)
    made.zoo.push("team/gone", to=str(tmp_path / "remote"))
    other = zoo.Zoo.init(tmp_path / "other")
    other.pull("team/gone", remote=str(tmp_path / "remote"))
    assert other.calibration("team/gone") == made.kept("team/gone")
    assert not other.verify().damages
    store = made.zoo.workspace.store
    (file,) = (each for each in made.manifest("team/gone").files if each.name == CALIBRATION_FILE)
    made.zoo.delete("team/gone")
    plan = made.zoo.plan_prune(keep_days=0, grace_days=0)
    made.zoo.prune(plan, keep_days=0, grace_days=0)
    assert store.missing("objects", [file.object]) == {file.object}
    assert made.kept("team/net").steps


def test_without_validation_images_it_says_so(made: Made, tmp_path: Path) -> None:
    data = drawings(tmp_path / "two", {"train": 8, "test": 8})
    run = made.zoo.finetune("team/base", data, "team/two", **QUICK, validation_share=0)
    kept = made.kept("team/two")
    assert (kept.images, kept.temperature, kept.steps, kept.typical) == (0, None, (), None)
    assert kept.why == "no images were held out to choose on"
    assert run.metrics["calibration_error"] == pytest.approx(calibration_error(kept.bins))


def test_accuracies_that_are_none(made: Made) -> None:
    for accuracy in (0.0, 1.5, -1.0, float("nan")):
        with pytest.raises(InvalidOption, match="above 0 and at most 1"):
            made.zoo.predict("team/net", made.data, abstain_at=accuracy)
    name = tempered(made, "team/tempered", 2.0)
    with pytest.raises(InvalidOption, match="takes the calibration"):
        made.zoo.predict(name, made.data, abstain_at=0.9, calibration=False)
    low = replace(made.kept("team/net"), steps=made.kept("team/net").steps[-1:])
    low = replace(low, steps=(replace(low.steps[0], right=20),))
    manifest = made.zoo.workspace.store.manifest(made.run.manifest)
    with_file(made, "team/low", manifest, low.to_bytes())
    with pytest.raises(InvalidOption, match=r"the best are 0\.8333, where the probability"):
        made.zoo.predict("team/low", made.data, abstain_at=0.9)


@pytest.mark.parametrize("strategy", ["probe", "lora"])
def test_all_strategies_make_one(made: Made, strategy: str) -> None:
    how: dict[str, Any] = {"strategy": strategy, "freeze": "all" if strategy == "probe" else "none"}
    if strategy == "probe":
        how = {"strategy": "probe", "image_size": 32, "device": "cpu"}
        made.zoo.finetune("team/base", made.data, f"team/{strategy}", **how)
    else:
        made.tune(f"team/{strategy}", **how, rank=2)
    kept = made.kept(f"team/{strategy}")
    assert kept.steps
    assert kept.typical
    known = made.zoo.predict(f"team/{strategy}", sorted((made.data / "val").glob("*/*.png")))
    assert sum(bool(one.unlike) for one in known) <= 1
    assert calibration_of(
        made.zoo.workspace.store,
        made.manifest(f"team/{strategy}"),
    ) == kept  # fmt: skip


@pytest.mark.long
def test_labels_and_numbers_have_what_makes_sense(made: Made, tmp_path: Path) -> None:
    """Labels a temperature and bins, numbers neither; both what the training images are like."""
    rows = {"labels": ["path,bar,disc,odd"], "numbers": ["path,label"]}
    for at, path in enumerate(sorted(made.data.glob("*/*/*.png"))):
        kind = path.parent.name
        rows["labels"].append(f"{path},{kind == 'bar':d},{kind == 'disc':d},{at % 2}")
        rows["numbers"].append(f"{path},{at * 0.5}")
    for kind, lines in rows.items():
        (tmp_path / f"{kind}.csv").write_text("\n".join(lines))
    how = {**QUICK, "validation_share": 0.35}
    made.zoo.finetune("team/base", tmp_path / "labels.csv", "team/labels", **how,
                      task="multi-label")  # fmt: skip
    made.zoo.finetune("team/base", tmp_path / "numbers.csv", "team/numbers", **how,
                      task="regression")  # fmt: skip
    labels, numbers = made.kept("team/labels"), made.kept("team/numbers")
    assert labels.typical
    assert labels.typical.centers == 1
    assert labels.bins
    assert not labels.steps
    assert numbers.typical
    assert not numbers.bins
    assert (numbers.temperature, numbers.why) == (None, "")
    with pytest.raises(Unsupported, match="keeps no table"):
        made.zoo.predict("team/labels", made.data, abstain_at=0.9)
    said = made.zoo.predict("team/numbers", made.data / "val")
    assert all(one.distance for one in said)
    with_names(made, "team/named", made.manifest("team/numbers"), ("distance",))
    out = tmp_path / "out.csv"
    assert not made.zoo.write_predictions("team/named", made.data / "val", out).calibrated
    written = list(csv.DictReader(out.read_text().splitlines()))
    assert [*written[0]] == ["path", "distance", "unlike", "distance_", "problem"]
    for row, one in zip(written, said, strict=True):
        found = float(row["distance"]), float(row["distance_"])
        assert found == pytest.approx((one.logits[0], one.distance), abs=1e-3)


def with_names(made: Made, name: str, manifest: Manifest, classes: tuple[str, ...]) -> None:
    whole = replace(manifest, classes=classes)
    made.zoo.workspace.commit(whole, zoo.Reference.parse(name), "test")


def test_a_compiled_network_is_looked_into(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compiled runs no hooks that came later: the network itself is asked."""

    hooks = set[int]()

    class Compiled(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            hooks.add(sum(len(child._forward_pre_hooks) for child in self.module.modules()))
            found: torch.Tensor = self.module(images)
            return found

    monkeypatch.setattr(torch, "compile", Compiled)
    made.tune("team/compiled", compile=True, cache=False)
    assert made.kept("team/compiled").typical
    assert len(hooks) == 1
