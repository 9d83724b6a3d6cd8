"""The training loop: exact losses of a toy run, accumulation, clipping, divergence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from fakes.products import products
from torch import nn

from zoo.backbones.freeze import freeze
from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit
from zoo.domain.recipe import Recipe
from zoo.errors import Diverged
from zoo.finetune.features.loaders import Batch
from zoo.finetune.loop.evaluate import predict
from zoo.finetune.loop.learner import Learner
from zoo.finetune.loop.train import learn, read
from zoo.finetune.ranks.ranks import Ranks
from zoo.finetune.setup.optimizer import make_optimizer, parameter_groups, schedule
from zoo.finetune.setup.teacher import distillation_loss

GOLDEN = (
    1.471045970916748, 0.8731448650360107, 0.7383185625076294,
    0.31768909096717834, 0.21963581442832947, 0.2618608772754669,
    0.13353270292282104, 0.1248258575797081, 0.18692979216575623,
)  # fmt: skip
"""Three epochs of three steps each, torch 2.14 on x86. Adam's first steps are as long for the
smallest gradients, so that their rounding shows in the fourth digit."""


def recipe(**options: Any) -> Recipe:
    given = {
        "strategy": "partial", "lr": 0.01, "backbone_lr_ratio": 0.1, "weight_decay": 0.05,
        "epochs": 3, "layer_decay": 1.0,
    }  # fmt: skip
    return Recipe(data="", **{**given, **options})


def images(count: int) -> torch.Tensor:
    """Brighter in the channel of their class, the same on every machine."""
    labels = torch.arange(count) % 3
    grid = torch.linspace(-1, 1, 32)
    made = (grid[:, None] * grid).expand(count, 3, 32, 32).clone()
    made[torch.arange(count), labels] += torch.linspace(0.5, 1.5, count)[:, None, None]
    return made


def batches(count: int = 12, size: int = 4) -> Iterator[Batch]:
    for part in torch.split(torch.arange(count), size):
        yield Batch(images(count)[part], part % 3, len(part))


def learner(model: nn.Module, hierarchy: Hierarchy, how: Recipe, steps: int = 9) -> Learner:
    phase = how.plan()[0]
    optimizer = make_optimizer(parameter_groups(model, hierarchy, phase, how), how)
    rates = schedule(optimizer, steps, how)
    return Learner(model, optimizer, rates, nn.CrossEntropyLoss(), how, phase)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_golden_losses(model: nn.Module, hierarchy: Hierarchy) -> None:
    freeze(model, hierarchy, 3)
    how = learner(model, hierarchy, recipe())
    losses = [float(step.loss) for _ in range(3) for step in learn(how, batches(), model)]
    assert losses == pytest.approx(GOLDEN, rel=1e-3)


def test_a_training_that_diverges_stops(model: nn.Module, hierarchy: Hierarchy) -> None:
    how = learner(model, hierarchy, recipe(lr=1e30))
    endless = (batch for _ in range(50) for batch in batches())
    with pytest.raises(Diverged) as caught:
        read(how, list(learn(how, endless, model)))
    assert (caught.value.lr, caught.value.phase) == (1e30, "")
    assert caught.value.step == 2  # the first step moves the weights


@pytest.mark.long
def test_the_rate_of_a_phase_that_diverges_is_told(model: nn.Module, hierarchy: Hierarchy) -> None:
    how = Recipe(data="", strategy="gradual", phases=("none:3@1e30",))
    endless = (batch for _ in range(50) for batch in batches())
    made = learner(model, hierarchy, how)
    with pytest.raises(Diverged) as caught:
        read(made, list(learn(made, endless, model)))
    assert (caught.value.lr, caught.value.phase) == (1e30, "none:3")


def test_the_rate_of_a_step_is_the_heads(model: nn.Module, hierarchy: Hierarchy) -> None:
    """Also where the backbone's is higher."""
    made = learner(model, hierarchy, recipe(backbone_lr_ratio=10.0, warmup=0.5))
    (head,) = {
        at for at, group in enumerate(made.optimizer.param_groups)
        if any(value is model.get_parameter("fc.weight") for value in group["params"])
    }  # fmt: skip
    actual = []

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        actual.append(made.optimizer.param_groups[head]["lr"])
        outputs: torch.Tensor = model(inputs)
        return outputs

    assert [step.lr for step in learn(made, batches(), forward)] == actual
    assert len(set(actual)) == 3
    assert max(actual) <= 0.01


def test_gradients_are_summed_in_the_last_batch_of_a_step(
    model: nn.Module, hierarchy: Hierarchy
) -> None:
    """Those of what is trained, as the network has it, whatever rates there are."""
    asked: list[tuple[list[nn.Parameter], bool]] = []

    class Noted(Ranks):
        def summing(
            self, parameters: Sequence[nn.Parameter], *, early: bool
        ) -> AbstractContextManager[object]:
            asked.append((list(parameters), early))
            return nullcontext()

    freeze(model, hierarchy, 3)
    trained = [each for each in model.parameters() if each.requires_grad]
    for options, early in (({}, True), ({"grad_checkpointing": True}, False)):
        how = replace(learner(model, hierarchy, recipe(accumulate=2, **options)), ranks=Noted())
        assert [id(each) for each in how.parameters] != [id(each) for each in trained]
        assert len(list(learn(how, batches(), model))) == len(asked) == 2
        for parameters, said in asked:
            assert [id(each) for each in parameters] == [id(each) for each in trained]
            assert said == early
        asked.clear()


def test_training_leaves_what_is_frozen(model: nn.Module, hierarchy: Hierarchy) -> None:
    freeze(model, hierarchy, 4)
    before = weights(model)
    list(learn(learner(model, hierarchy, recipe(schedule="constant")), batches(), model))
    after = model.state_dict()
    for unit in hierarchy.units[:4]:
        for name in (*unit.parameters, *unit.buffers):
            assert torch.equal(before[name], after[name]), name
    parts: list[Unit | HeadPart] = [*hierarchy.units[4:], hierarchy.head]
    for part in parts:
        for name in (*part.parameters, *part.buffers):
            assert not torch.equal(before[name], after[name]), name


def test_accumulated_batches_step_like_one(model: nn.Module, hierarchy: Hierarchy) -> None:
    """With batch norm frozen, gradients of parts add up to that of the whole."""
    found = []
    start = weights(model)
    for size, accumulate in ((12, 1), (4, 3), (4, 8)):
        model.load_state_dict(start)
        freeze(model, hierarchy, 7)
        how = learner(model, hierarchy, recipe(accumulate=accumulate, schedule="constant"))
        steps = list(learn(how, batches(size=size), model))
        assert [(step.images, step.batches) for step in steps] == [(12, 12 // size)]
        found.append(model.get_parameter("fc.weight").detach().clone())
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert torch.equal(found[1], found[2])  # what is left over at the end of an epoch counts whole
    assert not torch.equal(found[0], start["fc.weight"])


def test_what_a_teacher_does_not_count_the_images_do(
    model: nn.Module, hierarchy: Hierarchy
) -> None:
    draw = torch.Generator().manual_seed(0)
    outputs, taught = torch.randn(2, 4, 3, generator=draw)
    how = recipe(task="classification", teacher="x", distill_weight=0.3, distill_temperature=4.0)
    targets = torch.arange(4) % 3
    batch = Batch(images(4), targets, 4, taught)
    (step,) = learn(learner(model, hierarchy, how), [batch], lambda _: outputs.requires_grad_())
    far = distillation_loss(outputs, taught, "classification", 4.0)
    expected = 0.7 * nn.functional.cross_entropy(outputs, targets) + 0.3 * far
    assert float(step.loss) == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize("weight", [None, (0.5, 1.0, 4.0)])
@pytest.mark.parametrize(("count", "size"), [(12, 6), (9, 8)])
def test_each_image_counts_as_in_one_batch(
    model: nn.Module, hierarchy: Hierarchy, weight: tuple[float, ...] | None, count: int, size: int
) -> None:
    """Whatever batch it is in: a short last one, or one whose classes weigh less."""
    found, losses, start = [], [], weights(model)
    for batch, accumulate in ((count, 1), (size, 2)):
        model.load_state_dict(start)
        freeze(model, hierarchy, 7)
        how = recipe(accumulate=accumulate, schedule="constant", optimizer="sgd", weight_decay=0.0)
        loss = nn.CrossEntropyLoss(torch.tensor(weight) if weight else None)
        made = replace(learner(model, hierarchy, how), loss=loss)
        losses += [float(step.loss) for step in learn(made, skewed(count, batch), model)]
        found.append(model.get_parameter("fc.weight").detach() - start["fc.weight"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-7)
    assert found[0].any()


def skewed(count: int, size: int) -> Iterator[Batch]:
    """Batches whose classes are not as common in one as in another."""
    labels = torch.arange(count) * 3 // count
    for part in torch.split(torch.arange(count), size):
        yield Batch(images(count)[part], labels[part], len(part))


def test_gradients_are_clipped(model: nn.Module, hierarchy: Hierarchy) -> None:
    how = recipe(clip_norm=1e-3, optimizer="sgd", lr=1.0, backbone_lr_ratio=1.0,
                 weight_decay=0.0, schedule="constant", warmup=0.0)  # fmt: skip
    made = learner(model, hierarchy, how)
    for group in made.optimizer.param_groups:
        group["momentum"], group["nesterov"] = 0.0, False
    before = [p.detach().clone() for p in model.parameters()]
    next(learn(made, batches(), model))
    moved = torch.stack(
        [(p.detach() - b).norm() for p, b in zip(model.parameters(), before, strict=True)]
    )
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.long)])
def test_half_precision_trains_float32_weights(
    model: nn.Module, hierarchy: Hierarchy, precision: str
) -> None:
    dtypes = []

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = model(inputs)
        dtypes.append(said.dtype)
        return said

    before = weights(model)
    steps = list(learn(learner(model, hierarchy, recipe(precision=precision)), batches(), forward))
    assert all(torch.isfinite(step.loss) for step in steps)
    assert set(dtypes) == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert model.get_parameter("fc.weight").dtype == torch.float32
    assert not torch.equal(before["fc.weight"], model.get_parameter("fc.weight"))


def test_forward_and_backward_take_the_same_products(
    model: nn.Module, hierarchy: Hierarchy
) -> None:
    taken = dict[str, tuple[str, ...]]()

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        taken["forward"] = products()
        said: torch.Tensor = model(inputs)
        said.register_hook(  # type: ignore[no-untyped-call]
            lambda _: taken.update(backward=products())
        )
        return said

    next(learn(learner(model, hierarchy, recipe(precision="tf32")), batches(), forward))
    assert taken == {"forward": ("tf32", "tf32"), "backward": ("tf32", "tf32")}


def test_the_scale_of_gradients_is_restored(model: nn.Module, hierarchy: Hierarchy) -> None:
    how = recipe(precision="fp16")
    made, again = (learner(model, hierarchy, how) for _ in range(2))
    list(learn(made, batches(), model))
    kept = made.scaler.state_dict()
    assert again.scaler.state_dict() != kept
    again.load_state_dict(made.state_dict())
    assert again.scaler.state_dict() == kept


def test_outputs_are_in_eval_mode_and_in_order(model: nn.Module) -> None:
    model.train()
    said, targets = predict(model, batches(10), model)
    assert said.shape == (10, 3)
    assert not said.requires_grad
    assert torch.equal(targets, torch.arange(10) % 3)
    with torch.no_grad():
        assert torch.allclose(said, model.eval()(images(10)), atol=1e-6)
