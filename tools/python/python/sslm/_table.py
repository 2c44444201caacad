"""Tables for people: as text and as HTML."""

from collections.abc import Sequence
from html import escape


class Table:
    """Rows below headings. Columns from `numbers` on hold figures and are aligned right."""

    def __init__(
        self, headings: Sequence[str], numbers: int, rows: Sequence[Sequence[object]], notes: Sequence[str] = ()
    ):
        self.headings = list(headings)
        self.numbers = numbers
        self.rows = [[_text(cell) for cell in row] for row in rows]
        self.notes = list(notes)

    def __str__(self) -> str:
        lines = [self.headings, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.headings))]
        rule = "─" * (sum(widths) + 2 * len(widths))

        def line(cells: Sequence[str]) -> str:
            aligned = (c.rjust(w) if i >= self.numbers else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths)))
            return (" " + "  ".join(aligned)).rstrip()

        return "\n".join([line(self.headings), rule, *map(line, self.rows), rule, *self.notes])

    def html(self) -> str:
        def row(cells: Sequence[str], tag: str) -> str:
            style = ["left" if i < self.numbers else "right" for i in range(len(cells))]
            return "".join(f'<{tag} style="text-align:{s}">{escape(c)}</{tag}>' for c, s in zip(cells, style))

        body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in self.rows)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table><thead><tr>{row(self.headings, 'th')}</tr></thead><tbody>{body}</tbody></table>{notes}"


def thousands(count: int | None) -> str:
    """`1234567` as `1 234 567`."""
    return "-" if count is None else f"{count:,}".replace(",", " ")


def kept_of(count: dict | None, of: str = "of") -> str:
    """`kept of all`, or just the one count where they are the same."""
    if count is None:
        return "-"
    kept, original = count["kept"], count[of]
    return str(original) if kept == original else f"{kept} of {original}"


def _text(cell: object) -> str:
    """Names in it may come from files: no control character reaches a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(cell))
