"""Recipes: all that ship are whole, and mistakes are explained."""

import tomllib

import pytest
import torch

from ssl_train import recipes
from ssl_train.errors import SslError
from ssl_train.pipeline import build
from ssl_train.sparsify import specs_of


@pytest.mark.parametrize("name", recipes.names())
def test_shipped_recipes_build_their_networks_and_groups(name):
    recipe = recipes.load(name, [])
    with torch.device("meta"):
        model = build(recipe, 10)
    specs = specs_of(recipe, model)
    wanted = {(layer, kind) for layer, kinds in recipe.sparsify.keep.items() for kind in kinds}
    assert wanted == {(spec.layer, spec.kind) for spec in specs if spec.keep}
    assert specs


def test_keys_can_be_overridden():
    recipe = recipes.load("lenet-filters", ["finetune.epochs=3", "sparsify.keep.conv1.filter=5", 'model.name="mlp"'])
    assert (recipe.finetune.epochs, recipe.sparsify.keep["conv1"], recipe.model.name) == (3, {"filter": 5}, "mlp")


def test_one_goal_replaces_all():
    recipe = recipes.only_goal(recipes.load("resnet20", ["sparsify.target_macs=0.5"]), "target_macs")
    settings = recipe.sparsify
    assert (settings.target_macs, settings.remove_layers, settings.keep) == (0.5, None, {})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("finetune.epochs=0", r"finetune.epochs: expected at least 1, found 0"),
        ("finetune.epochs=1.5", "finetune: epochs: expected int, found 1.5"),
        ("baseline.lr=nan", "baseline.lr: expected at least 0, found nan"),
        ("optimizer.momentum=1.0", "momentum: expected less than 1"),
        ("sparsify.lambda_growth=0.5", "lambda_growth: expected at least 1, found 0.5"),
        ("data.mean=[1, 2]", r"data.mean: expected 1 numbers, not 0, found \[1.0, 2.0\]"),
        ("data.shape=[1, 2]", "shape: expected"),
        ("data.colour=true", "unknown key colour: expected shape, mean"),
        ("model=3", "model: expected a table, found 3"),
        ("nonsense", "expected section.key=value"),
    ],
)
def test_mistakes_are_explained(override, message):
    with pytest.raises(SslError, match=message):
        recipes.load("lenet-filters", [override])


def test_a_recipe_without_groups_is_refused():
    table = tomllib.loads((recipes.FOLDER / "mlp.toml").read_text())
    table["sparsify"]["groups"] = {}
    with pytest.raises(SslError, match="expected at least one kind"):
        recipes.parse(table, "mine.toml")


def test_missing_keys_and_files_are_named(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[model]\nname = "lenet"\n')
    with pytest.raises(SslError, match="mine.toml: expected data, baseline, sparsify, finetune, found nothing"):
        recipes.load(str(path), [])
    path.write_text("[model")
    with pytest.raises(SslError, match="mine.toml: not TOML"):
        recipes.load(str(path), [])
    with pytest.raises(SslError, match="neither a file nor a shipped recipe .*lenet-filters"):
        recipes.load(str(tmp_path / "other.toml"), [])


def make(classes, width):
    return torch.nn.Linear(width, classes)


def test_networks_of_ones_own():
    overrides = ['model.name="test_recipes:make"', "model.options={width=3}"]
    assert build(recipes.load("mlp", overrides), 4).weight.shape == (4, 3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('model.name="lenet5"', "expected lenet, mlp"),
        ('model.name="nowhere:make"', "No module named 'nowhere'"),
        ('model.name="test_recipes:made"', "has no attribute 'made'"),
        ("model.options={depth=20}", "unexpected keyword"),
    ],
)
def test_impossible_networks_are_explained(override, message):
    with pytest.raises(SslError, match=message):
        build(recipes.load("lenet-filters", [override]), 10)
