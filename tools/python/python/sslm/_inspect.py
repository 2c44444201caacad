"""What a .sslm file holds."""

import json
import os
from typing import Any

from sslm import _sslm
from sslm._table import Table, kept_of, thousands


class Inspection:
    """What a .sslm file holds, after all of its checksums were compared. Prints as a table of its nodes."""

    def __init__(self, model: _sslm.Model):
        self._found = json.loads(model._describe())
        self.inputs = model._inputs
        self.labels = model.labels

    @property
    def version(self) -> tuple[int, int]:
        """Version of the format."""
        major, minor = self._found["version"]
        return major, minor

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self._found["bytes"]

    @property
    def provenance(self) -> dict[str, Any] | None:
        """What it was made from, and by which program."""
        return self._found["provenance"]

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """How an image becomes the input."""
        return self._found["preprocessing"]

    @property
    def layers(self) -> list[dict[str, Any]]:
        """The network's nodes, and what each keeps."""
        return self._found["layers"]

    def as_dict(self) -> dict[str, Any]:
        """All of it, as plain objects."""
        return json.loads(json.dumps({**self._found, "inputs": self.inputs, "labels": self.labels}))

    def _table(self) -> Table:
        rows = []
        for layer in self.layers:
            channels = "all" if layer["channels"] is None else kept_of(layer["channels"])
            counts = [kept_of(layer["filters"]), kept_of(layer["columns"]), thousands(layer["weights"]), channels]
            rows.append([layer["name"], layer["op"], layer["window"] or "-", *counts])
        major, minor = self.version
        notes = [f"sslm {major}.{minor}, {thousands(self.bytes)} bytes"]
        if self.provenance:
            how = "dense, zeros kept on request" if self.provenance["dense"] else "compact"
            notes.append(f"made by {self.provenance['tool']} ({how}) from {self.provenance['source']}")
        return Table(["node", "op", "window", "filters", "columns", "weights", "output channels"], 3, rows, notes)

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()


def inspect(source: str | os.PathLike[str] | bytes) -> Inspection:
    """What a .sslm file, or its bytes, holds. Every checksum is compared, the weights' too."""
    return Inspection(_sslm.Model(source))
