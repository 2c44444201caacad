"""The loop that all stages share: epochs of SGD on augmented images, and errors on a split."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ssl_train.data import Data, Split
from ssl_train.data.batches import Normalisation, augment, batches, centre
from ssl_train.errors import SslError
from ssl_train.progress import bar
from ssl_train.recipes import Recipe

EVALUATION_BATCH = 500


@dataclass
class Epoch:
    """How one went."""

    loss: float
    """Mean over the images that were seen."""
    error: float
    """Of the augmented images, in percent, while it trained."""
    finished: bool
    """Whether `after_step` said so."""


class Trainer:
    """The data, the way to the network, and the randomness of a run."""

    def __init__(self, recipe: Recipe, data: Data, device: torch.device, seed: int):
        self.recipe = recipe
        self.data = data
        self.device = device
        self.generator = torch.Generator().manual_seed(seed)
        settings = recipe.data
        self.normalise = Normalisation(settings.scale, settings.mean, settings.std)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.data.train) / self.recipe.optimizer.batch)

    def _input(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.normalise(pixels).to(self.device, memory_format=torch.channels_last)

    def sgd(self, model: nn.Module, lr: float, weight_decay: float) -> torch.optim.SGD:
        """SGD that decays weights; biases and BatchNorm are never decayed."""
        weights = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() <= 1]
        groups = [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.SGD(groups, lr, momentum=self.recipe.optimizer.momentum)

    def epoch(
        self,
        title: str,
        index: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        rate: Callable[[float], float],
        after_step: Callable[[float], bool],
        live: Callable[[], str],
    ) -> Epoch:
        """Train once over all images, or until `after_step` returns true. `live` says what is left of the network.

        `rate` gives the learning rate; both get the time in epochs, of which `index` are over at the beginning.
        """
        model.train()
        settings, (_, height, width) = self.recipe.data, self.recipe.data.shape
        order = torch.randperm(len(self.data.train), generator=self.generator)
        total, wrong = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        seen, finished = 0, False
        with bar(self.steps_per_epoch, title) as shown:
            for step, (pixels, labels) in enumerate(batches(self.data.train, order, self.recipe.optimizer.batch)):
                for group in optimizer.param_groups:
                    group["lr"] = rate(index + step / self.steps_per_epoch)
                pixels = augment(pixels, height, width, settings.shift, settings.flip, self.generator)
                labels = labels.to(self.device)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.optimizer.amp):
                    logits = model(self._input(pixels))
                    loss = nn.functional.cross_entropy(logits, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                finished = after_step(index + (step + 1) / self.steps_per_epoch)
                total += loss.detach() * len(labels)
                wrong += (logits.argmax(1) != labels).sum()
                seen += len(labels)
                shown.update()
                if not shown.disable and step % 20 == 0:
                    right = 100 - 100 * wrong.item() / seen
                    shown.set_postfix_str(f"loss {total.item() / seen:.4f}, accuracy {right:.1f} %  {live()}")
                if finished:
                    break
        mean = total.item() / seen
        if not math.isfinite(mean):
            raise SslError(f"{title}: expected a finite loss, found {mean}; a lower learning rate may help")
        return Epoch(mean, 100 * wrong.item() / seen, finished)

    @torch.no_grad()
    def error(self, model: nn.Module, split: Split) -> float:
        """Top-1 error in percent, in float32."""
        model.eval()
        _, height, width = self.recipe.data.shape
        wrong = 0
        for pixels, labels in batches(split, torch.arange(len(split)), EVALUATION_BATCH):
            found = model(self._input(centre(pixels, height, width))).argmax(1)
            wrong += int((found != labels.to(self.device)).sum())
        return 100 * wrong / len(split)
