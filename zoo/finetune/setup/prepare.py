"""Prepare a run: everything that can be refused is refused here, before anything is trained."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from statistics import median_low

import torch
from torch import nn

from zoo import plugins
from zoo.backbones.describe import unit_named
from zoo.backbones.freeze import freeze, trained_norms
from zoo.backbones.predict import guessed_preprocessing
from zoo.backbones.selected import lowest_unit
from zoo.backbones.taps import HEAD
from zoo.contracts import Head
from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import Hierarchy, under
from zoo.domain.phase import Phase
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import FOLLOWING, VIEWS_OF_NOTHING, Recipe
from zoo.domain.surgery import Surgery, adapted_preprocessing
from zoo.domain.task import Task
from zoo.errors import InvalidOption, Unsupported
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.dataset.images import sizes
from zoo.finetune.dataset.open import absolute, without_folders_above
from zoo.finetune.ranks.ranks import ALONE, Ranks
from zoo.finetune.setup.base import check_base, teacher_of
from zoo.finetune.setup.batch_size import fitting_batch
from zoo.finetune.setup.losses import make_loss
from zoo.finetune.setup.network import (
    Network,
    altered,
    make_network,
    usual_precision,
    with_drops,
    with_layer_scale,
)
from zoo.finetune.setup.optimizer import check_optimizer
from zoo.finetune.setup.seen import open_for
from zoo.finetune.setup.teacher import Teacher, check_teacher, make_teacher
from zoo.finetune.setup.tuned import tuned_names, with_adapters
from zoo.lookup.runs import CACHE
from zoo.store import Store
from zoo.workspace import Workspace

__all__ = [
    "COMPUTING",
    "LEAST",
    "PreparedRun",
    "paths_of",
    "prepare",
    "truncated",
    "warn_of_guess",
    "with_batch",
    "with_absolute_paths",
    "with_recipe",
]

COMPUTING = ("zoo-registry", "torch", "torchvision", "timm")
"""The libraries that images and numbers go through, whoever the network's plugin is from."""
LOG = logging.getLogger("zoo")
FEW = 2000
"""Training images up to which batch norms keep the statistics of the base by default."""
LOOKED_AT = 16
"""Images whose size tells that of most."""
STEP, SMALLEST = 32, 64
"""What sizes that are proposed are a multiple of, as strides of networks are; and the least."""
TURNED = ("cuda",)
"""Kinds of devices on which channels last is for weights, too."""
LEAST = 6
"""Fewest images that a probe is fitted on: two for each of its folds."""
TRACED = 8
"""Hierarchies that are kept."""
_traced: dict[tuple[object, ...], Hierarchy] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """A recipe met with its base and its data."""

    base: str  # the name, or digest, that the base was given by
    parent: Digest
    known: m.Manifest  # the base's manifest
    recipe: Recipe  # with nothing left to decide
    dataset: Dataset
    seen: int  # how many of the test images the base, or this run, is trained on or chosen by
    seen_by: str  # which of the two
    head: Head
    network: Network  # with the new head, on the device to train on
    hierarchy: Hierarchy
    loss: nn.Module  # from outputs (N, K) and targets to a scalar
    tuned: frozenset[str] | None  # names of all that is trained of units; None: all parameters
    device: torch.device
    ranks: Ranks = ALONE
    progress: Progress = silent
    teacher: Teacher | None = None  # whose outputs are learned, too

    @property
    def boundaries(self) -> tuple[int, ...]:
        """How many units each phase of the plan freezes; all below the first one that has a
        parameter that is trained.
        """
        return boundaries(self.recipe, self.hierarchy, self.tuned)

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        return self.network.model

    @property
    def units(self) -> int:
        """How many the network has."""
        return len(self.hierarchy.units)

    @property
    def task(self) -> Task:
        """What is learned."""
        return self.dataset.task

    @property
    def adapted(self) -> bool:
        """Whether adapters are trained beside weights that stay the base's."""
        return self.recipe.strategy == "lora"

    @property
    def lowest(self) -> int:
        """How many units no phase trains."""
        return min(self.boundaries, default=self.units)

    @property
    def last(self) -> int:
        """How many units the last phase freezes; all, where nothing is trained."""
        return self.boundaries[-1] if self.boundaries else self.units

    @property
    def phases(self) -> tuple[tuple[Phase, int], ...]:
        """The plan's phases, each with its boundary."""
        return tuple(zip(self.recipe.plan(), self.boundaries, strict=True))

    def freeze(self, boundary: int) -> None:
        """Freeze so many units, and the statistics of all batch norms where the recipe does."""
        kept = self.recipe.batch_norm in ("frozen", "recalibrated") or self.adapted
        freeze(self.model, self.hierarchy, boundary, statistics=kept, only=self.tuned)


def prepare(
    workspace: Workspace,
    base: str,
    recipe: Recipe,
    device: str,
    progress: Progress,
    ranks: Ranks = ALONE,
    known_as: str = "",
    folder: Path | None = None,
    again: bool = False,
    skip_alone: bool = False,
    finds_batch: bool = True,
) -> PreparedRun:
    """Load, read and check all that ``recipe`` needs; caches lie in ``folder``, or in the zoo.

    Done ``again``, it may say what has no effect: older recipes do not know all options. With
    ``skip_alone`` classes are left out that cannot be trained on (`open_dataset`). Unless it
    ``finds_batch``, a batch size that is open stays so until `with_batch`.
    """
    ref, parent = workspace.names.resolve(base)
    known, head = workspace.store.manifest(parent), plugins.head(recipe.head)
    recipe = _checked(workspace, known, recipe, device, sharded=ranks.sharded)
    name = known_as or str(ref or base)
    with ranks.main_first():  # one may have to download
        cache = folder or workspace.root / CACHE
        dataset, recipe, seen, seen_by = open_for(
            workspace, parent, name, recipe, cache, progress, skip_alone=skip_alone
        )
    recipe = with_absolute_paths(replace(recipe, task=dataset.task))
    planned = _planned(known, recipe, dataset.classes)
    network = make_network(workspace.store, parent, planned, head, recipe.seed)
    network = with_drops(with_layer_scale(network, head, recipe), head, recipe)
    recipe, hierarchy, tuned = _decided(recipe, network, dataset, device, again=again)
    prepared = PreparedRun(
        base=name,
        parent=parent,
        known=known,
        recipe=recipe,
        dataset=dataset,
        seen=seen,
        seen_by=seen_by,
        head=head,
        network=network,
        hierarchy=hierarchy,
        loss=make_loss(recipe, head, dataset, torch.device(device)),
        tuned=tuned,
        device=torch.device(device),
        ranks=ranks,
        progress=progress,
    )
    _check_effects(prepared)
    prepared = _with_remark(prepared, _small_images(prepared))
    prepared.model.to(device).to(memory_format=weights_layout(prepared))
    prepared = replace(prepared, teacher=_teacher(workspace.store, prepared))
    prepared = with_recipe(prepared, recipe)
    return with_batch(prepared) if finds_batch else prepared


def with_batch(prepared: PreparedRun) -> PreparedRun:
    """The same with a batch size, and a rate for it, where the recipe leaves that open; with the
    teacher in memory, which takes its share of that.
    """
    if prepared.recipe.batch_size != "auto":
        return prepared
    recipe, remark = fitting_batch(prepared)
    return with_recipe(_with_remark(prepared, remark), recipe)


def _checked(
    workspace: Workspace, known: m.Manifest, recipe: Recipe, device: str, *, sharded: bool
) -> Recipe:
    """The recipe, its teacher by its digest, as its name may move; refused where the base, the
    device or the processes cannot do what it says.
    """
    if recipe.teacher:
        recipe = replace(recipe, teacher=str(teacher_of(workspace, recipe.teacher)))
    check_optimizer(recipe, device, sharded=sharded)
    check_base(workspace, known, recipe)
    return recipe


def weights_layout(prepared: PreparedRun) -> torch.memory_format:
    """How weights of convolutions lie in memory: as images do, where that saves a GPU from turning
    them in each step. Not where processes share them (FSDP takes no others).
    """
    turned = prepared.recipe.channels_last and prepared.device.type in TURNED
    if turned and not prepared.ranks.sharded:
        return torch.channels_last
    return torch.preserve_format


def _decided(
    recipe: Recipe, network: Network, dataset: Dataset, device: str, *, again: bool
) -> tuple[Recipe, Hierarchy, frozenset[str] | None]:
    """The recipe with its strategy, precision and batch norms decided; the network's hierarchy,
    with adapters where it has them; the parameters that are trained, if not all above a boundary.
    """
    recipe = replace(recipe, strategy=_strategy(recipe, network, dataset))
    if recipe.precision == "auto":
        recipe = replace(recipe, precision=usual_precision(torch.device(device)))
    hierarchy = _hierarchy(network)
    if recipe.strategy == "lora":
        hierarchy = with_adapters(recipe, network.model, hierarchy)
    tuned = tuned_names(recipe, network, hierarchy)
    lowest = min(boundaries(recipe, hierarchy, tuned), default=len(hierarchy.units))
    images = len(dataset.train)
    norms = _batch_norm(recipe, network, hierarchy, lowest, images=images, again=again)
    return replace(recipe, batch_norm=norms), hierarchy, tuned


def _teacher(store: Store, prepared: PreparedRun) -> Teacher | None:
    recipe, dataset = prepared.recipe, prepared.dataset
    if not recipe.teacher:
        return None
    shown = prepared.network.planned.preprocessing
    digest = Digest.parse(recipe.teacher)
    columns = check_teacher(digest.short, store.manifest(digest), dataset.task, dataset.classes)
    return make_teacher(store, recipe.teacher, columns, shown, prepared.device, prepared.progress)


def boundaries(
    recipe: Recipe, hierarchy: Hierarchy, tuned: frozenset[str] | None
) -> tuple[int, ...]:
    """How many units each phase of the recipe's plan freezes."""
    lowest = 0 if tuned is None else lowest_unit(hierarchy, tuned)
    return tuple(max(hierarchy.boundary(phase.freeze), lowest) for phase in recipe.plan())


def _with_remark(prepared: PreparedRun, text: str) -> PreparedRun:
    remarks = (*prepared.dataset.remarks, *filter(None, [text]))
    return replace(prepared, dataset=replace(prepared.dataset, remarks=remarks))


def _small_images(prepared: PreparedRun) -> str:
    """What to say where most images are less than half as large as what the network gets; empty
    where they are not, or the recipe says how large.
    """
    train, size = prepared.dataset.train, max(prepared.known.preprocessing.input_size[1:])
    some = train[:: -(-len(train) // LOOKED_AT)]
    if prepared.recipe.image_size:
        return ""
    usual = int(median_low(sizes(prepared.dataset.images, [sample.key for sample in some])))
    less = max(SMALLEST, ceil(1.5 * usual / STEP) * STEP)
    if 2 * usual >= size or less >= size:
        return ""
    return (
        f"most images have at most {usual} pixels a side, and are enlarged to {size}: --image-size "
        f"{less} is about {(size / less) ** 2:.0f} times as fast, and may do as well"
    )


def with_recipe(prepared: PreparedRun, recipe: Recipe) -> PreparedRun:
    """The same with a ``recipe`` that decides more, which the result records without the folders of
    this machine.
    """
    named = {"data": without_folders_above(recipe.data), "root": Path(recipe.root).name}
    planned = replace(prepared.network.planned, recipe={**recipe.to_json(), **named})
    return replace(prepared, recipe=recipe, network=replace(prepared.network, planned=planned))


def warn_of_guess(prepared: PreparedRun) -> None:
    """Say that the base's preprocessing is a guess, but for what the recipe says itself."""
    stated = ("image_size",) if prepared.recipe.image_size else ()
    guess = guessed_preprocessing(prepared.known, *stated)
    if guess and prepared.ranks.is_main:
        LOG.warning("%s: %s", prepared.base, guess)


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """With absolute paths: the run records them, and a rerun may begin in another folder."""
    root = str(Path(recipe.root).expanduser().absolute()) if recipe.root else ""
    return replace(recipe, data=absolute(recipe.data), root=root)


def paths_of(root: Path, recipe: Recipe) -> list[Path]:
    """What trials read of this machine: the cache in ``root``, and so the zoo; and the images."""
    named = (absolute(recipe.data), recipe.root)
    return [
        root.absolute() / CACHE,
        *(Path(each) for each in named if each and Path(each).exists()),
    ]


def truncated(prepared: PreparedRun, units: Sequence[str]) -> PreparedRun:
    """The same with a network that ends after the last of ``units``, and a new head that gets the
    features of all of them; ``head`` is where the old one is.

    Raises:
        UnknownName, Unsupported: It has no such unit, or cannot be truncated there.
    """
    known = prepared.hierarchy.units
    names = [*(unit.name for unit in known), HEAD]
    depths = {
        len(known) if unit == HEAD else unit_named(prepared.hierarchy, unit) for unit in units
    }
    taps = tuple(names[depth] for depth in sorted(depths))
    if taps == (HEAD,):
        return prepared
    surgery = Surgery(taps=taps) if len(taps) > 1 else Surgery(truncate=taps[0])
    network = altered(prepared.network, prepared.head, prepared.recipe.seed, surgery)
    network.model.to(prepared.device)
    return replace(prepared, network=network, hierarchy=_hierarchy(network))


def _hierarchy(network: Network) -> Hierarchy:
    """Its hierarchy, traced once in a process: trials, folds and phases ask again for the same."""
    planned, model = network.planned, network.model
    built, size = planned.backbone, planned.preprocessing.input_size
    key = (
        built.plugin,
        plugins.backbone_version(built.plugin),  # another one once code is registered again
        built.architecture,
        json.dumps(built.options, sort_keys=True),
        size,
        tuple((name, type(part)) for name, part in model.named_modules()),
        tuple((name, weight.shape) for name, weight in model.named_parameters()),
    )
    hierarchy = _traced.get(key)
    if hierarchy is None:
        hierarchy = network.backbone.hierarchy(built.architecture, model, input_size=size)
        if len(_traced) >= TRACED:
            _traced.clear()
        _traced[key] = hierarchy
    return hierarchy


def _strategy(recipe: Recipe, network: Network, dataset: Dataset) -> str:
    """The recipe's, ``auto`` decided: a probe comes first where it can."""
    linear = all(isinstance(head, nn.Linear) for head in network.heads)
    if recipe.strategy == "auto":
        return "lp-ft" if linear and len(dataset.train) >= LEAST else "partial"
    if recipe.fits_head and not linear:
        raise Unsupported(
            f"the strategy {recipe.strategy} needs a linear head; for the head {recipe.head} of "
            f"{network.planned.backbone.architecture} there is partial"
        )
    return recipe.strategy


def _batch_norm(
    recipe: Recipe,
    network: Network,
    hierarchy: Hierarchy,
    lowest: int,
    *,
    images: int,
    again: bool,
) -> str:
    """The recipe's, ``auto`` decided; ``auto`` where no batch norm is trained.

    Raises:
        InvalidOption: None is, and it was asked for; not where it is done ``again``: older recipes
            say nothing of it.
    """
    asked = recipe.batch_norm
    if recipe.strategy != "lora" and trained_norms(network.model, hierarchy, lowest):
        usual = "frozen" if images <= FEW else "live"
        return usual if asked == "auto" else asked
    if asked != "auto" and not again:
        name = network.planned.backbone.architecture
        frozen = hierarchy.boundary_name(lowest)
        raise InvalidOption(
            f"batch norm {asked} has no effect: no batch norm of {name} is trained from {frozen} "
            "on; leave --batch-norm out, or freeze less"
        )
    return "auto"


def _check_effects(prepared: PreparedRun) -> None:
    """Refuse what this network and these images leave without effect."""
    recipe = prepared.recipe
    prepared.ranks.check(recipe, prepared.model)
    if recipe.compile and recipe.batch_norm == "synced":
        raise InvalidOption("synced batch norm is not compiled: leave one of the two out")
    planned = prepared.network.planned
    training_transform(
        planned.preprocessing, planned.backbone.plugin, recipe.augment, on=recipe.augment_on
    )
    if recipe.keep_examples and prepared.task != "classification":
        raise InvalidOption(f"examples are kept of classes, and not of {prepared.task}")
    if recipe.sampler == "balanced" and prepared.task != "classification":
        raise InvalidOption(f"the sampler balanced is for classes, and not for {prepared.task}")
    if recipe.views and not any(prepared.boundaries):
        raise InvalidOption(VIEWS_OF_NOTHING)
    if recipe.blend != "none" and not prepared.dataset.validation:
        raise InvalidOption("a blend is chosen on a validation split, and there is none")
    if recipe.patience and not prepared.dataset.validation:
        raise InvalidOption(
            "patience waits for a better result on a validation split, and there is none"
        )
    if recipe.layer_scale is not None and recipe.layer_scale != 1:
        _check_scales(prepared, recipe.layer_scale)
    if recipe.grad_checkpointing:
        _checkpoint(recipe, prepared.network, prepared.hierarchy, prepared.lowest)


def _check_scales(prepared: PreparedRun, scale: float) -> None:
    """Refuse layer scales that change a network where no phase trains it."""
    tensors = dict(prepared.model.named_parameters())
    for unit in prepared.hierarchy.units[: prepared.lowest]:
        if any(bool((tensors[name] == scale).all()) for name in unit.parameters):
            raise InvalidOption(
                f"layer scale {scale:g} would switch off most of {unit.name}, which is frozen: "
                "give 1, or train all units"
            )


def _checkpoint(recipe: Recipe, network: Network, hierarchy: Hierarchy, boundary: int) -> None:
    """Let the network compute activations again in the backward pass."""
    name, model = network.planned.backbone.architecture, network.model
    counting = trained_norms(model, hierarchy, boundary)
    units = hierarchy.units[boundary:]
    above = [unit.name for unit in units if any(under(path, unit.modules) for path in counting)]
    if above and recipe.batch_norm in FOLLOWING:
        # Their running statistics would move twice in each step.
        raise InvalidOption(
            f"no gradient checkpointing for {name} while its batch norm follows the batches: keep "
            f"its statistics (--batch-norm frozen), freeze it (--freeze {above[-1]}), or leave "
            "checkpointing out"
        )
    enable = getattr(model, "set_grad_checkpointing", None)
    try:
        if enable is None:
            raise NotImplementedError
        enable(True)
    except (AssertionError, NotImplementedError) as error:
        raise InvalidOption(f"{name} has no gradient checkpointing") from error


def _planned(base: m.Manifest, recipe: Recipe, classes: tuple[str, ...]) -> m.Manifest:
    preprocessing = base.preprocessing
    if size := recipe.image_size:
        preprocessing = adapted_preprocessing(preprocessing, (size, size), None)
    surgery = Surgery.parse(base.backbone.options)
    surgery = replace(surgery, num_classes=len(classes), lora=None)  # merged, where there was one
    return replace(
        base,
        head=m.Head(kind=recipe.head, num_classes=len(classes)),
        backbone=replace(base.backbone, options=surgery.to_options()),
        preprocessing=preprocessing,
        classes=classes,
        weights=(),
        # Terms of use go with the weights; the rest speaks of the base.
        files=tuple(f for f in base.files if f.name.upper().startswith(("LICENSE", "NOTICE"))),
    )
