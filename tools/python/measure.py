#!/usr/bin/env python3
"""What calling from Python costs, in turns: the overhead of a call beside `ssl-run`, and images a second of several threads beside as many
processes, which share no interpreter.

    python tools/python/measure.py [--threads 2] [--turns 20]

Each image is computed on one thread. The overhead is that of LeNet on one image, the images a second are those of ResNet-20, one image a
call. Figures are medians of the turns. Run it on a quiet machine.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import sslm

MODELS = Path(__file__).parents[1] / "models"
RESNET = MODELS / "resnet20/resnet20.sslm"
RUN = Path(sys.executable).with_name("ssl-run")


def input_of(model: sslm.Model) -> np.ndarray:
    return np.random.default_rng(1).random([1, *model.inputs[0].shape[1:]], np.float32)


def ssl_run_us(path: Path, runs: int) -> float:
    """The median time of a run by `ssl-run`."""
    command = [RUN, path, "--bench", str(runs), "--threads", "1", "--json"]
    return 1e3 * json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["run_ms"]["median"]


def call_us(model: sslm.Model, x: np.ndarray, calls: int) -> float:
    """The median time of a call."""
    times = []
    for _ in range(calls):
        begin = time.perf_counter_ns()
        model(x)
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times) / 1e3


def python_rate(model: sslm.Model, x: np.ndarray, threads: int, seconds: float) -> float:
    """Images a second of so many threads."""
    counts, end = [0] * threads, time.perf_counter() + seconds

    def work(i: int) -> None:
        while time.perf_counter() < end:
            for _ in range(50):
                model(x)
            counts[i] += 50

    begin = time.perf_counter()
    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begin)


def one_process(seconds: float) -> float:
    """Images a second of a process."""
    model = sslm.Model(RESNET, threads=1)
    x = input_of(model)
    call_us(model, x, 100)
    return python_rate(model, x, 1, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=20)
    arguments = parser.parse_args()

    path = MODELS / "lenet/lenet.sslm"
    model = sslm.Model(path, threads=1)
    x, turns = input_of(model), []
    for _ in range(arguments.turns):
        turns.append((ssl_run_us(path, 5000), call_us(model, x, 5000)))
    rust, python = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
    overhead = statistics.median(b - a for a, b in turns)
    print(
        f"LeNet: ssl-run {rust:.2f} us, model(x) {python:.2f} us, overhead {overhead:.2f} us (medians of {len(turns)} turns)"
    )

    model = sslm.Model(RESNET, threads=1)
    x, turns = input_of(model), []
    call_us(model, x, 100)
    with multiprocessing.get_context("spawn").Pool(arguments.threads) as pool:
        for _ in range(arguments.turns):
            apart = sum(pool.map(one_process, [1.0] * arguments.threads, chunksize=1))
            turns.append((apart, python_rate(model, x, arguments.threads, 1.0)))
    apart, together = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
    ratio = statistics.median(b / a for a, b in turns)
    print(f"ResNet-20, {arguments.threads}: processes {apart:.0f} images/s, threads {together:.0f}, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
