"""From random weights to a pruned network, in four steps.

1. baseline: ordinary training.
2. sparsify: group Lasso on the convolutions; lambda rises geometrically to its
   final value and stays there. It is never lowered: that revives groups
   without gaining accuracy.
3. cut: groups that are small relative to their layer's largest go, at the
   boldest threshold that the validation split allows.
4. fine-tune: the masks are frozen and the penalty is gone.

Every choice is made on the validation split.
"""

import copy
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from ssl_train import structure
from ssl_train.data import Split, shift
from ssl_train.groups import CHANNEL, FILTER, SHAPE
from ssl_train.prox import SSL, Term


@dataclass(frozen=True)
class Recipe:
    """Every number that shapes a run; `ssl-train lenet --help` says what each is for."""

    seed: int = 1
    batch: int = 64
    momentum: float = 0.9
    shift: int = 2

    baseline_epochs: int = 12
    baseline_lr: float = 0.01
    baseline_weight_decay: float = 5e-4

    sparsify_lr: float = 0.01
    filter_strength: float = 1.0
    channel_strength: float = 0.1
    shape_strength: float = 0.3
    lambda_start: float = 0.002
    lambda_final: float = 0.03
    ramp_epochs: int = 12
    hold_epochs: int = 8

    cut_tolerance: float = 0.3

    finetune_epochs: int = 30
    finetune_lr: float = 0.01
    finetune_weight_decay: float = 5e-4

    def __post_init__(self):
        for name, value in asdict(self).items():
            least = 1 if name.endswith("epochs") or name == "batch" else 0
            if not value >= least:
                raise ValueError(f"{name}: expected at least {least}, found {value}")
        if self.momentum >= 1:
            raise ValueError(f"momentum: expected less than 1, found {self.momentum}")
        if not 0 < self.lambda_start <= self.lambda_final:
            raise ValueError(
                "lambda: expected 0 < lambda_start <= lambda_final, "
                f"found {self.lambda_start} and {self.lambda_final}"
            )


CUT_THRESHOLDS = [10 ** (exponent / 8) for exponent in range(-24, 0)]
"""Candidates, relative to the largest norm of the layer: 1e-3 to about 0.75."""


class TrainingError(Exception):
    """The run cannot produce a usable network."""


@torch.no_grad()
def evaluate(model: nn.Module, split: Split) -> float:
    """Top-1 error in percent."""
    model.eval()
    wrong = 0
    for start in range(0, len(split), 1000):
        chunk = slice(start, start + 1000)
        wrong += int((model(split.images[chunk]).argmax(1) != split.labels[chunk]).sum())
    return 100 * wrong / len(split)


def log(message: str) -> None:
    """Progress goes to stderr; stdout is for results."""
    print(message, file=sys.stderr, flush=True)


class Trainer:
    """Holds what all four steps share: the model, the data, the recipe and the randomness."""

    def __init__(self, model: nn.Module, training: Split, validation: Split, recipe: Recipe):
        self.model = model
        self.training = training
        self.validation = validation
        self.recipe = recipe
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.steps_per_epoch = len(training) // recipe.batch

    def _sgd(self, lr: float, weight_decay: float) -> torch.optim.SGD:
        """SGD that decays weights; biases, as in the paper's setup, are never decayed."""
        weights = [p for p in self.model.parameters() if p.dim() > 1]
        biases = [p for p in self.model.parameters() if p.dim() == 1]
        groups = [{"params": weights, "weight_decay": weight_decay}, {"params": biases}]
        return torch.optim.SGD(groups, lr, momentum=self.recipe.momentum)

    def _epochs(
        self,
        name: str,
        epochs: int,
        optimizer: torch.optim.SGD,
        rate: Callable[[float], float],
        after_step: Callable[[float], None] = lambda _: None,
        note: Callable[[], str] = lambda: "",
    ) -> None:
        """Train; `rate` and `after_step` receive the time in epochs since the phase began."""
        for epoch in range(epochs):
            began = time.monotonic()
            self.model.train()
            order = torch.randperm(len(self.training), generator=self.generator)
            total = torch.zeros(())
            for step in range(self.steps_per_epoch):
                now = epoch + step / self.steps_per_epoch
                for group in optimizer.param_groups:
                    group["lr"] = rate(now)
                chosen = order[step * self.recipe.batch : (step + 1) * self.recipe.batch]
                images = shift(self.training.images[chosen], self.recipe.shift, self.generator)
                images = images.contiguous(memory_format=torch.channels_last)
                loss = nn.functional.cross_entropy(self.model(images), self.training.labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                after_step(now)
                total += loss.detach()
            mean = total.item() / self.steps_per_epoch
            if not math.isfinite(mean):
                raise TrainingError(f"{name}, epoch {epoch + 1}: expected a finite loss, found {mean}")
            log(
                f"{name} {epoch + 1}/{epochs}  loss {mean:.4f}  "
                f"validation error {evaluate(self.model, self.validation):.2f} %  "
                f"{time.monotonic() - began:.0f} s{note()}"
            )

    def baseline(self) -> None:
        recipe = self.recipe
        optimizer = self._sgd(recipe.baseline_lr, recipe.baseline_weight_decay)
        epochs = recipe.baseline_epochs
        self._epochs("baseline", epochs, optimizer, lambda now: cosine(recipe.baseline_lr, now / epochs))

    def sparsify(self) -> list[dict]:
        """Group Lasso; returns lambda and the live structure at the end of every epoch."""
        recipe = self.recipe
        optimizer = self._sgd(recipe.sparsify_lr, 0.0)
        ssl = SSL(group_terms(self.model, recipe), optimizer)
        history = []
        lam = recipe.lambda_start

        def after_step(now: float) -> None:
            nonlocal lam
            lam = ramp(recipe.lambda_start, recipe.lambda_final, now / recipe.ramp_epochs)
            ssl.step(lam)

        def rate(now: float) -> float:
            return cosine(recipe.sparsify_lr, (now - recipe.ramp_epochs) / recipe.hold_epochs)

        def note() -> str:
            now, penalty = structure.live(self.model), ssl.penalty(lam)
            history.append({"lambda": lam, "penalty": penalty, "live": counts(now)})
            if dead := structure.collapsed(now):
                raise TrainingError(
                    f"sparsify: nothing is left of {', '.join(dead)} at lambda {lam:.4g}; "
                    "lower --lambda-final"
                )
            return f"  lambda {lam:.4g}  penalty {penalty:.4f}  {structure.describe(now)}"

        self._epochs(
            "sparsify", recipe.ramp_epochs + recipe.hold_epochs, optimizer, rate, after_step, note
        )
        return history

    def cut(self) -> tuple[float, structure.Structure]:
        """Cut the model; returns the relative threshold chosen and what is left."""
        uncut = evaluate(self.model, self.validation)
        threshold, kept = 0.0, structure.live(self.model)
        for candidate in CUT_THRESHOLDS:
            proposal = structure.live(self.model, candidate)
            trial = copy.deepcopy(self.model)
            structure.apply(trial, proposal)
            error = evaluate(trial, self.validation)
            log(f"cut at {candidate:.1e}  validation error {error:.2f} %  {structure.describe(proposal)}")
            if error > uncut + self.recipe.cut_tolerance:
                break
            threshold, kept = candidate, proposal
        structure.apply(self.model, kept)
        return threshold, kept

    def finetune(self, kept: structure.Structure) -> None:
        recipe = self.recipe
        optimizer = self._sgd(recipe.finetune_lr, recipe.finetune_weight_decay)
        epochs = recipe.finetune_epochs
        self._epochs(
            "fine-tune",
            epochs,
            optimizer,
            lambda now: cosine(recipe.finetune_lr, now / epochs),
            lambda _: structure.apply(self.model, kept),
        )


def group_terms(model: nn.Module, recipe: Recipe) -> list[Term]:
    """The groups of every convolution, the nested ones first (see `SSL`).

    A layer with a single input channel has no channel groups: its one group
    would be the whole layer.
    """
    terms = []
    for conv in structure.convolutions(model).values():
        terms.append(Term(conv.weight, SHAPE, recipe.shape_strength))
        if conv.in_channels > 1:
            terms.append(Term(conv.weight, CHANNEL, recipe.channel_strength))
        terms.append(Term(conv.weight, FILTER, recipe.filter_strength))
    return terms


def counts(kept: structure.Structure) -> dict:
    """Numbers of live filters and columns by convolution."""
    return {
        name: {"filters": int(k.filters.sum()), "columns": int(k.columns.sum())}
        for name, k in kept.items()
    }


def cosine(peak: float, progress: float) -> float:
    """From `peak` at 0 (and before) to zero at 1, along half a cosine."""
    return peak * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


def ramp(start: float, final: float, progress: float) -> float:
    """From `start` at 0 to `final` at 1 (and after), by a constant factor per unit of time."""
    return start * (final / start) ** min(progress, 1.0)
