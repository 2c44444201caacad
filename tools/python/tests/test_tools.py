"""The command-line tools that come with the package."""

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def run(tool, *arguments):
    done = subprocess.run([BIN / tool, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("tool", ["ssl-convert", "ssl-inspect", "ssl-report", "ssl-run"])
def test_each_is_there(tool):
    code, out, _ = run(tool, "--help")
    assert code == 0 and f"Usage: {tool}" in out and "Example" in out
    code, out, err = run(tool, "--no-such-flag")
    assert code == 2 and not out and "--no-such-flag" in err


def test_they_do_their_work(lenet, tmp_path):
    out = tmp_path / "lenet.sslm"
    code, said, err = run("ssl-convert", lenet / "lenet.onnx", "-o", out)
    assert code == 0 and "10.90x" in said, err
    code, said, err = run("ssl-run", out, lenet / "digits/7.png")
    assert code == 0 and "100.00 %  7" in said, err
    code, said, err = run("ssl-inspect", out)
    assert code == 0 and "3 of 20" in said, err
    code, said, err = run("ssl-run", out, tmp_path / "missing.png")
    assert code == 2 and "missing.png" in err
    code, said, err = run("ssl-convert", lenet / "lenet.onnx", "-o", tmp_path / "b.sslm", "--zero-tol", 0.3)
    assert code == 1 and not (tmp_path / "b.sslm").exists()


def test_a_reader_that_has_seen_enough(lenet):
    done = subprocess.run(
        f"'{BIN}/ssl-inspect' '{lenet}/lenet.sslm' | head -1",
        shell=True,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "lenet.sslm" in done.stdout and not done.stderr


def test_unknown_tools_are_errors():
    from sslm._sslm import run_tool

    with pytest.raises(ValueError, match="expected the name of one, found 'rm'"):
        run_tool("rm", ["rm"])
