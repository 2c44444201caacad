"""Pictures of a run: what became small, what was kept, and what it cost."""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

from ssl_train.checkpoint import write
from ssl_train.ssl import NEGLIGIBLE, SSL

FLOOR = 1e-5
"""Relative norms below this, zeros included, share the first bar."""


def _save(figure: Figure, path: Path) -> None:
    write(path, lambda file: figure.savefig(file, format="png", dpi=100))


def norms(path: Path, ssl: SSL) -> None:
    """Histograms of relative group norms, one for each family."""
    count = len(ssl.groups)
    columns = min(4, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 2.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    bins = torch.logspace(-5, 0, 41).tolist()
    for axis, groups, values in zip(axes.flat, ssl.groups, ssl.relative_norms()):
        axis.hist(values.flatten().clamp(FLOOR, 1).cpu().numpy(), bins)
        axis.axvline(NEGLIGIBLE, color="0.5", linewidth=1)
        axis.set_xscale("log")
        axis.set_title(f"{groups.spec.layer} {groups.spec.kind}s", fontsize=9)
    figure.supxlabel("norm, of the family's largest (first bar: smaller or zero)", fontsize=9)
    _save(figure, path)


def filters(path: Path, model: nn.Module) -> None:
    """The filters of the first convolution that are not all zero; weights of zero are white, channels averaged."""
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        return
    weight = first.weight.detach().cpu().mean(1)
    kept = [w for w in weight if w.any()]
    if not kept:
        return
    columns = min(8, len(kept))
    rows = -(-len(kept) // columns)
    figure = Figure(figsize=(1.2 * columns, 1.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, w in zip(axes.flat, kept):
        most = float(w.abs().max())
        axis.imshow(w.numpy(), cmap="RdBu", vmin=-most, vmax=most)
    _save(figure, path)


def course(path: Path, rows: list[dict]) -> None:
    """Validation error against what is left of the multiply-accumulates, while lambda rose."""
    points = [(row["macs"], row["validation_error"]) for row in rows if "macs" in row]
    if not points:
        return
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(
        [100 * macs for macs, _ in points], [error for _, error in points], marker=".", label="while lambda rises"
    )
    for stage, style in (("baseline", "--"), ("finetune", "-")):
        last = [row["validation_error"] for row in rows if row["stage"] == stage]
        if last:
            axis.axhline(last[-1], linestyle=style, color="0.5", linewidth=1, label=f"after {stage}")
    axis.set_xlabel("multiply-accumulates left, %")
    axis.set_ylabel("validation error, %")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("{x:g}")
    axis.tick_params(axis="x", which="minor", labelsize=7)
    axis.legend(fontsize=8)
    _save(figure, path)
