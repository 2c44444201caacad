"""Scoring the rows of Arrow tables: what `sslm.ray` and `sslm.spark` hand to their workers, and what any other program may call.

    scorer = sslm.arrow.Scorer("model.sslm", image="photo", top=3)
    scored = scorer(table)      # a pyarrow.Table or RecordBatch, with the columns that ssl-score writes instead of the images

Needs pyarrow.
"""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from sslm._errors import Error, exception
from sslm._model import Model

__all__ = ["Scorer"]


class Scorer:
    """A model that scores the rows of tables, in any process that it is sent to.

    `model` is a .sslm file or its bytes, which travel with the scorer: workers need no file, and all have the same model. Each process opens it
    and plans once, however many scorers come, and keeps that (`threads` computing in each call).

    `image` names a column of encoded images (binary, or a structure with a field `bytes`), or of tensors (lists of float32). All other columns
    are kept, or those in `keep`. What is added is what `ssl-score` writes: `index_1`, `label_1` (if the model has labels), `probability_1` and
    `output_1` of the likeliest class, as many as `top` says; with `top=None` a column of tensors for each output instead; and `error`, which
    says why an image could not be scored.

    Rows run `batch` at a time, always filled up to as many, so that what comes of a row depends on its batch's place for it alone. A worker has
    one such batch in memory, besides the table. With `reproducible`, results are the same bits on all machines, however rows are divided.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        image: str = "image",
        keep: Sequence[str] | None = None,
        top: int | None = 1,
        batch: int = 32,
        threads: int = 1,
        reproducible: bool = False,
    ) -> None:
        for name, given in [("top", top), ("batch", batch)]:
            if given is not None and given < 1:
                raise exception("input", f"{name}: expected at least 1, found {given}")
        if not isinstance(model, bytes):
            with open(model, "rb") as file:
                model = file.read()
        self.file = model
        """What the .sslm file holds."""
        self._opened: Model | None = None
        self._options = threads, reproducible
        self._image, self._keep, self._top, self._batch = image, None if keep is None else list(keep), top, batch
        # What is wrong with the model is told where it is given, and not by a worker.
        self._inputs = self.model.inputs
        self._results = self._fields()

    @property
    def model(self) -> Model:
        """The model, as this process has it."""
        if self._opened is None:
            self._opened = _opened(self.file, *self._options)
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def schema(self, rows: pa.Schema) -> pa.Schema:
        """The columns of what comes of rows with these columns."""
        kept = [name for name in rows.names if name != self._image] if self._keep is None else self._keep
        fields = [rows.field(_index(rows, name)) for name in kept]
        taken = {field.name for field in self._results}.intersection(kept)
        if taken:
            raise exception("input", f"keep: expected names that results do not have, found {sorted(taken)}")
        return pa.schema([*fields, *self._results])

    def __call__(self, rows: Any) -> Any:
        """The rows of a `pyarrow.Table` or a `RecordBatch` with results, as the same."""
        if not isinstance(rows, (pa.Table, pa.RecordBatch)):
            raise exception("input", f"rows: expected a pyarrow.Table or RecordBatch, found {type(rows).__name__}")
        schema = self.schema(rows.schema)
        images = rows.column(_index(rows.schema, self._image))
        chunks = images.chunks if isinstance(images, pa.ChunkedArray) else [images]
        batch, scored = self._batch, []
        # Views of the column, each of at most a batch, wherever its chunks end.
        for first in range(0, rows.num_rows, batch):
            scored.append(self._scored(list(_part(chunks, first, batch))))
        results = [pa.chunked_array([part[i] for part in scored], field.type) for i, field in enumerate(self._results)]
        kept = [rows.column(name) for name in schema.names[: len(schema) - len(results)]]
        if isinstance(rows, pa.Table):
            return pa.table([*kept, *results], schema=schema)
        results = [result.combine_chunks() for result in results]
        return pa.record_batch([*kept, *results], schema=schema)

    def batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Each of the record batches with results, as it comes."""
        return map(self, batches)

    def _fields(self) -> list[pa.Field]:
        model = self.model
        if len(self._inputs) != 1:
            raise exception("input", f"model: expected one input, for an image, found {len(self._inputs)}")
        if self._top is None:
            return [*(_tensor_field(info) for info in model.outputs), pa.field("error", pa.string())]
        [*others, scores] = [info.shape for info in model.outputs]
        is_one_a_class = len(scores) >= 2 and isinstance(scores[1], int) and scores[1] > 1 and all(n == 1 for n in scores[2:])
        if others or not is_one_a_class:
            shapes = [info.shape for info in model.outputs]
            raise exception("input", f"model: expected one output of one number a class (else top=None), found {shapes}")
        fields = []
        for i in range(1, min(self._top, scores[1]) + 1):
            label = [pa.field(f"label_{i}", pa.string())] if model.labels else []
            numbers = [pa.field(f"{name}_{i}", pa.float32()) for name in ("probability", "output")]
            fields += [pa.field(f"index_{i}", pa.int32()), *label, *numbers]
        return [*fields, pa.field("error", pa.string())]

    def _scored(self, images: list[Any]) -> list[pa.Array]:
        """The results of at most a batch of images."""
        loaded = [self._loaded(image) for image in images]
        outputs, errors = self._run(loaded)
        results = self._tensors(outputs, errors) if self._top is None else self._classes(outputs[0], errors)
        return [*results, pa.array(errors, pa.string())]

    def _loaded(self, image: Any) -> np.ndarray | str:
        """An image as the model's input, or why it is none."""
        [info] = self._inputs
        if image is None:
            return "expected an image, found null"
        try:
            if isinstance(image, bytes):
                return self.model.preprocess(image)
            shape = [1, *info.shape[1:]]
            return np.ascontiguousarray(image, info.dtype).reshape(shape)
        except (Error, ValueError, TypeError) as error:
            return str(error)

    def _run(self, images: list[np.ndarray | str]) -> tuple[list[np.ndarray | None], list[str | None]]:
        """What the model yields for each image, as arrays with a row for each; and why it yields nothing."""
        model, [(_, shape, dtype)] = self.model, self._inputs
        errors = [image if isinstance(image, str) else None for image in images]
        if all(isinstance(extent, int) for extent in shape[1:]):
            rows = shape[0] if isinstance(shape[0], int) else self._batch
            found: list[list[np.ndarray]] = []
            for start in range(0, len(images), rows):
                x = np.zeros((rows, *shape[1:]), dtype)
                part = images[start : start + rows]
                for row, image in enumerate(part):
                    if not isinstance(image, str):
                        x[row] = image[0]
                found.append([output[: len(part)] for output in _listed(model(x))])
            return [np.concatenate(parts) for parts in zip(*found)], errors
        # Images of sizes of their own run one by one, and what is wrong with one concerns no other.
        rows_found: list[list[np.ndarray] | None] = []
        for i, image in enumerate(images):
            row = None
            if not isinstance(image, str):
                try:
                    row = _listed(model(image))
                except Error as error:
                    errors[i] = str(error)
            rows_found.append(row)
        outputs = []
        for i, info in enumerate(model.outputs):
            sample = next((row[i] for row in rows_found if row is not None), np.zeros((1, *info.shape[1:]), info.dtype))
            outputs.append(np.concatenate([np.zeros_like(sample) if row is None else row[i] for row in rows_found]))
        return outputs, errors

    def _classes(self, outputs: np.ndarray, errors: list[str | None]) -> list[pa.Array]:
        model, rows = self.model, len(errors)
        outputs = outputs.reshape(rows, -1).astype(np.float32)
        for row, nan in enumerate(np.isnan(outputs).sum(axis=1)):
            if nan and errors[row] is None:
                errors[row] = f"the model's output: expected a number for each class, found NaN for {nan} of {outputs.shape[1]}"
        failed = np.array([error is not None for error in errors])
        probabilities = outputs
        if not model.yields_probabilities:
            shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            probabilities = shifted / shifted.sum(axis=1, keepdims=True)
        order, every = np.argsort(-outputs, axis=1, kind="stable"), np.arange(rows)
        labels, results = model.labels, []
        for place in range(min(self._top, outputs.shape[1])):
            index = order[:, place]
            results.append(pa.array(index.astype(np.int32), mask=failed))
            if labels:
                names = [None if bad or i >= len(labels) else labels[i] for i, bad in zip(index, failed)]
                results.append(pa.array(names, pa.string()))
            results += [pa.array(of[every, index], mask=failed) for of in (probabilities, outputs)]
        return results

    def _tensors(self, outputs: list[np.ndarray], errors: list[str | None]) -> list[pa.Array]:
        failed, results = pa.array([error is not None for error in errors]), []
        for output, field in zip(outputs, self._results):
            size = field.type.list_size
            if output.size != size * len(errors):
                raise exception("input", f"output '{field.name}': expected {size} elements of an image, found {output.shape}")
            results.append(pa.FixedSizeListArray.from_arrays(pa.array(output.ravel()), type=field.type, mask=failed))
        return results


@lru_cache(maxsize=4)
def _opened(file: bytes, threads: int, reproducible: bool) -> Model:
    """The model of a process: scorers that come after each other find it warm."""
    return Model(file, threads=threads, reproducible=reproducible)


def _index(schema: pa.Schema, name: str) -> int:
    index = schema.get_field_index(name)
    if index < 0:
        raise exception("input", f"columns: expected one of the name '{name}', found {schema.names}")
    return index


def _part(chunks: list[pa.Array], first: int, rows: int) -> Iterator[Any]:
    """So many images of a column from one on: bytes, arrays of elements, or None."""
    for chunk in chunks:
        if rows <= 0:
            return
        if first >= len(chunk):
            first -= len(chunk)
            continue
        part = chunk.slice(first, rows)
        first, rows = 0, rows - len(part)
        yield from _images(part)


def _images(part: pa.Array) -> Iterator[Any]:
    part = part.storage if isinstance(part, pa.ExtensionArray) else part
    of = part.type
    if pa.types.is_struct(of) and of.get_field_index("bytes") >= 0:
        part = part.field("bytes") if not part.null_count else pa.array([row and row["bytes"] for row in part.to_pylist()])
        of = part.type
    is_list = pa.types.is_fixed_size_list(of) or pa.types.is_list(of) or pa.types.is_large_list(of)
    if is_list and of.value_type == pa.float32():
        yield from (row.values.to_numpy(zero_copy_only=False) if row.is_valid else None for row in part)
    elif pa.types.is_binary(of) or pa.types.is_large_binary(of) or pa.types.is_binary_view(of):
        yield from (row.as_py() for row in part)
    elif pa.types.is_null(of):
        yield from [None] * len(part)
    else:
        raise exception("input", f"column of images: expected binary or lists of float32, found {of}")


def _listed(outputs: Any) -> list[np.ndarray]:
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def _tensor_field(info: Any) -> pa.Field:
    extents = info.shape[1:]
    if not all(isinstance(extent, int) for extent in extents):
        raise exception("input", f"output '{info.name}': expected one size for all images, found {info.shape}")
    size = int(np.prod(extents, dtype=np.int64))
    return pa.field(info.name, pa.list_(pa.from_numpy_dtype(np.dtype(info.dtype)), size))
