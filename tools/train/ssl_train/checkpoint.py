"""Files that appear whole or not at all."""

import csv
import io
import json
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import torch

from ssl_train.errors import SslError


def write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Create or replace `path` with what `fill` writes, in one step."""
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(unfinished, 0o644)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def save(path: Path, state: dict) -> None:
    """Write tensors and plain values for `load`."""
    write(path, lambda file: torch.save(state, file))


def load(path: Path) -> dict:
    """What `save` wrote; runs no code from the file.

    # Errors
    `SslError` if it is missing or damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SslError(f"{path}: no such file") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise SslError(f"{path}: not a checkpoint, or damaged: {str(error).splitlines()[0]}") from error


def save_json(path: Path, value: object) -> None:
    write(path, lambda file: file.write((json.dumps(value, indent=2) + "\n").encode()))


def load_json(path: Path) -> dict:
    """An object that `save_json` wrote.

    # Errors
    `SslError` if it is missing or damaged.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise SslError(f"{path}: no such file") from None
    except ValueError as error:
        raise SslError(f"{path}: damaged: {error}") from error
    if not isinstance(value, dict):
        raise SslError(f"{path}: damaged: expected an object")
    return value


def save_csv(path: Path, rows: list[dict]) -> None:
    """One line for each row; columns in the order in which they first occur."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write(path, lambda file: file.write(text.getvalue().encode()))
