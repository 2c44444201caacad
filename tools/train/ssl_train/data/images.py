"""Images and labels of one split, as the training loop sees them."""

from dataclasses import dataclass
from typing import Protocol

import torch


class Images(Protocol):
    """Images of one size, by index."""

    shape: tuple[int, int, int]
    """Channels, height, width."""
    ready: bool
    """Whether they lie in memory; others are worth fetching ahead."""

    def fetch(self, indices: torch.Tensor) -> torch.Tensor:
        """uint8 [n, *shape]"""


class InMemory:
    """Images that were read at once."""

    ready = True

    def __init__(self, pixels: torch.Tensor):
        """`pixels`: uint8 [n, channels, height, width]."""
        self.pixels = pixels
        self.shape = tuple(pixels.shape[1:])

    def fetch(self, indices: torch.Tensor) -> torch.Tensor:
        return self.pixels[indices]


@dataclass(frozen=True)
class Split:
    """Some of the images, with their classes."""

    images: Images
    indices: torch.Tensor
    """int64 [n]: which of the images"""
    labels: torch.Tensor
    """int64 [n]"""

    @classmethod
    def all(cls, images: Images, labels: torch.Tensor) -> "Split":
        return cls(images, torch.arange(len(labels)), labels)

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, chosen: torch.Tensor) -> "Split":
        return Split(self.images, self.indices[chosen], self.labels[chosen])

    def fetch(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images uint8 [n, channels, height, width] and labels int64 [n]."""
        return self.images.fetch(self.indices[chosen]), self.labels[chosen]
