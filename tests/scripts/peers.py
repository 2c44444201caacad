"""Measures sslm beside other runtimes, as one more peer of the harness bench_peers.py, which runs them all in turns:

    cargo build --release --bins
    python tests/scripts/peers.py --harness DIR --peers sslm,ort,openvino --only 'lenet.*' [more options of bench_peers.py]

DIR holds bench_peers.py; its --models holds ONNX files, which are converted into its --cache. Outputs are compared with the first
peer's. `ssl-report RECORD.csv --peers results.json` sets the result beside a record.
"""

import os
import subprocess
import sys

import numpy as np

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "target", "release")


def register(harness):
    """Adds sslm to the peers that `harness` knows."""

    class Worker(harness.Worker):
        """A peer's process; ours is a program of its own, which takes and yields raw tensors."""

        def start(self):
            if self.name != "sslm":
                return super().start()
            log = open(os.path.join(self.a.cache, f"sslm.t{self.threads}.log"), "a")
            command = [os.path.join(PROGRAMS, "sslm-peer"), "--threads", str(self.threads)]
            self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
            self.stop()

        def ask(self, **request):
            if self.name != "sslm" or request["cmd"] != "load":
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


def main():
    arguments = sys.argv[1:]
    if len(arguments) < 2 or arguments[0] != "--harness":
        sys.exit(__doc__)
    sys.path.insert(0, arguments[1])
    sys.argv[1:] = arguments[2:]
    import bench_peers

    # Its main function expects to run as a program.
    import importlib.util

    bench_peers.importlib = importlib
    register(bench_peers)
    bench_peers.main()


if __name__ == "__main__":
    main()
