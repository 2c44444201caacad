"""The extension module: what the package's Python files call."""

import os
from collections.abc import Sequence
from typing import Any, Self

__version__: str

class Model:
    def __new__(
        cls,
        source: str | os.PathLike[str] | bytes,
        *,
        batch: int | None = None,
        threads: int | None = None,
        backend: str = "cpu",
        max_memory: int | None = None,
        max_macs: int | None = None,
        max_time: float | None = None,
        reproducible: bool = False,
        plans: int = 8,
        tuning: os.PathLike[str] | None = None,
    ) -> Self: ...
    def __call__(self, *inputs: Any) -> Any:
        """Runs the network on arrays, in the model's order, or on one dict of them by name. Yields the output, or a dict of all of them."""

    def run_into(self, inputs: Any, outputs: Any) -> None:
        """As a call, into arrays of the caller's: one, a list in the model's order, or a dict by name, which need not have all."""

    @property
    def labels(self) -> list[str]:
        """Names of classes."""

    @property
    def yields_probabilities(self) -> bool:
        """Whether the first output consists of probabilities: the network ends in a Softmax."""

    @property
    def is_tuned(self) -> bool:
        """Whether methods are used that were timed."""

    @property
    def _inputs(self) -> list[tuple[str, list[int | str | None], str]]: ...
    @property
    def _outputs(self) -> list[tuple[str, list[int | str | None] | None, str]]: ...
    @property
    def _usual_shapes(self) -> list[list[int]] | None: ...
    def _preprocess(self, image: str | os.PathLike[str] | bytes | tuple[int, int, int, bytes]) -> Any: ...
    def _profile(self, inputs: tuple[Any, ...], runs: int) -> str: ...
    def _tune(self, shapes: Sequence[Sequence[int]], file: os.PathLike[str] | None) -> str: ...
    def _describe(self) -> str: ...

def convert(source: os.PathLike[str], target: os.PathLike[str], **options: Any) -> tuple[str, str]: ...
def run_tool(name: str, arguments: Sequence[str]) -> int: ...
