#!/usr/bin/env python3
"""What calling from Python costs, beside the program `ssl-run`, in turns: the overhead of a call, and images a second of several threads.

    python tools/python/measure.py [--threads 2] [--turns 20]

Both sides compute each image on one thread. The overhead is that of LeNet on one image: the median of the turns' differences. The images a second
are those of ResNet-20, one image a call: of so many Python threads on one model, and of so many processes of `ssl-run`, which nothing
holds up. Run it on a quiet machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import sslm

MODELS = Path(__file__).parents[1] / "models"
RUN = Path(sys.executable).with_name("ssl-run")


def input_of(model: sslm.Model) -> np.ndarray:
    return np.random.default_rng(1).random([1, *model.inputs[0].shape[1:]], np.float32)


def start(path: Path, runs: int) -> subprocess.Popen:
    return subprocess.Popen([RUN, path, "--bench", str(runs), "--threads", "1", "--json"], stdout=subprocess.PIPE)


def median_us(process: subprocess.Popen) -> float:
    return 1e3 * json.loads(process.communicate()[0])["run_ms"]["median"]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=20)
    arguments = parser.parse_args()

    path = MODELS / "lenet/lenet.sslm"
    model = sslm.Model(path, threads=1)
    x, turns = input_of(model), []
    for _ in range(arguments.turns):
        turns.append((median_us(start(path, 5000)), call_us(model, x, 5000)))
    rust, python = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
    overhead = statistics.median(b - a for a, b in turns)
    print(f"LeNet: ssl-run {rust:.2f} us, model(x) {python:.2f} us, overhead {overhead:.2f} us (medians of {len(turns)} turns)")

    path = MODELS / "resnet20/resnet20.sslm"
    model = sslm.Model(path, threads=1)
    x, turns = input_of(model), []
    call_us(model, x, 100)
    for _ in range(arguments.turns):
        processes = [start(path, 3000) for _ in range(arguments.threads)]
        by_programs = sum(1e6 / median_us(process) for process in processes)
        turns.append((by_programs, python_rate(model, x, arguments.threads, 1.0)))
    rust, python = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
    ratio = statistics.median(b / a for a, b in turns)
    print(f"ResNet-20, {arguments.threads} threads: ssl-run {rust:.0f} images/s, Python {python:.0f}, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
