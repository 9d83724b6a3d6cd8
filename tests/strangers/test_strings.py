"""No text of a manifest, a recipe, a move or a configuration becomes a module, a path or a program.

Fields are found by walking what the dataclasses hold, so that a new one is tried, too.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.hub_home import own_hub
from fakes.hub_server import HubServer
from fakes.moves import append
from fakes.program import Said
from fakes.program import zoo as say
from fakes.sampled import sampled
from fakes.strangers import BASE
from fakes.watched import MARK, watched
from safetensors.torch import save_file

import zoo
from zoo.domain.history import RefEntry
from zoo.domain.manifest import (
    Backbone,
    Head,
    Manifest,
    Parent,
    PlainFile,
    Preprocessing,
    Tensor,
    WeightsFile,
)
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.domain.surgery import Surgery
from zoo.store.files import add_file
from zoo.workspace import Workspace

TEXTS = ("wicked7_module.inner:Net", "../../../wicked7", "/tmp/wicked7/x",
         "|touch wicked7;$(touch wicked7)", "hf-hub:wicked7/x", "file:///tmp/wicked7",
         "torch/folder?root=/tmp/wicked7")  # fmt: skip
Path_ = tuple[str | int, ...]
"""Where a text is in JSON."""


def leaves(value: Any, at: Path_ = ()) -> Iterator[tuple[Path_, str]]:
    """All texts, each with its place; of a long list the first."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*at, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value[:1]):
            yield from leaves(inner, (*at, number))


def poisoned(whole: Any, places: list[Path_], texts: Iterator[str]) -> Any:
    whole = copy.deepcopy(whole)
    for *outer, last in places:
        inner = whole
        for key in outer:
            inner = inner[key]
        inner[last] = next(texts)
    return whole


@pytest.fixture(scope="session")
def full(made: Path) -> dict[str, Any]:
    """The JSON of a manifest in which every field says something."""
    workspace = Workspace(made / "zoo")
    _, digest = workspace.names.resolve(BASE)
    whole = workspace.store.manifest(digest).to_json()
    readme = made / "README.md"
    readme.write_text("# a card\n")
    plain = add_file(workspace.store, readme, name="README.md")
    workspace.close()
    parent = {"manifest": str(digest), "relation": "finetune", "ref": "team/parent:v1"}
    whole |= {
        "files": [{"name": plain.name, "size": plain.size, "sha256": str(plain.sha256),
                   "object": str(plain.object)}],
        "classes": [f"class {number}" for number in range(whole["head"]["num_classes"])],
        "license": "apache-2.0",
        "format": 2,
        "parents": [parent],
        "ancestors": {str(digest): [{**parent, "manifest": f"blake3:{'1' * 64}"}]},
        "recipe": Recipe(data="data", task="classification", preset="standard", fold="1/3",
                         batch_norm="live", held_out="any", keep_examples=2,
                         publish_examples=True, teacher="team/parent", loss="focal", sam=0.05,
                         augment="light", augment_on="device",
                         sampler="balanced", drop_path=0.1, drop=0.1, layer_scale=0.1,
                         distill_weight=0.3, distill_temperature=3.0).to_json() | {"rank": 8},
        "freeze": {"frozen": ["a"], "boundary": "b", "kept": "epoch 1"},
        "metrics": {"accuracy": 0.5},
        "provenance": {"source": "file", "locator": "x", "revision": "1", "file": "a",
                       "sha256": "b", "torch": "2", "data_digest": "blake3:0",
                       "split_digest": "blake3:0"},
        "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    whole["backbone"]["options"] |= {"arguments": {"act_layer": "relu"}}
    whole["backbone"]["options"] |= {"truncate": "blocks.3", "without": ["blocks.2"],
                                     "taps": ["blocks.1", "head"],
                                     "image_size": [160, 160], "channels": 3,
                                     "convolutional": False, "lora": 8}  # fmt: skip
    return whole


def test_every_field_is_there(full: dict[str, Any]) -> None:
    def keys(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key
                yield from keys(inner)
        elif isinstance(value, list):
            for inner in value[:1]:
                yield from keys(inner)

    kinds = (
        Manifest,
        Backbone,
        Head,
        Preprocessing,
        Parent,
        PlainFile,
        Surgery,
        Tensor,
        WeightsFile,
        Recipe,
    )
    assert {field.name for kind in kinds for field in fields(kind)} <= set(keys(full))


def laid(home: Path, name: str, whole: dict[str, Any]) -> None:
    """A manifest in a store, and a name for it, as a pull would leave them; not indexed."""
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    workspace = Workspace(home)
    digest = workspace.store.put("manifests", text.encode())
    append(workspace.store, Reference.parse(name), digest, "pull")
    workspace.close()


def tell(seen: list[str], said: Said, command: tuple[object, ...]) -> None:
    assert not seen, (command, seen)
    assert said.code in (0, 1), (command, said)
    assert "Traceback" not in said.err, (command, said)


def commands(name: str, out: Path, images: Path) -> list[tuple[object, ...]]:
    return [
        ("reindex",),
        ("show", name, "--all"),
        ("log", name),
        ("tree", name),
        ("predict", name, images / "a" / "0.png"),
        ("export", name, out),
    ]


def tried(home: Path, images: Path, whole: Any, tmp_path: Path, more: bool = False) -> list[Said]:
    """What comes of each command with such a manifest; none may do anything with its texts."""
    laid(home, "team/pulled", whole)
    asked = commands("team/pulled", tmp_path / "out", images)
    if more:
        asked += [
            ("diff", BASE, "team/pulled"),
            ("identify", tmp_path / "out" / "model.safetensors"),
            ("search", "pulled"),
            (
                "finetune",
                "team/pulled",
                "--data",
                images,
                "--save",
                "team/new",
                "--strategy",
                "probe",
            ),
            ("rerun", "team/pulled", "--save", "team/new"),
            ("push", "team/pulled", "--to", tmp_path / "remote"),
            ("fetch", tmp_path / "remote"),
            ("--home", tmp_path / "other", "init"),
            ("--home", tmp_path / "other", "pull", "team/pulled", "--from", tmp_path / "remote"),
            ("verify",),
        ]
    said = []
    for command in asked:
        with watched(tmp_path) as seen:
            said.append(say(*command))
        tell(seen, said[-1], command)
    with watched(tmp_path) as seen, zoo.open(home) as z, suppress(zoo.ZooError):
        z.load("team/pulled")
    assert not seen
    assert not [*Path().glob(f"*{MARK}*"), *Path("/tmp").glob(f"{MARK}*")]
    return said


def groups(full: dict[str, Any]) -> dict[str, list[Path_]]:
    """Places that are tried together: free texts by the field that holds them, others alone."""
    found: dict[str, list[Path_]] = {}
    for at, text in leaves(full):
        together = at[0] in ("recipe", "freeze", "provenance", "parents") and text[:7] != "blake3:"
        found.setdefault(str(at[0] if together else ".".join(map(str, at))), []).append(at)
    return found


def test_texts_of_a_manifest(
    home: Path, full: dict[str, Any], images: Path, tmp_path: Path
) -> None:
    """All at once that may be any text, with every command."""
    sound = copy.deepcopy(full)
    sound["backbone"]["options"] = {"num_classes": sound["head"]["num_classes"]}
    free = [at for at, text in leaves(sound) if at[0] in
            ("recipe", "freeze", "provenance", "classes", "license", "created")]  # fmt: skip
    free += [("parents", 0, "relation"), ("parents", 0, "ref")]
    said = tried(home, images, poisoned(sound, free, cycle(TEXTS)), tmp_path, more=True)
    assert [done.code for done in said[:6]] == [0] * 6, said


@pytest.mark.parametrize(
    "place",
    sampled(
        ["backbone.plugin", "backbone.architecture", "head.kind", "backbone.options.truncate",
         "backbone.options.arguments.act_layer", "weights.0.name", "weights.0.tensors.0.name",
         "files.0.name"],
        ["files.0.name"],
    ),
)  # fmt: skip
def test_texts_that_name_something(
    home: Path, full: dict[str, Any], images: Path, tmp_path: Path, place: str
) -> None:
    (at,) = groups(full)[place]
    text = {"weights.0.name": "../wicked7.safetensors"}.get(place, TEXTS[0])
    tried(home, images, poisoned(full, [at], iter([text])), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.whole)])
def test_each_text_with_each(
    made: Path,
    full: dict[str, Any],
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    for number, (place, places) in enumerate(groups(full).items()):
        for other, text in list(enumerate(TEXTS))[number % step :: step]:
            base = tmp_path / f"{number}-{other}"
            home = shutil.copytree(made / "zoo", base / "zoo")
            monkeypatch.chdir(home)
            whole = poisoned(full, places, cycle([text]))
            if place == "backbone.architecture":
                whole["backbone"]["plugin"] = "torch"
            tried(home, images, whole, base)
            shutil.rmtree(base)


@pytest.mark.long
def test_texts_of_a_move(home: Path, images: Path, tmp_path: Path) -> None:
    entry = {"number": 1, "manifest": "blake3:" + "0" * 64, "previous": None, "at": "", "by": "",
             "why": "", "note": "", "deprecated": ""}  # fmt: skip
    assert {field.name for field in fields(RefEntry)} == {*entry, "deleted", "intact", "protected"}
    with zoo.open(home) as z:
        _, digest = z.workspace.names.resolve(BASE)
    for number, text in enumerate(TEXTS):
        told = dict.fromkeys(("at", "by", "why", "note", "deprecated"), text)
        move = {**entry, "manifest": str(digest), **told}
        folder = home / "refs" / "team" / f"pulled{number}" / "latest"
        folder.mkdir(parents=True)
        (folder / "00000001.json").write_text(json.dumps(move))
        asked = commands(f"team/pulled{number}", tmp_path / f"out{number}", images)
        for command in asked[: 3 if number else 6]:
            with watched(tmp_path) as seen:
                said = say(*command)
            tell(seen, said, command)
            assert said.code == 0, (command, said)
    for key in ("manifest", "previous"):
        move = {**entry, "manifest": str(digest), key: TEXTS[1]}
        folder = home / "refs" / "team" / f"odd-{key}" / "latest"
        folder.mkdir(parents=True)
        (folder / "00000001.json").write_text(json.dumps(move))
        with watched(tmp_path) as seen:
            said = say("show", f"team/odd-{key}")
        tell(seen, said, ("show", key))
        assert said.code == 1


def _timm(folder: Path) -> dict[str, Any]:
    return {
        "architecture": "test_vit", "num_classes": 1000, "num_features": 64,
        "global_pool": "token", "model_args": {
            "img_size": 160, "act_layer": "gelu", "checkpoint_path": "x", "cache_dir": "x",
            "pretrained_cfg": "x", "pretrained_cfg_overlay": {"file": "x"}},
        "pretrained_cfg": {
            "tag": "r160_in1k", "custom_load": "x", "input_size": [3, 160, 160],
            "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "num_classes": 1000, "pool_size": None,
            "first_conv": "patch_embed.proj", "classifier": "head", "license": "apache-2.0",
            "url": "https://x.invalid/x", "file": "x", "hf_hub_id": "x/y",
            "architecture": "test_vit",
            "label_names": ["a"], "label_descriptions": {"a": "b"},
        },
    }  # fmt: skip


def _transformers(_: Path) -> dict[str, Any]:
    return {
        "architectures": ["ViTForImageClassification"], "model_type": "vit", "id2label": {"0": "a"},
        "label2id": {"a": "0"}, "_name_or_path": "x/vit-base-patch16-224", "torch_dtype": "float32",
        "auto_map": {"AutoModel": "x--y.Net"}, "hidden_act": "gelu", "problem_type": "x",
        "custom_pipelines": {"x": {"impl": "x.y"}}, "transformers_version": "5",
    }  # fmt: skip


def _open_clip(_: Path) -> dict[str, Any]:
    return {
        "model_cfg": {"embed_dim": 512, "vision_cfg": {
            "timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "token",
            "timm_proj": "linear", "image_size": 160}, "text_cfg": {
            "hf_model_name": "x/y", "hf_tokenizer_name": "x/y", "context_length": 77}},
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
                           "interpolation": "bicubic", "resize_mode": "shortest", "size": 160},
    }  # fmt: skip


def _own(folder: Path) -> dict[str, Any]:
    with zoo.open() as z:
        z.export(BASE, folder / "own")
    found: dict[str, Any] = json.loads((folder / "own" / "config.json").read_text())
    return found


def _processor(_: Path) -> dict[str, Any]:
    return {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224},
            "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "auto_map": {"a": "b"},
            "feature_extractor_type": "x", "crop_pct": 1}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "make"),
    [("config.json", _timm), ("config.json", _transformers),
     pytest.param("config.json", _own, marks=pytest.mark.long),
     ("open_clip_config.json", _open_clip), ("preprocessor_config.json", _processor)],
)  # fmt: skip
def test_texts_of_a_configuration(
    home: Path, tmp_path: Path, file: str, make: Callable[[Path], dict[str, Any]]
) -> None:
    config, folder = make(tmp_path), tmp_path / "folder"
    folder.mkdir()
    save_file({"a": torch.zeros(3)}, folder / "model.safetensors")
    if make is _processor:
        (folder / "config.json").write_text(json.dumps(_transformers(tmp_path)))
    places = [at for at, _ in leaves(config)]
    texts = cycle(TEXTS)
    for at in places:
        (folder / file).write_text(json.dumps(poisoned(config, [at], texts)))
        with watched(tmp_path) as seen:
            said = say("import", folder, "--as", "team/x")
        tell(seen, said, at)
        assert said.code == 1
    index = {"metadata": {}, "weight_map": {"a": "../../wicked7", "b": TEXTS[0]}}
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / file).write_text(json.dumps(config))
    with watched(tmp_path) as seen:
        said = say("import", folder, "--as", "team/x")
    tell(seen, said, ("index",))
    assert said.code == 1


CARD = """---
license: {}
library_name: {}
pipeline_tag: {}
base_model: {}
datasets: [{}]
tags: [{}]
---
# {}
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    yield from own_hub(monkeypatch, tmp_path)


def pulled(home: Path, images: Path, tmp_path: Path) -> list[Said]:
    """What comes of each command with a repository that is listed, and then pulled."""
    said = []
    for command in (
        ("index", "hub"),
        ("search", "source:hub"),
        ("show", "lab/net", "--all"),
        ("pull", "team/pulled", "--from", "hf://lab/net"),
        *commands("team/pulled", tmp_path / "out", images),
        ("pull", "lab/net"),
    ):
        with watched(tmp_path) as seen:
            said.append(say(*command))
        tell(seen, said[-1], command)
    return said


def repository(made: Path, config: dict[str, Any], *more: str) -> dict[str, bytes]:
    """Files of a repository with sound weights, and a card that says what a stranger likes."""
    texts = cycle(json.dumps(text) for text in TEXTS)
    return {
        "config.json": json.dumps(config).encode(),
        "README.md": CARD.format(*(next(texts) for _ in range(7))).encode(),
        "model.safetensors": (made / "base.safetensors").read_bytes(),
        **dict.fromkeys(more, b"raise SystemExit"),
    }


@pytest.mark.long
def test_texts_of_a_hub_repository(
    home: Path, hub: HubServer, made: Path, images: Path, tmp_path: Path
) -> None:
    """Its card, its row in a listing, and the names of its files."""
    config = {"architecture": "test_vit", "num_classes": 1000}
    card = {"license": TEXTS[0], "base_model": TEXTS[1], "datasets": [TEXTS[2]],
            "model-index": [{"name": TEXTS[3], "results": [{"metrics": [
                {"type": TEXTS[4], "value": 1}]}]}]}  # fmt: skip
    row = {"library_name": TEXTS[0], "pipeline_tag": TEXTS[1], "tags": [*TEXTS, "base_model:x/y"],
           "createdAt": TEXTS[5], "config": {"architectures": [TEXTS[6]]}}  # fmt: skip
    strange = ("wicked7/__init__.py", "LICENSE.wicked7.py", "wicked7.json", "NOTICE-wicked7")
    hub.commit("lab/net", repository(made, config, *strange), card=card, info=row)
    said = pulled(home, images, tmp_path)
    assert {done.code for done in said} == {0}, said
    for name in ("../wicked7.py", "/tmp/wicked7.py", "sub/../../wicked7"):
        hub.commit("lab/net", repository(made, config, name), card=card, info=row)
        with watched(tmp_path) as seen:
            said = [say("pull", "team/pulled", "--from", "hf://lab/net")]
        tell(seen, said[0], (name,))
        assert said[0].failed("outside of itself")


@pytest.mark.long
def test_texts_of_the_configuration_of_a_hub_repository(
    home: Path, hub: HubServer, made: Path, images: Path, tmp_path: Path
) -> None:
    """One after the other, beside weights that fit."""
    config = _timm(tmp_path)
    config["model_args"] = {"img_size": 160, "act_layer": "gelu"}
    for (at, _), text in zip([*leaves(config)], cycle(TEXTS), strict=False):
        hub.commit("lab/net", repository(made, poisoned(config, [at], iter([text]))))
        pulled(home, images, tmp_path)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_the_watch_sees(tmp_path: Path) -> None:
    with watched(tmp_path) as seen:
        for action in (
            lambda: __import__("wicked7_module"),
            lambda: open("/tmp/wicked7/x"),  # noqa: PTH123, SIM115
            lambda: eval("wicked7"),
            lambda: __import__("subprocess").run(["true", "wicked7"], check=True),
            lambda: (tmp_path / "wicked7").touch(),
        ):
            try:
                action()
            except (ImportError, OSError, NameError):
                continue
    assert [event.split()[0] for event in seen] == ["import", "open", "compile", "subprocess.Popen"]


def test_half_a_character_in_a_configuration_is_refused(home: Path, tmp_path: Path) -> None:
    """JSON can hold it, and no file."""
    network = timm.create_model("test_vit", num_classes=1)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "test_vit", "num_classes": 1, "label_names": ["ash\ud800"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    said = say("import", tmp_path, "--as", "team/x")
    assert said.failed("it has half a character, at the end of", "ash\\ud800"), said
