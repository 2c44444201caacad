"""Runs in their folder: stages, interruption and resumption, goals, and the command line as people misuse it."""

import csv
import json
from pathlib import Path

import onnx
import pytest
import torch
from conftest import flags

from ssl_train import checkpoint, cli, pipeline, recipes
from ssl_train.data import load
from ssl_train.errors import SslError
from ssl_train.pipeline import Run
from ssl_train.sparsify import Sparsifier
from ssl_train.sslm import Programs

SMOKE = str(Path(__file__).with_name("smoke.toml"))
NO_TOOLS = Programs(Path("/nonexistent"))


def run_of(folder: Path, mnist: Path, *overrides: str, tools=NO_TOOLS) -> Run:
    recipe = recipes.load(SMOKE, list(overrides))
    return Run(folder, recipe, load(mnist, recipe.data.shape, None), 1, torch.device("cpu"), tools)


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("stage", ["baseline", "sparsify"])
def test_a_resumed_run_is_the_uninterrupted_one(mnist, tmp_path, stage, monkeypatch):
    whole = run_of(tmp_path / "whole", mnist)
    whole.start(resume=False)
    whole.stage("baseline")
    if stage == "sparsify":
        whole.stage("sparsify")

    broken = run_of(tmp_path / "broken", mnist)
    broken.start(resume=False)
    if stage == "sparsify":
        broken.stage("baseline")
    epoch, calls = broken.trainer.epoch, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(broken.trainer, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        broken.stage(stage)

    resumed = run_of(tmp_path / "broken", mnist)
    resumed.start(resume=True)
    resumed.stage(stage)
    states = [checkpoint.load(tmp_path / name / f"{stage}.pt") for name in ("whole", "broken")]
    assert same(states[0]["model"], states[1]["model"]) and same(states[0]["masks"], states[1]["masks"])
    assert [r["loss"] for r in states[0]["rows"]] == [r["loss"] for r in states[1]["rows"]]
    assert not (tmp_path / "broken/checkpoint.pt").exists()


def test_the_stages_prune_to_what_was_asked_and_still_classify(mnist, tmp_path):
    run = run_of(tmp_path, mnist)
    run.start(resume=False)
    for stage in pipeline.STAGES:
        run.stage(stage)
    conv1, conv2 = run.model.conv1.weight, run.model.conv2.weight
    assert 1 <= conv1.flatten(1).any(1).sum() <= 8
    assert 1 <= conv2.flatten(1).any(1).sum() <= 20
    assert 1 <= conv2.any(0).sum() <= 250
    assert torch.equal(conv2 != 0, run.masks["conv2"])
    assert run.summary["finetune"]["test_error"] <= 2.0
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    lambdas = [float(row["lambda"]) for row in rows if row["stage"] == "sparsify"]
    assert lambdas == sorted(lambdas)
    run.export(tmp_path / "model.onnx")
    assert {"norms.png", "filters.png", "model.onnx", "metrics.json", "config.json"} <= {
        p.name for p in tmp_path.iterdir()
    }


@pytest.mark.parametrize(
    ("goal", "value", "reached"),
    [
        ("target_macs", 0.4, lambda run, left: left.macs_fraction <= 0.4),
        ("target_speedup", 1.5, lambda run, left: True),
        ("max_drop", 5.0, lambda run, left: run.summary["sparsify"]["validation_error"] <= 5.0),
    ],
)
def test_goals_end_the_ramp(mnist, tmp_path, tools, goal, value, reached):
    run = run_of(tmp_path, mnist, "sparsify.epochs=12", f"sparsify.{goal}={value}", tools=tools)
    run.recipe = recipes.only_goal(run.recipe, goal)
    run.start(resume=False)
    for stage in ("baseline", "sparsify", "prune"):
        run.stage(stage)
    assert len([row for row in run.rows if row["stage"] == "sparsify"]) < 12
    assert reached(run, tools.structure(run.model, (1, 28, 28)))


def test_goals_are_checked_as_soon_as_a_layer_falls(monkeypatch):
    recipe = recipes.load("resnet20", ["sparsify.lambda_start=1e-9"])
    model = pipeline.build(recipe, 10)
    sparsifier = Sparsifier(recipe, model, torch.optim.SGD(model.parameters(), lr=0.1), NO_TOOLS)
    checks = []
    monkeypatch.setattr(sparsifier, "structure", lambda: checks.append(None))
    monkeypatch.setattr(sparsifier, "reached", lambda structure: len(checks) == 3)
    ends = []
    for now, scale in [
        (0.01, 1.0),
        (0.02, 0.001),
        (0.03, 0.001),
        (0.04, 1.0),
        (0.05, 0.001),
        (0.27, 0.001),
        (0.28, 0.0),
    ]:
        model.block2_2.bn2.weight.data[:] = scale
        if now == 0.28:
            model.block3_1.bn2.weight.data[:] = scale
        ends.append(sparsifier.after_step(now))
        ends.append(len(checks))
    # A quarter of an epoch is over at 0.27; a layer that comes and goes is one that fell.
    assert ends == [False, 0, False, 1, False, 1, False, 1, False, 1, False, 2, True, 3]


def test_too_much_lambda_is_explained(mnist, tmp_path):
    run = run_of(tmp_path, mnist, "sparsify.lambda_start=100.0", "sparsify.keep={}")
    run.recipe = recipes.only_goal(run.recipe, None)
    run.start(resume=False)
    run.stage("baseline")
    with pytest.raises(SslError, match="nothing is left of conv. at lambda"):
        run.stage("sparsify")


def test_checkpoints_that_are_damaged_are_named(mnist, tmp_path):
    run = run_of(tmp_path, mnist)
    run.start(resume=False)
    run.stage("baseline")
    path = tmp_path / "baseline.pt"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SslError, match="baseline.pt: not a checkpoint, or damaged"):
        run.load("baseline")
    checkpoint.save(path, {"model": {}})
    with pytest.raises(SslError, match="baseline.pt: does not fit this run"):
        run.load("baseline")


def test_files_are_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoint.write(path, fail)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def call(monkeypatch, capsys, *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["ssl-train", *map(str, arguments)])
    code = cli.main()
    return code, *capsys.readouterr()


def test_stages_one_by_one_and_another_run_from_the_same_baseline(monkeypatch, capsys, mnist, tmp_path):
    given = ["--data", mnist, "--threads", 1, "--run", tmp_path / "a"]
    assert call(monkeypatch, capsys, "baseline", SMOKE, *given)[0] == 0
    for stage in ("sparsify", "prune", "finetune"):
        assert call(monkeypatch, capsys, stage, SMOKE, *given)[0] == 0
    code, out, _ = call(monkeypatch, capsys, "export", SMOKE, *given, "--out", tmp_path / "a.onnx")
    assert code == 0 and "finetune  test error" in out
    onnx.checker.check_model(onnx.load(tmp_path / "a.onnx"))
    other = ["--data", mnist, "--run", tmp_path / "b", "--baseline", tmp_path / "a", "--set", "sparsify.epochs=1"]
    assert call(monkeypatch, capsys, "sparsify", SMOKE, *other)[0] == 0
    assert (tmp_path / "b/baseline.pt").read_bytes() == (tmp_path / "a/baseline.pt").read_bytes()


def test_a_folder_is_not_used_twice_unasked(monkeypatch, capsys, mnist, tmp_path):
    given = [SMOKE, "--data", mnist, "--run", tmp_path]
    assert call(monkeypatch, capsys, "baseline", *given)[0] == 0
    code, _, err = call(monkeypatch, capsys, "baseline", *given)
    assert code == 2 and "pass --resume" in err
    code, _, err = call(monkeypatch, capsys, "sparsify", *given, "--seed", 2)
    assert code == 2 and "started with another seed" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", SMOKE, "--data", "/nonexistent", "--out", "{}/m.onnx"], "/nonexistent: no such folder"),
        (["run", SMOKE, "--data", "{}", "--out", "{}/m.onnx"], "found neither IDX files"),
        (["run", "nothing", "--data", "{}", "--out", "{}/m.onnx"], "nor a shipped recipe"),
        (["run", SMOKE, "--data", "{}", "--out", "{}/no/m.onnx"], "no: no such folder"),
        (["run", SMOKE, "--data", "{}", "--out", "{}"], "expected the name of a file, found a folder"),
        (
            ["run", SMOKE, "--data", "{}", "--out", "{}/m.onnx", "--target-macs", "0.5", "--tools", "{}"],
            "ssl-convert: not found in",
        ),
        (["run", SMOKE, "--data", "{}", "--out", "{}/m.onnx", "--threads", "0"], "--threads: expected at least 1"),
        (["run", SMOKE, "--data", "{}", "--out", "{}/m.onnx", "--device", "tpu9"], "--device tpu9"),
        (["run", SMOKE, "--data", "{}", "--out", "{}/m.onnx", "--max-drop", "-1"], "max_drop: expected at least 0"),
    ],
)
def test_misuse_is_one_message_and_leaves_nothing(monkeypatch, capsys, tmp_path, arguments, message):
    code, out, err = call(monkeypatch, capsys, *(argument.format(tmp_path) for argument in arguments))
    assert code == 2 and out == ""
    assert message in err and err.startswith("ssl-train: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_stages_have_an_order(monkeypatch, capsys, mnist, tmp_path):
    code, _, err = call(monkeypatch, capsys, "finetune", SMOKE, "--data", mnist, "--run", tmp_path / "r")
    assert code == 2 and "the stage baseline has to come first" in err
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_says_how_to_continue(monkeypatch, capsys, mnist, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "stage", interrupted)
    code, _, err = call(monkeypatch, capsys, "baseline", SMOKE, "--data", mnist, "--run", tmp_path)
    assert code == 130 and "--resume" in err


def test_controls_are_measured_as_the_run_is(monkeypatch, capsys, mnist, tmp_path, tools):
    given = [SMOKE, "--data", mnist, *flags(tools)]
    assert call(monkeypatch, capsys, "run", *given, "--out", tmp_path / "m.onnx")[0] == 0
    code, out, _ = call(monkeypatch, capsys, "controls", *given, "--run", tmp_path / "m.run")
    assert code == 0 and len(out.splitlines()) == 4
    found = json.loads((tmp_path / "m.run/controls.json").read_text())
    assert set(found) == {"ssl", "dense", "magnitude", "l1", "low-rank"}
    for name in ("magnitude", "low-rank"):
        assert 0.5 * found["ssl"]["macs"] <= found[name]["macs"] <= found["ssl"]["macs"] < found["dense"]["macs"]
    assert len({control["epochs"] for name, control in found.items()}) <= 2
