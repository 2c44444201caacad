"""What people see while it runs: bars on a terminal, a line for each epoch anywhere; all on stderr."""

import sys

from tqdm import tqdm


def log(message: str) -> None:
    tqdm.write(message, file=sys.stderr)


def bar(total: int, title: str) -> tqdm:
    """A bar that shows only on a terminal, and is gone when it is full."""
    return tqdm(total=total, desc=title, leave=False, disable=None, file=sys.stderr, dynamic_ncols=True)
