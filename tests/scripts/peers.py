"""Measures sslm beside other runtimes:

    cargo build --release --bins
    python tests/scripts/peers.py --harness DIR --peers sslm,ort,sslm-paused,ort-paused --only 'lenet.*' [options of bench_peers.py]

is one more peer of the harness bench_peers.py, which DIR holds, and which runs all peers in turns. Its --models holds ONNX files,
which are converted into its --cache. Outputs are compared with the first peer's. `ssl-report RECORD.csv --peers results.json` sets
the result beside a record. A peer's calls come back to back; with `-paused` behind its name, each comes after a millisecond of sleep.
The harness alone asks the system about threads between two calls, which takes long enough to put some runtimes' threads to sleep.
Whether a call counts as clean is therefore known by forced switches of context alone, and for sslm by how long its threads waited.
"""

import importlib.util
import os
import subprocess
import sys
import time

import numpy as np

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "target", "release")

# Ends the name of a peer that is called after pauses, and how long these are.
PAUSED, PAUSE_US = "-paused", 1000


def register(harness):
    """Adds sslm, and every peer after pauses, to those that `harness` knows."""

    class Worker(harness.Worker):
        """A peer's process; ours is a program of its own, which takes and yields raw tensors."""

        def start(self):
            runtime = self.name.removesuffix(PAUSED)
            if runtime != "sslm":
                if runtime in self.a.python:
                    self.a.python[self.name] = self.a.python[runtime]
                return super().start()
            log = open(os.path.join(self.a.cache, f"{self.name}.t{self.threads}.log"), "a")
            command = [os.path.join(PROGRAMS, "sslm-peer"), "--threads", str(self.threads)]
            if self.name.endswith(PAUSED):
                command += ["--asleep-us", str(PAUSE_US)]
            self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
            self.stop()

        def ask(self, **request):
            if self.name.removesuffix(PAUSED) != "sslm" or request["cmd"] != "load":
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
    harness.PEERS["sslm"] = (None, "json")
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


def main():
    match sys.argv[1:]:
        case ["--harness", folder, *arguments]:
            beside(folder, arguments)
        case ["--worker", *_] as arguments:
            beside(os.environ["PEERS_HARNESS"], arguments)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
