"""Measures sslm beside other runtimes.

    cargo build --release --bins
    python tests/scripts/peers.py --harness DIR --peers sslm,sslm-avx2,ort,sslm-paused,ort-paused --only 'lenet.*' [options of bench_peers.py]

is one more peer of the harness bench_peers.py, which DIR holds, and which runs all peers in turns. Its --models holds ONNX files,
which are converted into its --cache. Outputs are compared with the first peer's. `ssl-report RECORD.csv --peers results.json` sets
the result beside a record. `sslm-avx2` and `sslm-portable` are sslm by lower instruction sets than the CPU's best, which other runtimes
keep. A peer's calls come back to back; with `-paused` behind its name, each comes after a millisecond of sleep.
The harness alone asks the system about threads between two calls, which takes long enough to put some runtimes' threads to sleep.
Whether a call counts as clean is therefore known by forced switches of context alone, and for sslm by how long its threads waited.

    cargo bench -p sslm-benches --bench pauses -- --into DIR
    python tests/scripts/peers.py --pauses DIR

times onnxruntime on the networks and with the pauses that the bench left in DIR, with its defaults and with threads that do not spin,
and writes what it took as DIR/onnxruntime.json. Both need nothing else to run on the machine.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time

import numpy as np

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "target", "release")

# Ends the name of a peer that is called after pauses, and how long these are.
PAUSED, PAUSE_US = "-paused", 1000

# What sslm's peers are called, and the instruction sets that they are told to use.
OURS = {"sslm": {}, "sslm-avx2": {"SSLM_ISA": "avx2"}, "sslm-portable": {"SSLM_ISA": "portable"}}


def register(harness):
    """Adds sslm, and every peer after pauses, to those that `harness` knows."""

    class Worker(harness.Worker):
        """A peer's process; ours is a program of its own, which takes and yields raw tensors."""

        def start(self):
            runtime = self.name.removesuffix(PAUSED)
            if runtime not in OURS:
                if runtime in self.a.python:
                    self.a.python[self.name] = self.a.python[runtime]
                return super().start()
            log = open(os.path.join(self.a.cache, f"{self.name}.t{self.threads}.log"), "a")
            command = [os.path.join(PROGRAMS, "sslm-peer"), "--threads", str(self.threads)]
            if self.name.endswith(PAUSED):
                command += ["--asleep-us", str(PAUSE_US)]
            env = {**os.environ, **OURS[runtime]}
            self.p = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
            self.stop()

        def ask(self, **request):
            if self.name.removesuffix(PAUSED) not in OURS or request["cmd"] != "load":
                return super().ask(**request)
            at = lambda name: os.path.join(self.a.cache, name)
            model, output = at(request["name"] + ".sslm"), request["out"]
            converted = subprocess.run(
                [os.path.join(PROGRAMS, "ssl-convert"), request["path"], "-o", model, "--force"], capture_output=True, text=True
            )
            if converted.returncode == 2:
                return dict(ok=False, error=converted.stderr.strip()[:300])
            harness.fixed_input(request["shape"]).astype("<f4").tofile(at("x.raw"))
            answer = super().ask(cmd="load", name=request["name"], model=model, x=at("x.raw"), out=at("y.raw"))
            if answer["ok"]:
                np.save(output, np.fromfile(at("y.raw"), "<f4"))
            return answer

    harness.Worker = Worker
    harness.PEERS.update({name: (None, "json") for name in OURS})
    harness.PEERS.update({name + PAUSED: peer for name, peer in harness.PEERS.items()})


def beside(folder, arguments):
    """Runs the harness in `folder`; its workers are this program, too, which it starts with --worker NAME."""
    sys.path.insert(0, folder)
    sys.argv[1:] = arguments
    import bench_peers

    # Its main function expects to run as a program.
    bench_peers.importlib = importlib
    bench_peers.__file__ = os.path.abspath(__file__)
    os.environ["PEERS_HARNESS"] = os.path.abspath(folder)
    if "--worker" in arguments:
        paused = arguments[arguments.index("--worker") + 1].endswith(PAUSED)
        # What it does before each call: it would ask how long threads have waited, in nanoseconds.
        bench_peers.run_delay = (lambda: time.sleep(PAUSE_US / 1e6) or 0) if paused else (lambda: 0)
    register(bench_peers)
    bench_peers.main()


class Cores:
    """Within it, this thread and those that it starts may use one core only, if that is wanted."""

    def __init__(self, one):
        self.all = os.sched_getaffinity(0)
        self.within = {min(self.all)} if one else self.all

    def __enter__(self):
        os.sched_setaffinity(0, self.within)

    def __exit__(self, *_):
        os.sched_setaffinity(0, self.all)


def series(call, pause_us, asleep, count):
    """Microseconds of each of `count` calls after pauses, and of computing in a call, as the bench takes them."""
    busy, taken = 0.0, []

    def one():
        nonlocal busy
        start = time.perf_counter()
        if asleep:
            time.sleep(pause_us / 1e6)
        elif pause_us:
            while time.perf_counter() - start < pause_us / 1e6:
                pass
            busy += time.perf_counter() - start
        start = time.perf_counter()
        call()
        taken.append(1e6 * (time.perf_counter() - start))

    begin = time.perf_counter()
    while not taken or time.perf_counter() - begin < 0.002:
        one()
    taken.clear()
    busy, computed = 0.0, time.process_time()
    for _ in range(count):
        one()
    return taken, 1e6 * (time.process_time() - computed - busy) / count


def after_pauses(folder):
    """Times onnxruntime as the bench timed sslm: one row for each of its rows, and each way to wait for work."""
    import onnxruntime

    with open(os.path.join(folder, "sslm.json")) as file:
        rows = json.load(file)["rows"]
    found, sessions = [], {}
    for row in rows:
        for spins in [True, False]:
            key = row["model"], row["threads"], row["one_core"], spins
            with Cores(row["one_core"]):
                if key not in sessions:
                    options = onnxruntime.SessionOptions()
                    options.intra_op_num_threads, options.inter_op_num_threads = row["threads"], 1
                    if not spins:
                        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                    path = os.path.join(folder, row["model"])
                    sessions[key] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
                session = sessions[key]
                port = session.get_inputs()[0]
                shape = [extent if isinstance(extent, int) else 1 for extent in port.shape]
                x = np.random.default_rng(7).uniform(-1, 1, shape).astype(np.float32)
                us, processor_us = series(
                    lambda: session.run(None, {port.name: x}), row["pause_us"], row["asleep"], row["calls"]
                )
            runtime = f"onnxruntime {onnxruntime.__version__}" + ("" if spins else ", not spinning")
            median, p90 = np.quantile(us, [0.5, 0.9])
            found.append(row | dict(runtime=runtime, median_us=median, p90_us=p90, processor_us=processor_us))
            place = " on one core" if row["one_core"] else ""
            print(
                f"{row['net']:12} threads {row['threads']}{place:12} {row['pause']:20} {runtime:36}"
                f" median {median:9.1f} us  p90 {p90:9.1f} us  processor {processor_us:9.1f} us",
                flush=True,
            )
    with open(os.path.join(folder, "onnxruntime.json"), "w") as file:
        json.dump(dict(rows=found), file, indent=1)


def main():
    match sys.argv[1:]:
        case ["--harness", folder, *arguments]:
            beside(folder, arguments)
        case ["--worker", *_] as arguments:
            beside(os.environ["PEERS_HARNESS"], arguments)
        case ["--pauses", folder]:
            after_pauses(folder)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
