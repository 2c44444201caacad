"""From PyTorch: a module exported, converted and run in its place. PyTorch is imported only where it was already."""

import io
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from sslm._errors import exception

OPSET = 17
TOLERANCE = 1e-4
"""How far answers may be from the original's, relative to its largest."""


def is_module(value: Any) -> bool:
    """Whether it is a `torch.nn.Module`."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def exported(module: Any, example: Any) -> bytes:
    """A module as an ONNX model, for batches of any size where all of the example's tensors have the same."""
    import torch

    inputs = _arguments(example)
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            outputs = list(_tensors(module(*inputs)))
        names = [f"input{i}" for i in range(len(inputs))], [f"output{i}" for i in range(len(outputs))]
        batches = {tensor.shape[0] if tensor.ndim else None for tensor in [*inputs, *outputs]}
        is_open = len(batches) == 1 and None not in batches
        file = io.BytesIO()
        with warnings.catch_warnings():
            # The older exporter is deprecated, and used on purpose: it needs no further package and keeps the names of weights.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                inputs,
                file,
                input_names=names[0],
                output_names=names[1],
                dynamic_axes={name: {0: "batch"} for name in [*names[0], *names[1]]} if is_open else None,
                opset_version=OPSET,
                dynamo=False,
            )
        return file.getvalue()
    finally:
        module.train(was_training)


def compile(module: Any, example: Any, *, threads: int | None = None) -> Any:
    """A `torch.nn.Module` that answers as `module` does in evaluation mode, computed by the compact model.

    `example` is an input (or a tuple of several): it says shapes and types, and what is compared with the original before anything is
    returned: `CheckError` if the answers differ, `ConversionError` if an operator is not known. Where nothing could be removed a warning
    says so. Answers have no gradient. The `sslm.Model` is the attribute `model`, what was removed `model.certificate`.
    """
    import torch

    from sslm._model import Model

    model = Model(module, example=example, threads=threads)
    inputs = _arguments(example)

    class Compiled(torch.nn.Module):
        """Runs a compact model in the place of the module that it was made of."""

        def __init__(self, structure: Any):
            super().__init__()
            self.model = model
            self.structure = structure

        def forward(self, *inputs: Any) -> Any:
            found = self.model(*(tensor.detach().cpu().contiguous().numpy() for tensor in inputs))
            arrays = found.values() if isinstance(found, dict) else [found]
            tensors = iter([torch.from_numpy(array).to(inputs[0].device) for array in arrays])
            return _rebuilt(self.structure, tensors)

        def extra_repr(self) -> str:
            return repr(self.model)

    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            original = module(*inputs)
        compiled = Compiled(original).eval()
        _check(_tensors(original), _tensors(compiled(*inputs)))
    finally:
        module.train(was_training)
    compiled.structure = _rebuilt(original, iter([None] * len(list(_tensors(original)))))
    if model.certificate is not None and model.certificate.gain == 1.0:
        warnings.warn(
            "nothing was removed: the module has no whole filters, channels or columns of zeros", stacklevel=2
        )
    return compiled


def _arguments(example: Any) -> tuple:
    return tuple(example) if isinstance(example, (tuple, list)) else (example,)


def _check(expected: Iterator[Any], found: Iterator[Any]) -> None:
    """That the compact model answers as the original."""
    for i, (e, f) in enumerate(zip(expected, found, strict=True)):
        e, f = (tensor.detach().cpu().double().numpy() for tensor in (e, f))
        apart = np.abs(e - f).max(initial=0.0)
        largest = np.abs(e).max(initial=0.0)
        if e.shape != f.shape or not apart <= TOLERANCE * largest:
            raise exception(
                "check",
                f"output {i}: expected the original's answer, found {apart:.1e} beside its largest {largest:.1e}",
            )


def _tensors(structure: Any) -> Iterator[Any]:
    """The tensors of what a module yields, in the order in which the exporter names them; of a structure without tensors, its places."""
    if isinstance(structure, dict):
        structure = tuple(structure.values())
    if isinstance(structure, (tuple, list)):
        for part in structure:
            yield from _tensors(part)
    else:
        yield structure


def _rebuilt(structure: Any, tensors: Iterator[Any]) -> Any:
    """Tensors, put together as a module yields them."""
    if isinstance(structure, dict):
        return type(structure)((key, _rebuilt(part, tensors)) for key, part in structure.items())
    if isinstance(structure, (tuple, list)):
        parts = [_rebuilt(part, tensors) for part in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else type(structure)(parts)
    return next(tensors)
