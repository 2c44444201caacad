"""What the command says when it cannot start."""

import sys

import pytest

from ssl_train import cli


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["ssl-train", "lenet", "--data", "nowhere", "--out", "out", *arguments])
    return cli.main()


def test_missing_data_is_one_line_and_status_2(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch) == 2
    message = capsys.readouterr().err
    assert message == "ssl-train: nowhere/train-images-idx3-ubyte: no such file\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "0"], "threads: expected at least 1, found 0"),
        (["--hold-epochs", "0"], "hold_epochs: expected at least 1, found 0"),
    ],
)
def test_impossible_settings_are_usage_errors(monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, *arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_every_setting_is_explained():
    assert set(cli.HELP) == {field.name for field in cli.fields(cli.Recipe)}
