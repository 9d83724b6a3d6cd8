"""Late entry: training from a cut gives the bits of training the whole network."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from fakes.sampled import sampled
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo import plugins
from zoo.backbones.extrapolate import CallOutputs
from zoo.backbones.from_cut import FromCut
from zoo.backbones.trace import trace
from zoo.domain.hierarchy import Hierarchy
from zoo.testing.from_cut import check_from_cut, train_from_cut

DIVERSE = (
    "test_byobnet",
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_nfnet",
    "test_resnet",
    "test_vit",
    "test_vit4",
    "test_vit_relpos",
)
QUICK = ("test_efficientnet",)


def built(architecture: str) -> tuple[nn.Module, Hierarchy]:
    """With dropout and drop-path wherever the network has a place for them."""
    torch.manual_seed(3)
    module = plugins.backbone("timm").build(architecture)
    for child in module.modules():
        if isinstance(child, nn.Dropout):
            child.p = 0.2
        elif type(child).__name__ == "DropPath":
            child.drop_prob = 0.2  # type: ignore[assignment]
    return module, plugins.backbone("timm").hierarchy(architecture, module)


@pytest.mark.long
@pytest.mark.parametrize("architecture", sampled(DIVERSE, ["test_vit"]))
def test_training_from_a_cut_gives_the_same_bits(architecture: str) -> None:
    module, hierarchy = built(architecture)
    images = torch.randn(5, *plugins.backbone("timm").preprocessing(module).input_size)
    assert len(check_from_cut(module, hierarchy, images)) >= 3


@pytest.mark.long
def test_what_is_dropped_above_the_cut_is_part_of_the_comparison() -> None:
    """Other random numbers give other bits, and so do other images."""
    module, hierarchy = built("test_vit")
    images = torch.randn(2, *plugins.backbone("timm").preprocessing(module).input_size)
    boundary = hierarchy.cut_below(3)
    found = [
        train_from_cut(module, hierarchy, boundary, images * scale, seed=seed)
        for scale, seed in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert found[0] == found[1]
    for other in found[2:]:
        for one, two in zip(found[0][:-1], other[:-1], strict=True):
            assert one["loss"] != two["loss"]


@pytest.mark.parametrize("architecture", sampled(DIVERSE, QUICK))
def test_few_images_tell_of_batches_of_all_sizes(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, hierarchy = built(architecture)
    module.eval()
    entry = FromCut(module, hierarchy, hierarchy.cut_below(len(hierarchy.units) // 2))
    seen, looked = FromCut._observed, list[int]()

    def observed(self: FromCut, few: Tensor) -> CallOutputs:
        looked.append(len(few))
        return seen(self, few)

    monkeypatch.setattr(FromCut, "_observed", observed)
    size = plugins.backbone("timm").preprocessing(module).input_size
    for count in (5, 8, 4, 5):
        images = torch.randn(count, *size)
        assert torch.equal(entry.forward(entry.record(images), images), module(images))
    assert looked == [2, 3]


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_efficientnet"])
def test_nothing_below_the_cut_is_computed(architecture: str) -> None:
    module, hierarchy = built(architecture)
    boundary = hierarchy.cut_below(len(hierarchy.units) // 2)
    images = torch.randn(2, *plugins.backbone("timm").preprocessing(module).input_size)
    module.eval()
    expected = module(images)
    entry = FromCut(module, hierarchy, boundary)
    recorded = entry.record(images)
    entry.forward(recorded, images)  # learns the shapes
    below = {p for unit in hierarchy.units[:boundary] for p in unit.parameters}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in below and parameter.dim() > 1:
                parameter.fill_(float("nan"))
    assert torch.equal(entry.forward(recorded, images), expected)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_vit"])
def test_the_head_can_be_entered(architecture: str) -> None:
    module, hierarchy = built(architecture)
    assert hierarchy.head.cut
    images = torch.randn(3, *plugins.backbone("timm").preprocessing(module).input_size)
    module.eval()
    entry = FromCut(module, hierarchy, len(hierarchy.units))
    recorded = entry.record(images)
    assert [tuple(value.shape) for value in recorded[0]] == [(3, module.num_features)]
    assert torch.equal(entry.forward(recorded, images * 0), module(images))


def test_a_distilled_pair_of_heads_is_entered_before_it() -> None:
    _, hierarchy = built("deit_tiny_distilled_patch16_224")
    assert len(hierarchy.head.modules) == 2
    assert not hierarchy.head.cut
    assert hierarchy.cut_below(len(hierarchy.units)) == len(hierarchy.units) - 1


class Squashed(nn.Module):
    """One activation between all of its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.squash = nn.Tanh()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = self.squash(block(x))
        outputs: Tensor = self.head(x.mean((2, 3)))
        return outputs


def test_a_module_may_serve_on_both_sides_of_the_cut() -> None:
    module = Squashed()
    hierarchy = trace("squashed", module, input_size=(3, 8, 8), head=("head",))
    assert hierarchy.units[2].cut
    assert any("squash" in unit.modules for unit in hierarchy.units[:2])
    images = torch.randn(2, 3, 8, 8)
    entry = FromCut(module, hierarchy, 2)
    assert torch.equal(entry.forward(entry.record(images), images * 0), module(images))


class Sized(nn.Module):
    """Gives its map and, like MViT's stages, the size of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, torch.Size]:
        features = self.conv(images)
        return features, features.shape[2:]


class AfterSized(nn.Module):
    """Goes on with both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Sized()
        self.second = nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features, (height, width) = self.first(images)
        output: Tensor = self.head(self.second(features[..., :height, :width]).mean((2, 3)))
        return output


def test_sizes_are_told_whatever_torch_takes_them_for() -> None:
    """It takes them for leaves until tracers are imported, and for sequences from then on."""
    importlib.import_module("torch.fx.experimental.proxy_tensor")
    module = AfterSized()
    hierarchy = trace("sized", module, input_size=(3, 8, 8), head=("head",))
    assert check_from_cut(module, hierarchy, torch.randn(5, 3, 8, 8)) == [1, 2]


def test_another_batch_size_may_follow() -> None:
    module, hierarchy = built("test_resnet")
    module.eval()
    boundary = hierarchy.cut_below(4)
    entry = FromCut(module, hierarchy, boundary)
    for count in (4, 1, 4):
        images = torch.randn(count, 3, 64, 64)
        assert torch.equal(entry.forward(entry.record(images), images), module(images))


@pytest.mark.parametrize(
    "architecture",
    sampled(["test_resnet", "test_vit", "test_vit_relpos"], ["test_resnet", "test_vit"]),
)
def test_three_images_tell_what_is_given_for_many(architecture: str) -> None:
    module, hierarchy = built(architecture)
    module.eval()
    boundary = hierarchy.cut_below(3)
    images = torch.randn(16, *plugins.backbone("timm").preprocessing(module).input_size)
    expected = module(images)
    entry = FromCut(module, hierarchy, boundary)
    recorded = entry.record(images)
    first = module.get_submodule(hierarchy.units[0].modules[0])
    seen: list[int] = []
    first.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    found = entry.forward(recorded, images)
    stubbed = len(images)
    assert torch.equal(found, expected)
    assert sorted(set(seen) - {stubbed}) == [2, 3]
    assert len(seen) <= 6  # both twice, and without computing anything


class Padded(nn.Module):
    """Runs its first step on a number of images that ``multiple`` divides, and does not forget it
    above.
    """

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.third = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        count = len(x)
        full = self.first(torch.cat([x, x.new_zeros(-count % self.multiple, *x.shape[1:])]))
        x = self.third(self.second(full[:count]))
        outputs: Tensor = self.head(x.mean((2, 3)))
        return outputs / len(full)


@pytest.mark.parametrize("multiple", [2, 3, 4, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
def test_more_images_are_run_where_few_do_not_tell(count: int, multiple: int) -> None:
    module = Padded(multiple)
    hierarchy = trace("padded", module, input_size=(3, 8, 8), head=("head",))
    images = torch.randn(count, 3, 8, 8)
    entry = FromCut(module, hierarchy, 2)
    assert torch.equal(entry.forward(entry.record(images), images * 0), module(images))


class Fussy(Squashed):
    """Takes no odd number of images."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) % 2:
            raise ValueError(len(x))
        return super().forward(x)


def test_a_network_need_not_take_few_images() -> None:
    module, odd = Fussy(), Squashed()
    odd.load_state_dict(module.state_dict())
    hierarchy = trace("squashed", odd, input_size=(3, 8, 8), head=("head",))
    images = torch.randn(8, 3, 8, 8)
    entry = FromCut(module, hierarchy, 2)
    assert torch.equal(entry.forward(entry.record(images), images * 0), module(images))


@pytest.mark.long
def test_learning_holds_no_large_batch() -> None:
    """What lies below never takes the memory of all images while it is learned."""
    module, hierarchy = built("test_resnet")
    module.eval()
    images = torch.randn(64, *plugins.backbone("timm").preprocessing(module).input_size)
    entry = FromCut(module, hierarchy, hierarchy.cut_below(3))
    recorded = entry.record(images)
    unit = hierarchy.units[0].shape
    assert unit is not None
    row = torch.Size(unit).numel() * torch.float32.itemsize
    largest = Largest()  # type: ignore[no-untyped-call]
    with largest:
        entry._learn(recorded, images.new_zeros(()).expand(images.shape))
    assert row < largest.nbytes < len(images) / 4 * row


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees how large the largest tensor is that anything gives."""

    nbytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.nbytes = max(self.nbytes, leaf.untyped_storage().nbytes())
        return result


def test_the_network_is_left_as_it_was() -> None:
    module, hierarchy = built("test_vit")
    images = torch.randn(2, 3, 160, 160)
    before = {child: set(child.__dict__) for child in module.modules()}
    entry = FromCut(module, hierarchy, 2)
    entry.forward(entry.record(images), images)
    assert {child: set(child.__dict__) for child in module.modules()} == before
    assert not any(child._forward_pre_hooks or child._forward_hooks for child in module.modules())


@pytest.mark.parametrize(
    "architecture", sampled(["test_resnet", "test_convnext", "test_vit"], ["test_vit"])
)
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch hides it, where it may
@pytest.mark.long
def test_units_above_may_be_compiled(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself, whatever the number of images; only where it runs from the cut."""
    graphs: list[int] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(1)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: real(f, backend=backend))
    torch.compiler.reset()
    module, hierarchy = plain(architecture)
    plainly = FromCut(module, hierarchy, hierarchy.cut_below(len(hierarchy.units) - 2))
    compiled = plainly.compiled()
    images = torch.randn(6, *plugins.backbone("timm").preprocessing(module).input_size)
    seen = []
    for count in (6, 4, 6, 5):
        inputs = plainly.record(images[:count])
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
            one, other = (each.forward(inputs, images[:count]) for each in (plainly, compiled))
        assert torch.allclose(one, other, atol=1e-5)
        seen.append(len(graphs))
        hooked: list[Any] = []
        with module.get_submodule(hierarchy.units[-1].modules[0]).register_forward_hook(
            lambda _, __, output: hooked.append(output)  # noqa: B023
        ):
            compiled.forward(inputs, images[:count])
        assert len(hooked) == 1
    assert 0 < seen[0] < seen[1] == seen[3]  # the number of images is one case, or any
    module(images)
    assert len(graphs) == seen[3]
    assert not any("forward" in vars(child) for child in module.modules())


def plain(architecture: str) -> tuple[nn.Module, Hierarchy]:
    """In eval mode."""
    module, hierarchy = built(architecture)
    return module.eval(), hierarchy
