#!/usr/bin/env python3
"""Measures what ssl-serve adds to the library: requests a second, latencies, and what becomes of too many requests.

    cargo build --release --bins --examples -p ssl-serve
    python tests/scripts/serve_load.py target/release MODEL.sslm[:BATCH] ... [--onnx MODEL.onnx ...] [--rounds 5]

The server and its worker are pinned to one core and the load to another, so two cores are needed, and nothing else to run on them. In
each round, in turns: the library on the server's core (the example `library`), the server as fast as answers come (4 connections), and one
connection alone, which shows what a request costs beyond its run; with --onnx, onnxruntime behind a small server (serve_onnxruntime.py)
on the same core. Medians of the rounds. Then, once: twice as many requests as it can answer, by an open loop. Needs Linux; --onnx needs
onnxruntime and numpy.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
from pathlib import Path

SERVER, LOAD = "1", "0"
SCRIPTS = Path(__file__).resolve().parent


def pinned(core, *command):
    return ["taskset", "-c", core, *map(str, command)]


@contextlib.contextmanager
def served(command):
    with subprocess.Popen(pinned(SERVER, *command), stderr=subprocess.PIPE, text=True) as server:
        try:
            yield next(line for line in server.stderr if "://" in line).strip().rsplit("://", 1)[1]
        finally:
            server.terminate()


def load(tools, address, model, **options):
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    command = pinned(LOAD, tools / "examples/load", address, model, "--json", *flags)
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=Path, help="folder of the programs")
    parser.add_argument("models", nargs="+", help="models, with the images of a request behind a colon")
    parser.add_argument("--onnx", nargs="*", default=[], help="the same models for onnxruntime")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    given = parser.parse_args()
    rows = []
    for index, text in enumerate(given.models):
        path, _, batch = text.partition(":")
        path, batch = Path(path), int(batch or 1)
        serve = [given.tools / "ssl-serve", path, "--listen", "127.0.0.1:0", "--workers", 1, "--log", "errors"]
        library, whole, alone, others = [], [], [], []
        options = {"batch": batch, "seconds": given.seconds}
        for _ in range(given.rounds):
            run = pinned(SERVER, given.tools / "examples/library", path, "--batch", batch, "--seconds", given.seconds)
            library.append(1 / float(subprocess.run(run, check=True, capture_output=True, text=True).stdout))
            with served(serve) as address:
                whole.append(load(given.tools, address, path.stem, connections=4, **options))
                alone.append(load(given.tools, address, path.stem, connections=1, **options))
            if index < len(given.onnx):
                with served([sys.executable, SCRIPTS / "serve_onnxruntime.py", given.onnx[index], 8123]) as address:
                    others.append(load(given.tools, address, path.stem, connections=4, **options))
        part = lambda served: statistics.median(s["requests_per_second"] * r for s, r in zip(served, library))
        run, rate = statistics.median(library), statistics.median(w["requests_per_second"] for w in whole)
        with served([*serve, "--queue", 16]) as address:
            over = load(given.tools, address, path.stem, connections=64, rate=2 * rate, **options)
        rows.append(
            {
                "model": path.stem,
                "batch": batch,
                "library_us": run * 1e6,
                "library_requests_per_second": 1 / run,
                "requests_per_second": rate,
                "part_of_library": part(whole),
                "alone_p50_us": statistics.median(a["p50"] for a in alone) * 1e6,
                "beyond_run_us": statistics.median(a["p50"] - r for a, r in zip(alone, library)) * 1e6,
                "alone_p99_us": statistics.median(a["p99"] for a in alone) * 1e6,
                "twice_p99_us": over["p99"] * 1e6,
                "twice_p99_from_sending_us": over["p99_from_sending"] * 1e6,
                "twice_bound_us": 18 / rate * 1e6,
                "twice_refused": over["refused"] / (over["refused"] + over["answered"]),
                "twice_refused_p99_us": over["refused_p99"] * 1e6,
                "onnxruntime_requests_per_second": statistics.median(o["requests_per_second"] for o in others) if others else None,
                "onnxruntime_p99_us": statistics.median(o["p99"] for o in others) * 1e6 if others else None,
                "p99_us": statistics.median(w["p99"] for w in whole) * 1e6,
            }
        )
        print(json.dumps(rows[-1]), flush=True)


if __name__ == "__main__":
    main()
