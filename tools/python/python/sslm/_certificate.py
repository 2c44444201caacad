"""From ONNX to `.sslm`, and the certificate: what was removed by which rule, and how far the outputs moved."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sslm import _sslm
from sslm._errors import Error, exception
from sslm._table import Table, kept_of, thousands


class Certificate:
    """What a conversion did. Prints as the table of `ssl-convert`; `as_dict()` is all of what `ssl-convert --report` writes."""

    def __init__(self, report: dict[str, Any], text: str, sslm: bytes | None):
        self._report = report
        self._text = text
        self.sslm = sslm
        """The .sslm model, if it went to no file."""

    @property
    def layers(self) -> list[dict[str, Any]]:
        """What is left of each layer with weights."""
        return self._report["layers"]

    @property
    def bytes(self) -> int:
        """Size of the .sslm model."""
        return self._report["bytes"]

    @property
    def source_bytes(self) -> int:
        """Size of the ONNX model, without external data."""
        return self._report["source"]["bytes"]

    @property
    def macs(self) -> tuple[int, int] | None:
        """Multiply-accumulates of one image, before and after; None where they depend on a size that is open."""
        macs = self._report["total"]["macs"]
        return None if macs is None else (macs["before"], macs["after"])

    @property
    def gain(self) -> float | None:
        """How many times fewer multiply-accumulates there are; infinite if none is left."""
        if self.macs is None:
            return None
        before, after = self.macs
        return before / after if after else (float("inf") if before else 1.0)

    @property
    def zero_tol(self) -> float:
        """Filters and columns whose norm is at most this times the largest of their kind were taken for zero."""
        return self._report["zero_tol"]

    @property
    def refused(self) -> list[dict[str, Any]]:
        """Where zeros had to stay, and why."""
        return self._report["refused"]

    @property
    def verification(self) -> dict[str, Any] | None:
        """How the model compares with the original when both are run."""
        return self._report["verification"]

    @property
    def max_relative_difference(self) -> float | None:
        """The largest difference from the original, relative to its largest output; None if nothing was compared."""
        if self.verification is None:
            return None
        found = (self.verification[kind] for kind in ("random", "images", "with", "onnxruntime"))
        # JSON has no infinity.
        return max(
            (f["max_relative"] if f["max_relative"] is not None else float("inf") for f in found if f), default=0.0
        )

    def as_dict(self) -> dict[str, Any]:
        """All that is known, as plain objects."""
        return json.loads(json.dumps(self._report))

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        rows = []
        for layer in [*self.layers, {"name": "total", **self._report["total"]}]:
            macs = layer["macs"]
            before, after, gain = ("symbolic", "symbolic", "")
            if macs is not None:
                before, after = thousands(macs["before"]), thousands(macs["after"])
                gain = f"{macs['before'] / macs['after']:.2f}x" if macs["after"] else "removed"
            counts = [
                kept_of(layer[key], "original") if key in layer else "" for key in ("filters", "channels", "columns")
            ]
            rows.append([layer["name"], layer.get("op", ""), *counts, before, after, gain])
        headings = ["layer", "op", "filters", "channels", "columns", "MACs before", "after", "less"]
        return Table(headings, 2, rows, self._notes()).html()

    def _notes(self) -> list[str]:
        """The lines below the table."""
        lines = self._text.split("\n")
        rules = [i for i, line in enumerate(lines) if line.startswith("─")]
        return [line for line in lines[rules[-1] + 1 :] if line] if rules else []


def convert(
    source: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    zero_tol: float = 0.0,
    target_macs: float | None = None,
    dense: bool = False,
    outputs: Sequence[str] = (),
    dims: Mapping[str, int] | None = None,
    labels: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    verify: int = 4,
    verify_images: str | os.PathLike[str] | None = None,
    verify_with: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    verify_onnxruntime: bool = False,
    tolerance: float | None = None,
    force: bool = False,
    export_onnx: str | os.PathLike[str] | None = None,
    max_memory: int | None = None,
    max_macs: int | None = None,
    max_time: int | None = None,
) -> Certificate:
    """Turn a zero-masked ONNX model into a compact .sslm model that computes the same function.

    `source` is the path of an ONNX file, its bytes, or an `onnx.ModelProto`. The result goes to the file `out`, which appears whole or
    not at all; without it, it is the `sslm` attribute of the certificate. Keywords are the flags of `ssl-convert`, which
    `ssl-convert --help` explains; `max_memory` is in bytes, `max_macs` in multiply-accumulates, `max_time` in seconds.

    Raises `ConversionError` naming every node that cannot be converted, and `CheckError` if the outputs differ by more than `tolerance`.
    """
    with tempfile.TemporaryDirectory(prefix="sslm-") as folder:
        path, name = _as_file(source, Path(folder))
        target = Path(folder, "model.sslm") if out is None else Path(os.fspath(out))
        if isinstance(verify_with, Mapping):
            known: dict[str, Any] = {key: np.asarray(value) for key, value in verify_with.items()}
            np.savez(Path(folder, "known.npz"), **known)
            verify_with = Path(folder, "known.npz")
        try:
            report, text = _sslm.convert(
                path,
                target,
                zero_tol=zero_tol,
                target_macs=target_macs,
                dense=dense,
                outputs=list(outputs),
                dims=dict(dims or {}),
                labels=None if labels is None else list(labels),
                preprocessing=None if preprocessing is None else json.dumps(dict(preprocessing)),
                verify=verify,
                verify_images=verify_images,
                verify_with=verify_with,
                verify_onnxruntime=sys.executable if verify_onnxruntime else None,
                tolerance=tolerance,
                force=force,
                export_onnx=export_onnx,
                max_memory=max_memory,
                max_macs=max_macs,
                max_time=max_time,
            )
        except Error as error:
            # Of what was given in memory, nobody knows the file.
            if name is None:
                raise
            raise exception(error.kind, str(error).replace(str(path), name)) from None
        report = json.loads(report)
        return Certificate(report, text, target.read_bytes() if out is None else None)


def _as_file(source: Any, folder: Path) -> tuple[Path, str | None]:
    """The file of an ONNX model; and what it is called, if it is in memory."""
    if hasattr(source, "SerializeToString"):
        source = source.SerializeToString()
    if isinstance(source, (bytes, bytearray, memoryview)):
        path = folder / "model.onnx"
        path.write_bytes(source)
        return path, "model in memory"
    try:
        return Path(os.fspath(source)), None
    except TypeError:
        found = type(source).__name__
        raise exception("input", f"model: expected a path, bytes or an onnx.ModelProto, found {found}") from None
