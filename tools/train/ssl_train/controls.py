"""What else the same work could have bought: other ways from the same baseline to as many multiply-accumulates.

Each control begins with the run's baseline and trains for as many epochs as sparsifying and fine-tuning took, on the
same images, and is measured as the run is.

- dense: nothing is removed;
- magnitude: the groups that were largest in the baseline, their counts in the layers in proportion to those that SSL
  kept, and so many in all that the work is no more;
- l1: in each layer, as many single weights as SSL kept, found by l1 instead of group Lasso, wherever they are;
- low-rank: each layer that SSL made smaller is factored by SVD, with the rank that costs as much as what SSL kept.
"""

import tempfile
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ssl_train import checkpoint, recipes
from ssl_train.errors import SslError
from ssl_train.export import export
from ssl_train.groups import WHOLE, Groups, GroupSpec
from ssl_train.masks import Masks
from ssl_train.pipeline import Run
from ssl_train.sparsify import specs_of
from ssl_train.sslm import Structure

CONTROLS = ("dense", "magnitude", "l1", "low-rank")

BENCH_RUNS = 1000
BISECTIONS = 7
"""Halvings of the interval of scales in which the magnitude control looks for equal work."""


def control(run: Run, name: str) -> dict:
    """Train one control of a finished run, in a folder within the run's, and add it to the run's `controls.json`."""
    run.load("finetune")
    other = Run(run.folder / name, run.recipe, run.data, run.seed, run.device, run.tools)
    other.start(resume=True, baseline=run.folder)
    other.load("baseline")
    epochs = sum(row["stage"] != "baseline" for row in run.rows)
    settings = replace(run.recipe.finetune, epochs=epochs)
    if name == "magnitude":
        other.masks = magnitude_within(other, run)
    elif name == "low-rank":
        shape = run.recipe.data.shape
        other.model = low_rank(other.model, run.tools.structure(run.model, shape)).to(memory_format=torch.channels_last)
    elif name == "l1":
        settings = run.recipe.finetune
        other.masks = l1(other, run.masks)
    if other.done("finetune"):
        other.load("finetune")
    else:
        other.masks.apply(other.model)
        other.train("finetune", settings)
    found = {"ssl": measure(run), name: measure(other)}
    path = run.folder / "controls.json"
    known = checkpoint.load_json(path) if path.exists() else {}
    checkpoint.save_json(path, known | found)
    return found


def measure(run: Run) -> dict:
    """Errors of the run's network, what is left of it, and the shortest of many runs."""
    structure = run.tools.structure(run.model, run.recipe.data.shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        export(run.model, path, run.recipe.data.shape)
        run.tools.convert(path, path.with_suffix(".sslm"))
        times = run.tools.bench(path.with_suffix(".sslm"), BENCH_RUNS)["run_ms"]
    return {
        **run.errors(),
        "epochs": sum(row["stage"] != "baseline" for row in run.rows),
        "macs": structure.macs,
        "nonzero_weights": weights_left(run.model, structure),
        "min_ms": times["min"],
    }


def weights_left(model: nn.Module, structure: Structure) -> int:
    """Weights that are not zero, without those of removed layers: one that a BatchNorm scales by zero has them still."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    removed = {name for name, layer in structure.layers.items() if layer.removed}
    return sum(int(layer.weight.count_nonzero()) for name, layer in layers.items() if name not in removed)


def magnitude_within(other: Run, run: Run) -> Masks:
    """The most of the largest groups of `other` that cost no more multiply-accumulates than what `run` kept."""
    shape, specs = run.recipe.data.shape, specs_of(run.recipe, run.model)
    allowed = run.tools.structure(run.model, shape).macs
    low, high, best = 0.0, 2.0, None
    # As many groups of each kind (scale 1, the first) are not as much work where one kind takes others along.
    for _ in range(BISECTIONS):
        scale = (low + high) / 2
        masks, trial = magnitude(other.model, specs, run.masks, scale), deepcopy(other.model)
        masks.apply(trial)
        if run.tools.structure(trial, shape).macs <= allowed:
            low, best = scale, masks
        else:
            high = scale
    if best is None:
        raise SslError("magnitude: one group of each kind costs more than what SSL kept")
    return best


@torch.no_grad()
def magnitude(model: nn.Module, specs: list[GroupSpec], kept: Masks, scale: float = 1.0) -> Masks:
    """`scale` times as many groups of each kind as `kept` has (at least one), those of the largest norm in `model`;
    layers compete with layers."""
    masks = Masks()
    bound = [Groups(model, spec) for spec in specs]
    layers = [groups for groups in bound if groups.spec.kind in WHOLE]
    layers.sort(key=lambda groups: float(groups.norms()) / groups.size**0.5, reverse=True)
    left = round(scale * sum(bool(kept[groups.spec.layer].any()) for groups in layers))
    for i, groups in enumerate(layers):
        masks.restrict(groups.spec.layer, groups.mask(torch.full_like(groups.norms(), i < left, dtype=torch.bool)))
    for groups in bound:
        if groups.spec.kind in WHOLE or groups.spec.layer not in kept:
            continue
        norms = groups.norms()
        count = round(scale * int(groups.kept(kept[groups.spec.layer]).sum()))
        alive = torch.zeros(norms.numel(), dtype=torch.bool, device=norms.device)
        alive[norms.flatten().topk(min(max(count, 1), len(alive))).indices] = True
        masks.restrict(groups.spec.layer, groups.mask(alive.view(norms.shape)))
    return masks


def l1(run: Run, kept: Masks) -> Masks:
    """Sparsify with l1 on the layers of `kept`, then keep as many of the largest weights."""
    if any(mask.ndim == 1 for mask in kept.values()):
        raise SslError("l1: the run's groups are scales of BatchNorm, which say nothing about single weights")
    counts = {layer: int(mask.sum()) for layer, mask in kept.items() if mask.any()}
    settings = run.recipe.sparsify
    single = replace(
        recipes.only_goal(run.recipe, None).sparsify,
        groups={"weight": 1.0},
        layers={"*": {"weight": 0.0}} | {layer: {"weight": 1.0} for layer in counts},
        keep={layer: {"weight": count} for layer, count in counts.items()},
        # A weight has a far smaller norm than the group that it is in.
        lambda_start=settings.lambda_start / 50,
        lambda_max=settings.lambda_max / 50,
        sqrt_size=False,
    )
    run.recipe = replace(run.recipe, sparsify=single)
    if run.done("sparsify"):
        run.load("sparsify")
    else:
        run.stage("sparsify")
    masks = Masks(run.masks)
    for layer, count in counts.items():
        weight = run.model.get_submodule(layer).weight
        alive = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
        alive[weight.detach().reshape(-1).abs().topk(count).indices] = True
        masks.restrict(layer, alive.view(weight.shape))
    return masks


@torch.no_grad()
def low_rank(model: nn.Module, structure: Structure) -> nn.Module:
    """`model` with each layer that the structure makes smaller as two: the original kernel with few filters, then 1x1."""
    model = deepcopy(model)
    for name, layer in structure.layers.items():
        after, before = layer.macs
        if after == before:
            continue
        module = model.get_submodule(name)
        if getattr(module, "groups", 1) != 1:
            raise SslError(f"low-rank: {name} is a grouped convolution; these are not factored")
        weight = module.weight.flatten(1)
        outputs, inputs = weight.shape
        rank = min(outputs, inputs, max(1, int(after / before * outputs * inputs / (outputs + inputs))))
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        root = s[:rank].sqrt()
        if isinstance(module, nn.Linear):
            first = nn.Linear(inputs, rank, bias=False)
            second = nn.Linear(rank, outputs, bias=module.bias is not None)
        else:
            geometry = (module.kernel_size, module.stride, module.padding, module.dilation)
            first = nn.Conv2d(module.in_channels, rank, *geometry, bias=False)
            second = nn.Conv2d(rank, outputs, 1, bias=module.bias is not None)
        first.weight.copy_((root[:, None] * v[:rank]).view(first.weight.shape))
        second.weight.copy_((u[:, :rank] * root).view(second.weight.shape))
        if module.bias is not None:
            second.bias.copy_(module.bias)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.Sequential(first, second).to(weight.device))
    return model
