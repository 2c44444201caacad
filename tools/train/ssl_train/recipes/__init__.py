"""What a run does, as TOML: the shipped recipes lie beside this file, users write their own.

Everything that shapes a run is in its recipe, and a run's folder holds the recipe as it was used.
"""

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

from ssl_train.errors import SslError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ModelSection:
    """Which network."""

    name: str
    """One of the package's models, or "module:function" for one of your own: `function(classes, **options)`."""
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class DataSection:
    """How images become inputs."""

    shape: tuple[int, int, int]
    """Channels, height and width of the network's input."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1 / 255
    """Pixel p of channel c becomes (p * scale - mean[c]) / std[c]."""
    short_side: int | None = None
    """Images of folders are resized so, then cut square; training takes random parts of that. None: stretched."""
    shift: int = 0
    """Augmentation: training images move by up to this many pixels each way."""
    flip: bool = False
    """Augmentation: half of the training images are mirrored."""


@dataclass(frozen=True)
class OptimizerSection:
    """Shared by all stages: SGD with momentum."""

    batch: int = 128
    momentum: float = 0.9
    amp: bool = False
    """Automatic mixed precision with bfloat16."""


@dataclass(frozen=True)
class StageSection:
    """Ordinary training: learning rate along half a cosine. Weights decay, biases and BatchNorm do not."""

    epochs: int
    lr: float
    weight_decay: float = 5e-4


@dataclass(frozen=True)
class SparsifySection:
    """Group Lasso at a constant learning rate, while lambda rises until a goal is reached or the epochs are over."""

    epochs: int
    lr: float
    groups: dict[str, float]
    """Kind of groups to strength."""
    weight_decay: float = 5e-4
    """Else layers without groups take over the scale of those with groups, and the penalty has no hold."""
    lambda_start: float = 1e-3
    lambda_growth: float = 1.25
    """Factor for each epoch; 1 holds lambda constant, as the paper does."""
    lambda_max: float = 1e6
    """No network survives the default, which is a number that JSON knows, as infinity is not."""
    sqrt_size: bool = False
    reweighted: bool = False
    """Whether lambda is divided by each group's norm relative to its family's largest, so that small groups go and large
    ones are spared."""
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    """Glob of layer names to {kind: factor of the strength}; 0 leaves groups out."""
    keep: dict[str, dict[str, int]] = field(default_factory=dict)
    """Layer to {kind: count}: goal of a layer; there, its dead groups are frozen and the others no longer shrunk."""
    target_macs: float | None = None
    """Goal: this share of the multiply-accumulates is left."""
    target_speedup: float | None = None
    """Goal: the network is so many times faster, by layer times that were measured with the runtime."""
    remove_layers: int | None = None
    """Goal: so many convolutions and linear layers are gone altogether."""
    max_drop: float | None = None
    """Goal: percentage points of validation accuracy are spent; the last structure within them is taken."""

    @property
    def needs_structure(self) -> bool:
        """Whether a goal asks `ssl-convert` what is left."""
        return any(v is not None for v in (self.target_macs, self.target_speedup, self.remove_layers))


@dataclass(frozen=True)
class PruneSection:
    """The cut."""

    tolerance: float = 0.3
    """Percentage points of validation error that it may cost before fine-tuning."""


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    model: ModelSection
    data: DataSection
    baseline: StageSection
    sparsify: SparsifySection
    finetune: StageSection
    prune: PruneSection = PruneSection()
    optimizer: OptimizerSection = OptimizerSection()


GOALS = ("target_macs", "target_speedup", "remove_layers", "max_drop")


def only_goal(recipe: Recipe, goal: str | None) -> Recipe:
    """The recipe without goals other than this one."""
    others = {key: None for key in GOALS if key != goal}
    return dataclasses.replace(recipe, sparsify=dataclasses.replace(recipe.sparsify, keep={}, **others))


def names() -> list[str]:
    """The shipped recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str, overrides: list[str]) -> Recipe:
    """The shipped recipe of that name, or the one in that file; `overrides` are "section.key=value" in TOML.

    # Errors
    `SslError` that says which key is wrong.
    """
    path = FOLDER / f"{name}.toml" if name in names() else Path(name)
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise SslError(f"{name}: neither a file nor a shipped recipe ({', '.join(names())})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SslError(f"{path}: not TOML: {error}") from error
    for override in overrides:
        try:
            _merge(table, tomllib.loads(override))
        except tomllib.TOMLDecodeError:
            raise SslError(f"--set {override}: expected section.key=value, with the value in TOML") from None
    return parse(table, str(path))


def parse(table: dict, where: str) -> Recipe:
    """A recipe from its TOML, checked."""
    recipe = _build(Recipe, table, where)
    for section, least in _LEAST.items():
        for key, bound in least.items():
            value = getattr(getattr(recipe, section), key)
            # Written so that NaN is refused, too.
            if value is not None and not bound <= value:
                raise SslError(f"{where}: {section}.{key}: expected at least {bound}, found {value}")
    if recipe.optimizer.momentum >= 1:
        raise SslError(f"{where}: optimizer.momentum: expected less than 1, found {recipe.optimizer.momentum}")
    if not recipe.sparsify.groups:
        raise SslError(f"{where}: sparsify.groups: expected at least one kind of groups, found none")
    for key in ("mean", "std"):
        values = getattr(recipe.data, key)
        if len(values) != recipe.data.shape[0] or key == "std" and 0 in values:
            raise SslError(f"{where}: data.{key}: expected {recipe.data.shape[0]} numbers, not 0, found {list(values)}")
    return recipe


_STAGE = {"epochs": 1, "lr": 0, "weight_decay": 0}

_LEAST = {
    "data": {"shift": 0, "short_side": 1},
    "optimizer": {"batch": 1, "momentum": 0},
    "baseline": _STAGE,
    "sparsify": _STAGE
    | {
        "lambda_start": 1e-12,
        "lambda_growth": 1,
        "lambda_max": 0,
        "target_macs": 0,
        "target_speedup": 1,
        "remove_layers": 1,
        "max_drop": 0,
    },
    "prune": {"tolerance": 0},
    "finetune": _STAGE,
}
"""The smallest number that each key may have."""


def _merge(table: dict, more: dict) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def _build(kind: type, table: object, where: str):
    """An instance of the dataclass `kind` from a TOML table."""
    if not isinstance(table, dict):
        raise SslError(f"{where}: expected a table, found {table!r}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if unknown := [key for key in table if key not in fields]:
        raise SslError(f"{where}: unknown key {unknown[0]}: expected {', '.join(fields)}")
    required = [n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [name for name in required if name not in table]:
        raise SslError(f"{where}: expected {', '.join(missing)}, found nothing")
    return kind(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in table.items()})


def _value(hint: object, value: object, where: str):
    """`value` as the type `hint`, which is one of those that recipes use."""
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # optional
        return None if value is None else _value(arguments[0], value, where)
    if origin is dict and isinstance(value, dict):
        return {key: _value(arguments[1], v, f"{where}.{key}") for key, v in value.items()}
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(_value(k, v, where) for k, v in zip(kinds, value))
    if hint is dict and isinstance(value, dict):
        return value
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    expected = hint.__name__ if isinstance(hint, type) else str(hint)
    raise SslError(f"{where}: expected {expected}, found {value!r}")
