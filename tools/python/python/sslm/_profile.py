"""What was measured of a model: times of its layers, and which methods are fastest."""

import json
from typing import Any

from sslm._table import Table, thousands


class Profile:
    """Times of whole runs and of each layer, medians in milliseconds. Prints as a table."""

    def __init__(self, report: str):
        self._report: dict[str, Any] = json.loads(report)

    @property
    def median_ms(self) -> float:
        """Of a whole run."""
        return self._report["run_ms"]["median"]

    @property
    def layers(self) -> list[dict[str, Any]]:
        """Name, operator, kernel, multiply-accumulates and times of each step, in the order in which they run."""
        return self._report["layers"]

    def as_dict(self) -> dict[str, Any]:
        """All of it, as plain objects."""
        return json.loads(json.dumps(self._report))

    def _table(self) -> Table:
        total = sum(layer["median_ms"] for layer in self.layers) or 1.0
        rows = [
            [
                x["name"],
                x["op"],
                x["kernel"],
                thousands(x["macs"]),
                f"{x['median_ms']:.4f}",
                f"{100 * x['median_ms'] / total:.0f} %",
            ]
            for x in self.layers
        ]
        runs, threads, shapes = (self._report[key] for key in ("runs", "threads", "shapes"))
        place = self._report["device"] or f"threads {threads}"
        inputs = ", ".join(map(str, shapes))
        note = f"run: median {self.median_ms:.4f} ms ({runs} runs, {inputs}, {place})"
        return Table(["layer", "op", "kernel", "MACs", "median ms", "share"], 3, rows, [note])

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()


class Tuning:
    """Which method was fastest for each convolution. `kept` says whether whole runs are faster by these beyond noise."""

    def __init__(self, report: str):
        self._report: dict[str, Any] = json.loads(report)

    @property
    def kept(self) -> bool:
        """Whether the model uses these methods from now on."""
        return self._report["kept"]

    @property
    def layers(self) -> list[dict[str, Any]]:
        """The expected and the fastest method of each convolution, and their times."""
        return self._report["layers"]

    def as_dict(self) -> dict[str, Any]:
        """All of it, as plain objects."""
        return json.loads(json.dumps(self._report))

    def _table(self) -> Table:
        rows = [
            [x["name"], x["expected"], x["tuned"], f"{x['expected_us'] / 1e3:.4f}", f"{x['tuned_us'] / 1e3:.4f}"]
            for x in self.layers
        ]
        lower, median, upper = (f"{100 * gain:.1f} %" for gain in self._report["turns"]["gain"])
        outcome = "used from now on" if self.kept else "not used: the expected methods are as fast"
        note = f"gain of whole runs {median} ({lower} to {upper}): {outcome}"
        return Table(["layer", "expected", "fastest", "expected ms", "fastest ms"], 3, rows, [note])

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()
