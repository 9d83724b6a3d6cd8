"""What every backbone plugin must do.

Subclass, and supply the fixtures ``backbone`` and ``architectures``: a short list of small networks
that can be run here, a few of each kind that the plugin has.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from zoo.backbones.freeze import parametric
from zoo.backbones.preprocess import inference_transform
from zoo.contracts import Backbone
from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit, under
from zoo.domain.surgery import BuildOptions
from zoo.errors import UnknownName, Unsupported
from zoo.testing import freezing, variants
from zoo.testing.cuts import check_cuts
from zoo.testing.from_cut import check_from_cut, check_larger_batch

__all__ = ["BackboneSuite", "Network", "check_coverage", "check_order", "check_stages"]

CROP_MODES = {"center", "squash", "border"}


@dataclass(frozen=True)
class Network:
    """One network under test: ``architecture``, ``module``, ``hierarchy``, and its ``images``.

    It is shared by all tests: copy ``module`` before changing it.
    """

    architecture: str
    module: nn.Module
    hierarchy: Hierarchy
    images: Tensor


class BackboneSuite:
    """Conformance to `zoo.contracts.Backbone`.

    class TestMine(BackboneSuite):
        @pytest.fixture
        def backbone(self): return MyBackbone()
        @pytest.fixture
        def architectures(self): return ["tiny"]
    """

    @pytest.fixture
    def networks(self, backbone: Backbone, architectures: Sequence[str]) -> list[Network]:
        """Each architecture with untrained weights, its hierarchy, and two random images."""
        return [_network(type(backbone), name) for name in architectures]

    def test_knows_its_architectures(
        self, backbone: Backbone, architectures: Sequence[str]
    ) -> None:
        """All names, sorted, each once."""
        names = list(backbone.architectures())
        assert names == sorted(set(names))
        assert set(architectures) <= set(names)

    def test_a_typo_is_answered_with_near_names(
        self, backbone: Backbone, architectures: Sequence[str]
    ) -> None:
        """Unknown names are refused, and the right one is suggested."""
        for name in architectures:
            with pytest.raises(UnknownName) as caught:
                backbone.build(f"{name}q")
            assert caught.value.name == f"{name}q"
            assert name in caught.value.near

    def test_an_unknown_tag_is_refused(
        self, backbone: Backbone, architectures: Sequence[str]
    ) -> None:
        """Also by plugins that have no tags."""
        for name in architectures:
            with pytest.raises(UnknownName):
                backbone.build(name, BuildOptions(tag="no_such_tag"))

    def test_its_version_is_told_quickly(self, backbone: Backbone) -> None:
        """Looking things up asks for it, and imports no torch."""
        variants.check_version(backbone)

    def test_builds_on_meta(self, backbone: Backbone, networks: list[Network]) -> None:
        """Without memory for weights, with the same hierarchy as the real network's."""
        for network in networks:
            with torch.device("meta"):
                module = backbone.build(network.architecture)
            assert all(parameter.is_meta for parameter in module.parameters())
            assert backbone.hierarchy(network.architecture, module) == network.hierarchy

    def test_hierarchy_covers_everything_once(self, networks: list[Network]) -> None:
        """Each parameter and buffer belongs to one unit or to the head."""
        for network in networks:
            check_coverage(network.module, network.hierarchy)

    def test_units_are_in_execution_order(self, networks: list[Network]) -> None:
        """Seen by hooks of our own on an ordinary run."""
        for network in networks:
            check_order(network.module, network.hierarchy, network.images[:1])

    def test_stages_are_contiguous_and_depths_count(self, networks: list[Network]) -> None:
        """A stage is never taken up again; depth is the place in the order."""
        for network in networks:
            check_stages(network.hierarchy)

    def test_head_is_named(self, backbone: Backbone, networks: list[Network]) -> None:
        """The hierarchy's head is what the plugin says, and nothing of it lies in a unit."""
        for network in networks:
            head = network.hierarchy.head
            assert head.modules == backbone.head_modules(network.module)
            named = {
                name
                for path in head.modules
                for name, _ in network.module.get_submodule(path).named_parameters(prefix=path)
            }
            assert named == set(head.parameters)

    def test_shapes_are_those_of_a_run(self, networks: list[Network]) -> None:
        """What leaves the last module of each unit, and the network."""
        for network in networks:
            units = network.hierarchy.units
            last = {unit.modules[-1]: unit.shape for unit in units}
            last[""] = network.hierarchy.head.shape
            outputs = _outputs(network.module, last, network.images[:1])
            for path, shape in last.items():
                leaving = outputs[path]
                assert shape == (tuple(leaving.shape) if isinstance(leaving, Tensor) else None)
            assert last[""] is not None

    def test_cuts_are_proven(self, networks: list[Network]) -> None:
        """By poison, in eval mode and for training."""
        for network in networks:
            check_cuts(network.module, network.hierarchy, network.images)

    def test_training_from_a_cut_gives_the_same_bits(self, networks: list[Network]) -> None:
        """As training all of the network, frozen below; for a few of its cuts."""
        for network in networks:
            check_from_cut(network.module, network.hierarchy, network.images)

    def test_batches_of_any_size_enter_at_a_cut(self, networks: list[Network]) -> None:
        """With what small ones have told."""
        for network in networks:
            check_larger_batch(network.module, network.hierarchy, network.images)

    @pytest.mark.parametrize("optimizer", freezing.OPTIMIZERS)
    def test_freezing_is_total(self, networks: list[Network], optimizer: str) -> None:
        """Training in every mode of cruelty moves nothing below the boundary, and all above."""
        for network in networks:
            freezing.check_training(network.module, network.hierarchy, network.images, optimizer)

    def test_copies_are_frozen(self, networks: list[Network]) -> None:
        """And independent: thawing the original thaws all of it, and nothing of its copy."""
        for network in networks:
            freezing.check_copies(network.module, network.hierarchy, network.images)

    def test_freezing_survives_a_file(self, networks: list[Network]) -> None:
        """Of the state dict, and of the whole module."""
        for network in networks:
            freezing.check_saved(network.module, network.hierarchy, network.images)

    def test_frozen_part_does_not_see_batch_mates(self, networks: list[Network]) -> None:
        """What leaves it for one image is the same beside any other image, in train mode."""
        for network in networks:
            freezing.check_batch_mates(network.module, network.hierarchy, network.images)

    def test_head_is_replaced(self, backbone: Backbone, networks: list[Network]) -> None:
        """By the very modules that were built, and nothing else is renamed."""
        for network in networks:
            module = copy.deepcopy(network.module)
            built: list[nn.Module] = []

            def build(features: int, built: list[nn.Module] = built) -> nn.Module:
                built.append(nn.Linear(features, 7))
                return built[-1]

            backbone.replace_head(module, 7, build)
            children = set(module.modules())
            assert built
            assert children.issuperset(built)
            for mode in (False, True):
                assert tuple(module.train(mode)(network.images).shape) == (2, 7)
            old, new = backbone.head_modules(network.module), backbone.head_modules(module)
            assert new
            assert _outside(module, new) == _outside(network.module, old)
            inside = sum(p.numel() for name, p in module.named_parameters() if under(name, new))
            assert inside >= sum(p.numel() for head in built for p in head.parameters())

    def test_outputs_can_be_chosen(self, backbone: Backbone, networks: list[Network]) -> None:
        """``num_classes`` decides the size of the architecture's own head."""
        for network in networks:
            if not network.hierarchy.head.modules:
                continue  # an encoder
            module = backbone.build(network.architecture, BuildOptions(num_classes=5)).eval()
            assert tuple(module(network.images[:1]).shape) == (1, 5)

    def test_a_new_head_gets_what_the_old_one_got(
        self, backbone: Backbone, networks: list[Network]
    ) -> None:
        """Bit for bit, in eval mode."""
        for network in networks:
            if network.hierarchy.head.modules:
                variants.check_head_input(backbone, network.module, network.images)

    @pytest.mark.filterwarnings("ignore::UserWarning")  # libraries warn as they resize weights
    def test_other_images_are_taken_or_refused(
        self, backbone: Backbone, networks: list[Network]
    ) -> None:
        """Of another size, or other channels: the network says what it takes, and can be traced."""
        for network in networks:
            how, state = backbone.preprocessing(network.module), network.module.state_dict()
            wanted: list[dict[str, object]] = [{"channels": count} for count in variants.CHANNELS]
            wanted += [{"image_size": size} for size in variants.sizes_of(how)]
            for each in wanted:
                module = variants.check_adapted(backbone, network.architecture, state, **each)
                if module is None:
                    continue
                with suppress(Unsupported):  # some find out as they run
                    hierarchy = backbone.hierarchy(network.architecture, module)
                    check_coverage(module, hierarchy)
                    if network.hierarchy.head.modules:
                        assert hierarchy.head.shape == network.hierarchy.head.shape

    def test_weights_that_fit_stay_as_they_are(
        self, backbone: Backbone, networks: list[Network]
    ) -> None:
        """``fit_weights`` has nothing to do for the network that they are of."""
        for network in networks:
            state = network.module.state_dict()
            assert variants.check_adapted(backbone, network.architecture, state) is not None

    def test_it_can_be_exported(self, backbone: Backbone, networks: list[Network]) -> None:
        """The configuration is plain data."""
        for network in networks:
            shape = network.hierarchy.head.shape
            outputs = shape[1] if shape and network.hierarchy.head.modules else 0
            variants.check_config(backbone, network.architecture, network.module, outputs)

    def test_own_names_map_to_themselves(self, backbone: Backbone, networks: list[Network]) -> None:
        """As do names that nobody knows."""
        for network in networks:
            own = list(network.module.state_dict())
            assert dict(backbone.convert(network.module, own)) == {name: name for name in own}
            assert backbone.convert(network.module, ["no.such"])["no.such"] == "no.such"

    def test_preprocessing_is_sane(self, backbone: Backbone, networks: list[Network]) -> None:
        """It turns an image of any size into input that the network takes."""
        for network in networks:
            how = backbone.preprocessing(network.module)
            assert len(how.mean) == len(how.std) == how.input_size[0]
            assert all(0 <= value <= 1 for value in how.mean)
            assert all(0 < value <= 1 for value in how.std)
            assert 0.5 <= how.crop_pct <= 1
            assert how.crop_mode in CROP_MODES
            image = inference_transform(how, "")(Image.new("RGB", (123, 77), (255, 0, 99)))
            assert tuple(image.shape) == how.input_size
            assert image.dtype == torch.float32
            assert image.isfinite().all()

    def test_class_names_fit_the_outputs(self, backbone: Backbone, networks: list[Network]) -> None:
        """One for each output, or none."""
        for network in networks:
            shape = network.hierarchy.head.shape
            assert shape is not None
            outputs = shape[-1] if network.hierarchy.head.modules else 0
            assert len(backbone.classes(network.module)) in (0, outputs)


def check_coverage(module: nn.Module, hierarchy: Hierarchy) -> None:
    """Assert that each parameter and buffer of ``module`` is listed once, and counted right."""
    parts: tuple[Unit | HeadPart, ...] = (*hierarchy.units, hierarchy.head)
    parameters = dict(module.named_parameters())
    listed = Counter(name for part in parts for name in part.parameters)
    assert listed == Counter(list(parameters))
    listed = Counter(name for part in parts for name in part.buffers)
    assert listed == Counter(name for name, _ in module.named_buffers())
    for part in parts:
        assert part.params == sum(parameters[name].numel() for name in part.parameters)
    assert hierarchy.params == sum(parameter.numel() for parameter in parameters.values())


def check_order(module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> None:
    """Assert that units, and the modules in each, are entered first in the order listed."""
    modules = [path for unit in hierarchy.units for path in unit.modules]
    paths = parametric(module, modules)
    entered: list[str] = []
    with ExitStack() as hooks, torch.no_grad():
        for path in paths:
            child = module.get_submodule(path)
            note = child.register_forward_pre_hook(lambda *_, path=path: entered.append(path))
            hooks.enter_context(note)
        module.eval()(images)
    order = list(dict.fromkeys(entered))
    pairs = zip(paths, order, strict=False)
    late = [f"{path} where {seen} runs" for path, seen in pairs if path != seen]
    assert order == paths, late[:1]


def check_stages(hierarchy: Hierarchy) -> None:
    """Assert that depths count from 0, names differ, and stages are contiguous."""
    units = hierarchy.units
    assert [unit.depth for unit in units] == list(range(len(units)))
    assert len({unit.name for unit in units}) == len(units)
    runs = [unit.stage for i, unit in enumerate(units) if not i or units[i - 1].stage != unit.stage]
    assert len(set(runs)) == len(runs)
    assert hierarchy.stages == tuple(runs)
    assert len({path for unit in units for path in unit.modules}) == sum(
        len(unit.modules) for unit in units
    )


@lru_cache(maxsize=32)
def _network(plugin: type[Backbone], architecture: str) -> Network:
    backbone = plugin()
    torch.manual_seed(0)
    module = backbone.build(architecture).eval()
    images = torch.randn(2, *backbone.preprocessing(module).input_size)
    return Network(architecture, module, backbone.hierarchy(architecture, module), images)


def _outside(module: nn.Module, head: Sequence[str]) -> set[str]:
    return {name for name, _ in module.named_parameters() if not under(name, head)}


@torch.no_grad()
def _outputs(module: nn.Module, paths: Iterable[str], images: Tensor) -> dict[str, object]:
    """What leaves the last call of each of the modules at ``paths``, and the network (``""``)."""
    outputs: dict[str, object] = {}
    with ExitStack() as hooks:
        for path in paths:
            child = module.get_submodule(path)
            note = child.register_forward_hook(
                lambda _, __, output, path=path: outputs.update({path: output})
            )
            hooks.enter_context(note)
        module.eval()(images)
    return outputs
