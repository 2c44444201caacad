"""The stage that makes groups vanish: lambda rises until a goal is reached."""

from copy import deepcopy

import torch
from torch import nn

from ssl_train import cost, schedule
from ssl_train.errors import SslError
from ssl_train.groups import WHOLE, group_specs
from ssl_train.recipes import Recipe
from ssl_train.ssl import SSL
from ssl_train.sslm import Structure, Tools

CHECKS_PER_EPOCH = 4
"""How often goals are compared with what `ssl-convert` finds, besides whenever fewer whole layers are alive than ever before: they
fall one soon after the other."""


def specs_of(recipe: Recipe, model: nn.Module):
    """The recipe's groups."""
    settings = recipe.sparsify
    return group_specs(model, settings.groups, settings.layers, settings.keep, settings.sqrt_size, settings.reweighted)


class Sparsifier:
    """Lambda and the goals, step by step."""

    def __init__(self, recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer, tools: Tools):
        self.settings = recipe.sparsify
        self.shape = recipe.data.shape
        self.model = model
        self.tools = tools
        self.ssl = SSL(model, specs_of(recipe, model), optimizer)
        if not self.ssl.groups:
            raise SslError("sparsify: the recipe's groups fit no layer of the model")
        self.last_check = 0.0
        self.fewest_layers = self.ssl.live_layers()
        """At any time so far."""
        self.best = None
        """State of the model and of `ssl` before `max_drop` was spent."""
        self.costs = None
        if self.settings.target_speedup is not None:
            self.costs = cost.measure(model, self.shape, tools)

    def state(self) -> dict:
        return {
            "ssl": self.ssl.state_dict(),
            "last_check": self.last_check,
            "fewest_layers": self.fewest_layers,
            "best": self.best,
        }

    def load(self, state: dict) -> None:
        self.ssl.load_state_dict(state["ssl"])
        self.last_check, self.fewest_layers, self.best = state["last_check"], state["fewest_layers"], state["best"]

    def after_step(self, now: float) -> bool:
        """The proximal step at `now` (epochs since the stage began); whether the goal is reached."""
        settings = self.settings
        self.ssl.lam = schedule.ramp(settings.lambda_start, settings.lambda_growth, settings.lambda_max, now)
        self.ssl.step()
        if settings.keep and all(g.spec in self.ssl.settled for g in self.ssl.groups if g.spec.keep):
            return True
        if settings.needs_structure and (self._layer_fell() or now - self.last_check >= 1 / CHECKS_PER_EPOCH):
            self.last_check = now
            return self.reached(self.structure())
        return False

    def _layer_fell(self) -> bool:
        """Whether fewer whole layers are alive than ever before."""
        alive, fewest = self.ssl.live_layers(), self.fewest_layers
        self.fewest_layers = min(alive, fewest)
        return alive < fewest

    def structure(self) -> Structure:
        """What would be left without the groups that are negligible now."""
        trial = deepcopy(self.model)
        self.ssl.live_masks().apply(trial)
        return self.tools.structure(trial, self.shape)

    def describe(self) -> str:
        """Lambda and the groups that are alive."""
        counts = self.ssl.counts()
        parts = [f"{spec.layer} {n} {spec.kind}s" for spec, n in counts.items() if spec.kind not in WHOLE]
        layers = sum(spec.kind in WHOLE for spec in counts)
        if layers:
            parts.append(f"{self.ssl.live_layers()} of {layers} layers")
        return f"lambda {self.ssl.lam:.2e}: {', '.join(parts)}"

    def reached(self, structure: Structure) -> bool:
        """Whether any of the goals that speak of the whole structure is."""
        settings = self.settings
        return (
            (settings.target_macs is not None and structure.macs_fraction <= settings.target_macs)
            or (settings.remove_layers is not None and structure.removed_layers >= settings.remove_layers)
            or (self.costs is not None and self.costs.speedup(structure) >= settings.target_speedup)
        )

    def after_epoch(self, drop: float) -> bool:
        """Given the validation error beyond the baseline's, in percentage points: whether it is spent. Then the model
        is as it was when it was not."""
        if self.settings.max_drop is None:
            self._expect_something_left()
            return False
        if drop <= self.settings.max_drop:
            self.best = deepcopy({"model": self.model.state_dict(), "ssl": self.ssl.state_dict()})
            return False
        if self.best is None:
            raise SslError(
                f"sparsify: the first epoch already costs {drop:.2f} points of accuracy, more than max_drop "
                f"{self.settings.max_drop}: lower sparsify.lambda_start"
            )
        self.model.load_state_dict(self.best["model"])
        self.ssl.load_state_dict(self.best["ssl"])
        return True

    def _expect_something_left(self) -> None:
        for layer in {g.spec.layer for g in self.ssl.groups if g.spec.kind not in WHOLE}:
            if not self.model.get_submodule(layer).weight.any():
                raise SslError(
                    f"sparsify: nothing is left of {layer} at lambda {self.ssl.lam:.3g}: lower sparsify.lambda_growth, "
                    f"set sparsify.keep for the layer, or give it a smaller factor in sparsify.layers"
                )
