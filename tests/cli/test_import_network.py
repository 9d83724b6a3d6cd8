"""Which network an imported file is of: names and shapes tell."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from fakes.import_files import AS, NET, Run, State, prefixed, shown
from fakes.import_runs import moved
from safetensors.torch import save_file


def test_names_and_shapes_tell_the_network(empty: Run, state: State) -> None:
    body = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    loss = {"criterion.weight": torch.ones(3)}
    for file, saved in {
        "plain.pth": state,
        "wrapped.pth": {"state_dict": {**prefixed("module.my.", state), **loss}},
        "headless.pth": {"model": {**body, "fc.0.weight": torch.ones(8, 4)}},
    }.items():
        torch.save(saved, file)
        planned = empty("import", file, *AS[2:], "--dry-run", "--json").json
        told = (planned["architecture"], planned["taken"]["network"])
        assert told == (NET, f"{NET} found by names and shapes"), file
    done = empty("import", "headless.pth", *AS[2:]).done().out
    assert f"  {NET} found by names and shapes; unknown: preprocessing" in done
    assert shown(empty)["backbone"]["architecture"] == NET


def test_several_networks_of_these_names_and_shapes_are_listed(empty: Run) -> None:
    several = "test_efficientnet_gn or test_efficientnet_ln"
    save_file(timm.create_model("test_efficientnet_gn").state_dict(), "net.safetensors")
    refused = empty("import", "net.safetensors", *AS[2:])
    refused.refused(f"its names and shapes are those of {several}; give --architecture NAME")
    empty("import", "net.safetensors", *AS).refused(
        "does not fit the network", f"its names and shapes are those of {several}"
    )
    empty("import", "net.safetensors", "--architecture", several[-20:], *AS[2:]).done()
    # What is here already decides between them.
    assert f"{several[-20:]} from team/net, which it resembles" in empty(
        "import", "net.safetensors", "--as", "team/again"
    ).done().out  # fmt: skip


@pytest.mark.long
def test_a_network_of_another_library_that_is_called_alike_is_named(empty: Run) -> None:
    state = torchvision.models.mobilenet_v3_small(num_classes=3).state_dict()
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, "net.safetensors")
    alike = ("--architecture", "mobilenetv3_small_100")
    empty("import", "net.safetensors", *alike, *AS[2:]).refused(
        "its names and shapes are those of torchvision/mobilenet_v3_small"
    )
    named = ("--architecture", "torchvision/mobilenet_v3_small")
    empty("import", "net.safetensors", *named, *AS[2:]).done()


def test_who_may_have_a_network_that_timm_has_not_is_named(empty: Run) -> None:
    save_file(dict(torchvision.models.squeezenet1_1(num_classes=2).state_dict()), "tv.safetensors")
    refused = empty("import", "tv.safetensors", "--as", "team/tv")
    others = "give --architecture NAME (with --backbone torch or torchvision or"
    refused.refused("no architecture of timm", others)
    told = ("--architecture", "squeezenet1_1", "--backbone", "torchvision")
    empty("import", "tv.safetensors", "--as", "team/tv", *told).done()


def test_of_several_networks_that_fit_the_nearest_checkpoint_here_tells(empty: Run) -> None:
    base = dict(timm.create_model("test_efficientnet_ln").state_dict())
    save_file(base, "net.safetensors")
    empty("import", "net.safetensors", "--architecture", "test_efficientnet_ln", *AS[2:]).done()
    Path("runs").mkdir()
    save_file(moved(base, 0.001), "runs/tuned.safetensors")
    save_file(dict(timm.create_model("test_efficientnet_gn").state_dict()), "runs/new.safetensors")
    done = empty("import", "runs/tuned.safetensors", "--as", "team/tuned", "--dry-run").done()
    assert re.search(r"test_efficientnet_ln from team/net, from which it is 0\.\d+ apart", done.out)
    empty("import", "runs/new.safetensors", "--as", "team/new").refused("give --architecture")
    all_of_it = ("import", "runs", "--recursive", "--as", "team/{stem}", "--dry-run", "--json")
    planned = empty(*all_of_it).json["files"]
    assert {Path(file["path"]).stem: file["architecture"] for file in planned} == {
        "tuned": "test_efficientnet_ln",
        "new": "",
    }


@pytest.mark.long
def test_a_file_of_two_networks_is_not_imported_by_guess(empty: Run, state: State) -> None:
    vit = dict(timm.create_model("test_vit").state_dict())
    save_file({**prefixed("a.", state), **prefixed("b.module.", vit)}, "two.safetensors")
    two = f"{NET} (a.) or test_vit (b.module.)"
    empty("import", "two.safetensors", *AS[2:]).refused(two, "give --architecture NAME")
    chosen = empty("import", "two.safetensors", *AS, "--dry-run", "--json").json
    assert chosen["taken"]["stripped"] == "a."
    twice = {**prefixed("student.", state), **prefixed("teacher.", state)}
    torch.save({"state_dict": twice}, "twice.pth")
    save_file({name: tensor.clone() for name, tensor in twice.items()}, "twice.safetensors")
    for file, options in product(("twice.pth", "twice.safetensors"), (AS, AS[2:])):
        keys = ("'student.' and 'teacher.'", "--key student or --key teacher takes one")
        empty("import", file, *options).refused(*keys)
        one = empty("import", file, *options, "--key", "teacher", "--dry-run", "--json").json
        assert one["taken"]["stripped"] == "teacher."
    for best, other in (("model_ema.", "model."), ("m.encoder_q.", "m.encoder_k.")):
        torch.save({**prefixed(other, state), **prefixed(best, state)}, "ranked.pth")
        done = empty("import", "ranked.pth", *AS[2:], "--dry-run", "--json").json
        assert done["taken"]["stripped"] == best


def test_of_two_networks_of_the_same_names_the_shapes_tell(empty: Run, state: State) -> None:
    wide = {name: torch.cat([tensor, tensor]) for name, tensor in state.items() if tensor.dim()}
    other = {name: wide.get(name, tensor) for name, tensor in state.items()}
    torch.save({**prefixed("teacher.", other), **prefixed("student.", state)}, "two.pth")
    done = empty("import", "two.pth", *AS, "--dry-run", "--json").json
    assert done["taken"]["stripped"] == "student."


def test_what_is_of_no_known_network_says_so(empty: Run, state: State) -> None:
    save_file({"a.weight": torch.ones(2, 2)}, "net.safetensors")
    refused = empty("import", "net.safetensors", *AS[2:])
    refused.refused("nothing says it", "no architecture of timm", "--architecture NAME")
    torch.save({"arch": "os:system", "state_dict": {"a.weight": torch.ones(2, 2)}}, "net.pth")
    empty("import", "net.pth", *AS[2:]).refused("'os:system' is no architecture of timm")


def test_names_of_a_stranger_do_not_make_the_search_long(
    empty: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each name is a part of its own, with eight more inside."""
    looked_at: list[object] = []

    def fitting(shapes: object) -> tuple[str, ...]:
        looked_at.append(shapes)
        return ()

    monkeypatch.setattr("zoo_timm.known.fitting", fitting)
    save_file({f"{n}.a.b.c.d.e.f.g.h": torch.zeros(1) for n in range(300)}, "net.safetensors")
    empty("import", "net.safetensors", "--as", "team/net").refused("those of no architecture")
    assert 0 < len(looked_at) <= 256  # of 2,701 parts


def test_an_architecture_of_another_library_or_with_a_slip(empty: Run, state: State) -> None:
    save_file(state, "net.safetensors")
    line = ("import", "net.safetensors", "--as", "team/net", "--architecture")
    empty(*line, "mobilenet_v3_small").refused("torchvision has it: --backbone torchvision")
    said = "--backbone torchvision --architecture mobilenet_v3_small"
    empty(*line, "torchvision/mobilenet_v3_small", "--backbone", "timm").refused(said)
    refused = empty(*line, "vit_tst")
    assert refused.err.splitlines()[-1].startswith("  did you mean test_vit")


def test_an_architecture_of_another_library_by_its_prefix(empty: Run) -> None:
    net = torchvision.models.get_model("squeezenet1_1", num_classes=2).state_dict()
    Path("made").mkdir()
    torch.save({"best_acc1": 77.5, "state_dict": net}, "made/net.pth")
    named = ("--architecture", "torchvision/squeezenet1_1")
    one = ("import", "made/net.pth", "--as", "team/net", *named)
    planned = empty(*one, "--dry-run", "--json").json
    assert (planned["backbone"], planned["architecture"]) == ("torchvision", "squeezenet1_1")
    folder = ("import", "made", "--recursive", "--as", "team/{stem}", *named, "--dry-run")
    (file,) = empty(*folder, "--json").json["files"]
    assert (file["backbone"], file["architecture"]) == ("torchvision", "squeezenet1_1")
    # A plain state dict has its figure in the plan.
    assert re.search(r"team/made .* best_acc1 77.5 ", empty(*folder).out)
