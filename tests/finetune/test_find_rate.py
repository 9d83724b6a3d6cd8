"""The search for a learning rate leaves everything as it was."""

from __future__ import annotations

from pathlib import Path

import torch

from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.finetune.feeds import image_feeds
from zoo.finetune.find_rate import find_rate
from zoo.finetune.losses import make_loss
from zoo.finetune.prepare import prepare
from zoo.finetune.training import make_learner
from zoo.workspace import Workspace


def test_nothing_is_touched(workspace: Workspace, base: str, shapes: Path) -> None:
    recipe = Recipe(data=str(shapes), strategy="partial", batch_size=8, image_size=32, lr=0.01)
    prepared = prepare(workspace, base, recipe, "cpu", silent)
    feeds = image_feeds(prepared)
    learner = make_learner(prepared, recipe.plan()[0], 0, make_loss(prepared), len(feeds.train))
    before = {n: v.clone() for n, v in prepared.model.state_dict().items()}
    groups = [dict(group, params=None) for group in learner.optimizer.param_groups]
    random = torch.random.get_rng_state()
    curve = find_rate(learner, feeds.train, silent, steps=60)
    after = prepared.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [dict(g, params=None) for g in learner.optimizer.param_groups] == groups
    assert not learner.optimizer.state_dict()["state"]
    assert torch.equal(torch.random.get_rng_state(), random)
    assert list(curve.rates) == sorted(curve.rates)
    assert curve.rates[0] < curve.suggestion < 1
    assert min(curve.losses) < curve.losses[0]
    assert curve.scaled(10).suggestion == curve.suggestion * 10
