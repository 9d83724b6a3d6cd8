"""Where trials run: in this process, and what is asked for it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from fakes.trials import raises

from zoo import config, errors
from zoo.backbones import devices
from zoo.backbones.devices import pick_devices
from zoo.domain.progress import silent
from zoo.errors import InvalidOption, MissingPackage, Unavailable, ZooError
from zoo.executors.executor import SerialExecutor, carried_out, ended, open_executor
from zoo.finetune import preflight
from zoo.finetune.preflight import check_where
from zoo.workspace import Workspace


def test_alone_a_trial_begins_when_its_result_is_asked_for() -> None:
    """So a budget is looked at just before, with what the last one has taken."""
    seen = list[str]()

    def trials() -> Iterator[tuple[int, Callable[[], None]]]:
        for number in range(2):
            seen.append(f"asked for {number}")
            yield number, partial(seen.append, f"begun {number}")

    with open_executor("cpu", "", [], silent) as executor:
        assert executor == SerialExecutor("cpu", silent)
        assert (executor.own, executor.device) == ("cpu", "cpu")
        for _, result in executor.run(trials()):
            result()
    assert seen == ["asked for 0", "begun 0", "asked for 1", "begun 1"]


def test_what_a_trial_raises_is_raised_by_who_asks() -> None:
    assert carried_out(lambda: 3) == (3, None)
    for odd, kind, text in ((False, Unavailable, "it: is away"), (True, RuntimeError, "1 and 2")):
        value, error = pickle.loads(pickle.dumps(carried_out(partial(raises, odd))))
        with pytest.raises(kind, match=text) as caught:
            ended(value, error)
        assert odd == any("OddError" in note for note in caught.value.__notes__)


def test_every_error_can_be_handed_to_another_process() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    for kind in kinds:
        if issubclass(kind, ZooError):
            error = kind.__new__(kind, "what happened")
            error.hint = "do this"
            again = pickle.loads(pickle.dumps(error))
            assert (type(again), again.args, again.hint) == (kind, error.args, "do this")


def test_devices_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "pick_device", lambda device: device)
    for count, every in ((0, ["auto"]), (1, ["auto"]), (2, ["cuda:0", "cuda:1"])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert pick_devices("all") == every
    assert pick_devices("cuda:1, cuda:3") == ["cuda:1", "cuda:3"]
    assert pick_devices("mps") == ["mps"]
    for odd in ("cpu,cuda:0", "mps,mps"):
        with pytest.raises(InvalidOption, match=f"'{odd}': several devices are GPUs of one kind"):
            pick_devices(odd)


def test_a_worker_sees_one_gpu_of_those_that_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for seen, number, shown in (("", 1, "1"), ("4,6", 1, "6"), ("GPU-ab,GPU-cd", 0, "GPU-ab")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
        config.show_gpu(number)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == shown


def test_what_is_no_place_for_trials_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_may_have_cuda", lambda: False)
    monkeypatch.setattr(preflight, "find_spec", lambda _: None)
    check_where("cpu,cpu", "")
    for devices_asked, on, text in (
        ("cpu,cuda:1", "", "the device 'cuda:1' cannot be used here"),
        ("auto", "slurm", "'slurm' is no cluster"),
        ("cuda:0,cuda:1", "ray", "on a cluster a trial has a device of its own"),
    ):
        with pytest.raises(InvalidOption, match=text):
            check_where(devices_asked, on)
    with pytest.raises(MissingPackage, match="ray is not installed") as caught:
        check_where("cuda", "ray://head:10001")
    assert caught.value.advice == "pip install 'zoo-registry[ray]'"


def test_a_zoo_is_handed_on_as_its_folder(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "zoo")
    again = pickle.loads(pickle.dumps(workspace))
    assert again.root == workspace.root
    assert "registry" not in vars(again)
    workspace.close()
