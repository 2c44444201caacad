"""The model, with what the extension module leaves to Python: where a model comes from, and what people want to see of it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from sslm import _sslm
from sslm._certificate import Certificate, convert
from sslm._errors import exception
from sslm._profile import Profile, Tuning

MAGIC = b"\x89SSLM"


class TensorInfo(NamedTuple):
    """An input or output. Extents that the model leaves open have a name; those of outputs that depend on them in another way than being the same
    have the expression, such as "floor((height - 1)/(2)) + 1"."""

    name: str
    shape: list[int | str]
    dtype: str


@dataclass(frozen=True)
class Class:
    """A class that an image may be of."""

    index: int
    label: str | None
    probability: float
    output: float
    """What the network yields for the class: a logit, or the probability itself."""


class Model(_sslm.Model):
    """A network, ready to run: `model(x)`.

    `source` is a .sslm file or its bytes; or an ONNX model (file, bytes, or `onnx.ModelProto`) or a `torch.nn.Module` with an `example` of
    its input, which are converted first, and checked against the original.

    `model(x)` takes one array, several in the model's order, or a dict by name, of the types that the model declares; anything that
    speaks DLPack, `__array_interface__` or the buffer protocol will do. It yields an array, or a dict of several. Shapes that come for the first time
    cost a preparation; the last `plans` of them are kept. Several threads may call at once: the interpreter is free meanwhile.

    With `batch`, what that many images need is prepared at once. `threads` are those of one call (as many as help, if nothing is said).
    `max_memory` in bytes, `max_macs` and `max_time` in seconds refuse what a file of strangers should not take. With `reproducible`, results are
    the same bits on every machine and for every batch, and take several times as long.
    """

    certificate: Certificate | None
    """What was removed, if the model was converted just now."""
    path: Path | None
    """The .sslm file, if it is one."""

    def __new__(
        cls,
        source: Any,
        *,
        example: Any = None,
        batch: int | None = None,
        threads: int | None = None,
        backend: str = "cpu",
        max_memory: int | None = None,
        max_macs: int | None = None,
        max_time: float | None = None,
        reproducible: bool = False,
        plans: int = 8,
    ) -> Self:
        found, certificate = _opened(source, example)
        path = None if isinstance(found, bytes) else found
        tuning = None if path is None else _tuning_of(path)
        self = super().__new__(
            cls,
            found,
            batch=batch,
            threads=threads,
            backend=backend,
            max_memory=max_memory,
            max_macs=max_macs,
            max_time=max_time,
            reproducible=reproducible,
            plans=plans,
            tuning=tuning if tuning and not reproducible and tuning.exists() else None,
        )
        self.certificate = certificate
        self.path = path
        return self

    @property
    def inputs(self) -> list[TensorInfo]:
        """What the model takes."""
        return [TensorInfo(*info) for info in self._inputs]

    @property
    def outputs(self) -> list[TensorInfo]:
        """What it yields."""
        return [TensorInfo(*info) for info in self._outputs]

    def preprocess(self, image: Any) -> np.ndarray:
        """An image as the model's input: of a file (PNG or JPEG), of the bytes of one, or of an array of height x width x 3 (or 1, or
        height x width) bytes. The model says how; pixels are scaled to 0..1 if it does not."""
        if not isinstance(image, (str, os.PathLike, bytes)):
            image = _pixels(image)
        return self._preprocess(image)

    def classify(self, image: Any, top: int = 5) -> list[Class]:
        """The likeliest classes of an image, such as `preprocess` takes."""
        if top < 1:
            raise exception("input", f"top: expected at least 1, found {top}")
        outputs = self(self.preprocess(image))
        if isinstance(outputs, dict) or outputs.ndim < 2 or outputs.size != outputs.shape[1] or outputs.size < 2:
            found = list(outputs) if isinstance(outputs, dict) else list(outputs.shape)
            raise exception("input", f"model: expected an output of one number a class, found {found}")
        outputs = outputs.ravel().astype(np.float32)
        if nan := int(np.isnan(outputs).sum()):
            raise exception("input", f"model: expected a number for each class, found NaN for {nan} of {outputs.size}")
        probabilities = outputs
        if not self.yields_probabilities:
            shifted = np.exp(outputs - outputs.max())
            probabilities = shifted / shifted.sum()
        labels, order = self.labels, np.argsort(-outputs, kind="stable")[:top]
        label = lambda i: labels[i] if i < len(labels) else None
        return [Class(int(i), label(i), float(probabilities[i]), float(outputs[i])) for i in order]

    def profile(self, x: Any = None, runs: int = 20) -> Profile:
        """Times of whole runs and of each layer on `x`, such as a call takes; on random elements without it."""
        inputs = self._random() if x is None else x
        inputs = tuple(inputs) if isinstance(inputs, (list, tuple)) else (inputs,)
        return Profile(self._profile(inputs, runs))

    def tune(self, x: Any = None) -> Tuning:
        """Time every method for each convolution, for some ten seconds, for inputs of the shapes of `x`. What is fastest is used from now
        on, if it makes whole runs faster; of a model that is a file, it is stored beside it, where later models and `ssl-run` find it."""
        inputs = self._random() if x is None else x
        if isinstance(inputs, dict):
            inputs = [inputs[info.name] for info in self.inputs]
        inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        return Tuning(self._tune([list(np.shape(array)) for array in inputs], self.path and _tuning_of(self.path)))

    def _random(self) -> list[np.ndarray]:
        """Inputs to measure with."""
        shapes = self._usual_shapes
        if shapes is None:
            raise exception(
                "input", f"x: expected inputs, since the model leaves their size open: {self._shown(self.inputs)}"
            )
        random = np.random.default_rng(1)

        def elements(info: TensorInfo, shape: list[int]) -> np.ndarray:
            if np.dtype(info.dtype).kind == "f":
                return random.uniform(-1, 1, shape).astype(info.dtype)
            return random.integers(0, 2, shape).astype(info.dtype)

        return [elements(info, shape) for info, shape in zip(self.inputs, shapes)]

    @staticmethod
    def _shown(infos: list[TensorInfo]) -> str:
        def shown(info: TensorInfo) -> str:
            return f"'{info.name}' {info.dtype} [{', '.join(map(str, info.shape))}]"

        return ", ".join(map(shown, infos))

    def __repr__(self) -> str:
        name = f"'{self.path}'" if self.path else "in memory"
        size = json.loads(self._describe())["bytes"]
        tuned = ", tuned" if self.is_tuned else ""
        return f"<sslm.Model {name}: {self._shown(self.inputs)} -> {self._shown(self.outputs)}; {size} bytes{tuned}>"


def _tuning_of(path: Path) -> Path:
    """Where the tuning of a model lies."""
    return path.with_name(path.name + ".tuning.json")


def _opened(source: Any, example: Any) -> tuple[Path | bytes, Certificate | None]:
    """A .sslm file or the bytes of one, made of what was given."""
    from sslm._torch import exported, is_module

    if is_module(source):
        if example is None:
            raise exception("input", "example: expected an input of the torch module, found none")
        source = exported(source, example)
    elif example is not None:
        raise exception("input", f"example: expected none for what is no torch module, found {type(example).__name__}")
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = bytes(source)
        is_sslm = source.startswith(MAGIC)
    elif hasattr(source, "SerializeToString"):
        is_sslm = False
    else:
        try:
            source = Path(os.fspath(source))
        except TypeError:
            found = type(source).__name__
            raise exception(
                "input", f"model: expected a path, bytes, an onnx.ModelProto or a torch module, found {found}"
            ) from None
        is_sslm = source.suffix.lower() != ".onnx" or _starts_with(source, MAGIC)
    if is_sslm:
        return source, None
    certificate = convert(source)
    # Without a file to write, it is there.
    return certificate.sslm or b"", certificate


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False


def _pixels(image: Any) -> tuple[int, int, int, bytes]:
    """Height, width, channels and bytes of an array of pixels."""
    pixels = np.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        expected = "height x width x 3 (or 1) of uint8, a path, or the bytes of a file"
        raise exception("input", f"image: expected {expected}, found {pixels.dtype} {list(pixels.shape)}")
    return (*pixels.shape, pixels.tobytes())
