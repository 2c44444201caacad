"""The command-line tools, as console scripts."""

import signal
import sys

from sslm._sslm import run_tool


def _main(name: str) -> int:
    # As in a program of its own: the interpreter would notice an interrupt only after the tool is done.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.flush()
    return run_tool(name, [name, *sys.argv[1:]])


def ssl_convert() -> int:
    return _main("ssl-convert")


def ssl_inspect() -> int:
    return _main("ssl-inspect")


def ssl_report() -> int:
    return _main("ssl-report")


def ssl_run() -> int:
    return _main("ssl-run")
