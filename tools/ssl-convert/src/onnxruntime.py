# Runs an ONNX model with onnxruntime on the inputs of a folder, and leaves its outputs there: what `ssl-convert --verify-onnxruntime`
# compares with. `ssl-convert` hands this text to `python3 -`, with the folder as its argument.
#
# request.json: {"model": path, "inputs": [names], "count": n}; inputs-<i>.npz: arrays '0', '1', ... in the order of these names.
# answer.json: {"version": of onnxruntime, "outputs": [names]}; outputs-<i>.npz: arrays '0', '1', ... in the order of these names.
import sys

# Modules are those that are installed, not files that lie in the current folder.
sys.path = [path for path in sys.path if path]

import json


def fail(code, message):
    print(message, file=sys.stderr)
    sys.exit(code)


try:
    import numpy
    import onnxruntime
except ImportError as e:
    fail(3, e)


def main(folder):
    with open(f"{folder}/request.json") as file:
        request = json.load(file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it has to say comes as an exception
    session = onnxruntime.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for i in range(request["count"]):
        with numpy.load(f"{folder}/inputs-{i}.npz") as inputs:
            given = {name: inputs[str(n)] for n, name in enumerate(request["inputs"])}
        outputs = session.run(names, given)
        numpy.savez(f"{folder}/outputs-{i}.npz", **{str(n): output for n, output in enumerate(outputs)})
    with open(f"{folder}/answer.json", "w") as file:
        json.dump({"version": onnxruntime.__version__, "outputs": names}, file)


try:
    main(sys.argv[1])
except Exception as e:
    fail(4, " ".join(str(e).split()))
