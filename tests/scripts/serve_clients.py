#!/usr/bin/env python3
"""Talks to ssl-serve as programs of others do: by tritonclient, over HTTP and gRPC.

    pip install 'tritonclient[http,grpc]' numpy onnx
    cargo build -p ssl-serve -p ssl-convert -p ssl-run
    python tests/scripts/serve_clients.py target/debug

Metadata, inference with JSON and binary data, packed and not, several inputs and outputs of several types, classification, statistics,
configurations, the model repository, deadlines and errors; what LeNet yields has the bits that ssl-run yields. Exit code 0 if all of it holds.
"""

import argparse
import concurrent.futures
import re
import subprocess
import tempfile
from pathlib import Path

import grpc
import numpy as np
import onnx
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from onnx import TensorProto, helper
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

ROOT = Path(__file__).resolve().parents[2]
TYPES = {
    "FP32": TensorProto.FLOAT,
    "FP16": TensorProto.FLOAT16,
    "FP64": TensorProto.DOUBLE,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "BOOL": TensorProto.BOOL,
}
count = 0


def expect(what, is_so):
    global count
    count += 1
    if not is_so:
        raise SystemExit(f"expected: {what}")


def casts(tools, folder):
    """A model of one input of each type, which yields them as they are, and the sum of two as float32."""
    nodes, inputs, outputs = [], [], []
    for name, of in TYPES.items():
        inputs.append(helper.make_tensor_value_info(name.lower(), of, ["N", 3]))
        nodes.append(helper.make_node("Cast", [name.lower()], [f"{name.lower()}_float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Cast", [f"{name.lower()}_float"], [f"{name.lower()}_out"], to=of))
        outputs.append(helper.make_tensor_value_info(f"{name.lower()}_out", of, ["N", 3]))
    nodes.append(helper.make_node("Add", ["int64_float", "uint8_float"], ["sum"]))
    outputs.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["N", 3]))
    model = helper.make_model(
        helper.make_graph(nodes, "casts", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, folder / "casts.onnx")
    convert = [tools / "ssl-convert", folder / "casts.onnx", "-o", folder / "casts.sslm"]
    subprocess.run(convert, check=True, capture_output=True)
    (folder / "casts.onnx").unlink()


def check(module, address, tools):
    client = module.InferenceServerClient(address)
    is_http = module is over_http
    field = (lambda message, name: message[name]) if is_http else getattr
    expect("a server that is alive and ready", client.is_server_live() and client.is_server_ready())
    expect("a model that is ready", client.is_model_ready("lenet") and client.is_model_ready("lenet", "1"))
    metadata = client.get_server_metadata()
    expect("the server's name", field(metadata, "name") == "ssl-serve" and "binary_tensor_data" in field(metadata, "extensions"))
    metadata = client.get_model_metadata("lenet")
    [image], [logits] = field(metadata, "inputs"), field(metadata, "outputs")
    expect("shape and type of the input", [int(n) for n in field(image, "shape")] == [-1, 1, 28, 28] and field(image, "datatype") == "FP32")
    image, logits = field(image, "name"), field(logits, "name")

    # The bits of ssl-run.
    images = np.random.default_rng(5).random((6, 1, 28, 28), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", images)
        lenet = ROOT / "tools/models/lenet/lenet.sslm"
        run = [tools / "ssl-run", lenet, "--input", f"{folder}/x.npy", "--output", f"{folder}/y.npy", "--batch", "6", "--threads", "1"]
        subprocess.run(run, check=True, capture_output=True)
        expected = np.load(f"{folder}/y.npy")
    for ways in [{"binary_data": True}, {"binary_data": False}] if is_http else [{}]:
        given = module.InferInput(image, images.shape, "FP32")
        given.set_data_from_numpy(images, **ways)
        found = client.infer("lenet", [given], outputs=[module.InferRequestedOutput(logits, **ways)], request_id="5")
        expect(f"the bits of ssl-run {ways}", np.array_equal(found.as_numpy(logits).view(np.int32), expected.view(np.int32)))
        expect("the request's id", field(found.get_response(), "id") == "5")
        classes = client.infer("lenet", [given], outputs=[module.InferRequestedOutput(logits, class_count=2, **ways)]).as_numpy(logits)
        expect("two classes of each image", classes.shape == (6, 2))
        texts = [text.decode() if isinstance(text, bytes) else text for text in classes[:, 0]]
        expect("the likeliest first", [int(text.split(":")[1]) for text in texts] == list(expected.argmax(1)))

    six = module.InferInput(image, images.shape, "FP32")
    six.set_data_from_numpy(images)

    # Packed bodies, the answer's among them, which has more than a packet's bytes.
    many = np.tile(images, (20, 1, 1, 1))
    given = module.InferInput(image, many.shape, "FP32")
    given.set_data_from_numpy(many)
    plain = client.infer("lenet", [given]).as_numpy(logits)
    for name in ["gzip", "deflate"]:
        ways = {"request_compression_algorithm": name, "response_compression_algorithm": name} if is_http else {"compression_algorithm": name}
        found = client.infer("lenet", [given], outputs=[module.InferRequestedOutput(logits)], **ways)
        expect(f"the same bits by {name}", np.array_equal(found.as_numpy(logits).view(np.int32), plain.view(np.int32)))
        # What is small until it is unpacked is as large as it then is.
        zeros = np.zeros((25_000, 1, 28, 28), np.float32)
        large = module.InferInput(image, zeros.shape, "FP32")
        large.set_data_from_numpy(zeros)
        ways.pop("response_compression_algorithm", None)
        try:
            client.infer("lenet", [large], **ways)
            raise SystemExit("expected an error: 78 MB are more than --max-body")
        except InferenceServerException as error:
            expect(f"more than it may have, found {error}", "the request has more than 67108864 bytes" in error.message())
            expect(f"413 or OUT_OF_RANGE, found {error.status()}", error.status() in ("413", "StatusCode.OUT_OF_RANGE"))

    # Every type, there and back.
    random = np.random.default_rng(6)
    elements = {}
    for name, of in TYPES.items():
        numpy_type = onnx.helper.tensor_dtype_to_np_dtype(of)
        elements[name] = (random.random((2, 3)) < 0.5) if name == "BOOL" else random.integers(0, 100, (2, 3)).astype(numpy_type)
    for ways in [{"binary_data": True}, {"binary_data": False}] if is_http else [{}]:
        given = []
        for name, x in elements.items():
            # tritonclient has no JSON for halves.
            own = {"binary_data": True} if ways and name == "FP16" else ways
            given.append(module.InferInput(name.lower(), x.shape, name))
            given[-1].set_data_from_numpy(x, **own)
        wanted = [module.InferRequestedOutput(f"{name.lower()}_out", **({"binary_data": True} if ways else {})) for name in TYPES]
        found = client.infer("casts", given, outputs=[*wanted, module.InferRequestedOutput("sum")])
        for name, x in elements.items():
            y = found.as_numpy(f"{name.lower()}_out")
            expect(f"{name} as it was given {ways}", y.dtype == x.dtype and np.array_equal(y, x))
        expect("the sum", np.array_equal(found.as_numpy("sum"), (elements["INT64"] + elements["UINT8"]).astype(np.float32)))

    # Statistics and configurations.
    def first(name, *arguments):
        return field(client.get_inference_statistics(name, *arguments), "model_stats")[0]

    def count(stats, name):
        return int(field(field(field(stats, "inference_stats"), name), "count"))

    before, runs = first("lenet", "1"), 3
    for _ in range(runs):
        client.infer("lenet", [six])
    after = first("lenet")
    for name in ["success", "queue", "compute_infer"]:
        expect(f"{runs} more of {name}", count(after, name) - count(before, name) == runs)
    more = int(field(after, "inference_count")) - int(field(before, "inference_count"))
    expect(f"{runs * len(images)} more images, found {more}", more == runs * len(images))
    expect("batches of six", any(int(field(size, "batch_size")) == len(images) for size in field(after, "batch_stats")))
    expect("statistics of all models", len(field(client.get_inference_statistics(), "model_stats")) == 2)
    config = client.get_model_config("casts")
    config = config if is_http else config.config
    expect("the model's name and a batch", field(config, "name") == "casts" and field(config, "max_batch_size") > 1)
    inputs = {field(own, "name"): own for own in field(config, "input")}
    for name in TYPES:
        own = inputs[name.lower()]
        data_type = field(own, "data_type")
        data_type = data_type if is_http else model_config_pb2.DataType.Name(data_type)
        expect(f"TYPE_{name}, found {data_type}", data_type == f"TYPE_{name}" and list(field(own, "dims")) == [3])

    # Errors, by what they say and by their codes.
    given = module.InferInput(image, [1, 1, 28, 27], "FP32")
    given.set_data_from_numpy(np.zeros((1, 1, 28, 27), np.float32))
    sound = module.InferInput(image, [1, 1, 28, 28], "FP32")
    sound.set_data_from_numpy(np.zeros((1, 1, 28, 28), np.float32))
    for what, call, http_code, grpc_code in [
        (r"there is no model 'nobody'", lambda: client.infer("nobody", [given]), "404", "StatusCode.NOT_FOUND"),
        (r"there is no model 'lenet', version '9'", lambda: client.infer("lenet", [sound], model_version="9"), "404", "StatusCode.NOT_FOUND"),
        (r"shape of input 'image': expected \[", lambda: client.infer("lenet", [given]), "400", "StatusCode.INVALID_ARGUMENT"),
        (r"inputs of model 'casts'", lambda: client.infer("casts", [sound]), "400", "StatusCode.INVALID_ARGUMENT"),
        (
            r"outputs of model 'lenet'",
            lambda: client.infer("lenet", [sound], outputs=[module.InferRequestedOutput("nothing")]),
            "400",
            "StatusCode.INVALID_ARGUMENT",
        ),
    ]:
        try:
            call()
            raise SystemExit(f"expected an error: {what}")
        except InferenceServerException as error:
            expect(f"{what}, found {error}", re.search(what, error.message()))
            expect(f"{http_code} or {grpc_code}, found {error.status()}", error.status() in (http_code, grpc_code))

    # The repository.
    index = client.get_model_repository_index()
    listed = {field(model, "name"): field(model, "state") for model in (index if is_http else index.models)}
    expect(f"two models, found {listed}", listed == {"lenet": "READY", "casts": "READY"})
    client.unload_model("lenet")
    expect("a model that is not ready", not client.is_model_ready("lenet"))
    client.load_model("lenet")
    expect("a model that is ready again", client.is_model_ready("lenet"))


def faults(address):
    """What clients of gRPC do wrong is no defect of the server."""
    channel = grpc.insecure_channel(address)
    ask = lambda method, messages: list(channel.stream_stream("/inference.GRPCInferenceService/" + method)(iter(messages), timeout=30))
    for method, messages in [("ModelInfer", [b"\xff\xff\xff"]), ("ModelReady", [b"\x0a\x02\xff\xfe"]), ("ServerLive", [])]:
        try:
            raise SystemExit(f"expected an error, found {ask(method, messages)}")
        except grpc.RpcError as error:
            expect(f"INVALID_ARGUMENT, found {error.code()}", error.code() == grpc.StatusCode.INVALID_ARGUMENT)


def deadline(address):
    """A deadline of gRPC ends a request."""
    client = over_grpc.InferenceServerClient(address)
    image = over_grpc.InferInput("image", [4096, 1, 28, 28], "FP32")
    image.set_data_from_numpy(np.zeros((4096, 1, 28, 28), np.float32))
    try:
        client.infer("lenet", [image], client_timeout=0.001)
        raise SystemExit("expected an error: 4096 images take longer than a millisecond")
    except InferenceServerException as error:
        expect(f"a deadline, found {error}", "DEADLINE_EXCEEDED" in error.status())


class Collector(grpc.GenericRpcHandler):
    """Takes traces, as a collector of OpenTelemetry does, and keeps their bytes."""

    def __init__(self):
        self.found = b""

    def service(self, details):
        def export(request, context):
            self.found += request
            return b""

        expect("traces", details.method == "/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        return grpc.unary_unary_rpc_method_handler(export)


def traces(serve):
    """What a server that was built with the feature `otlp` tells a collector of a request."""
    collector = Collector()
    receiver = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    receiver.add_generic_rpc_handlers([collector])
    serve = [*serve, "--otlp", f"http://127.0.0.1:{receiver.add_insecure_port('127.0.0.1:0')}"]
    receiver.start()
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = next(line for line in server.stderr if "://" in line).strip().rsplit("://", 1)[1]
            client = over_grpc.InferenceServerClient(address)
            image = over_grpc.InferInput("image", [1, 1, 28, 28], "FP32")
            image.set_data_from_numpy(np.zeros((1, 1, 28, 28), np.float32))
            trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
            client.infer("lenet", [image], headers={"traceparent": f"00-{trace}-{parent}-01"})
        finally:
            server.terminate()
    receiver.stop(None)
    for text in (b"ssl-serve", b"request", b"inference", b"lenet", bytes.fromhex(trace), bytes.fromhex(parent)):
        expect(f"{text} in what was sent", text in collector.found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=Path, help="folder of ssl-serve, ssl-convert and ssl-run")
    tools = parser.parse_args().tools.resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "lenet.sslm").write_bytes((ROOT / "tools/models/lenet/lenet.sslm").read_bytes())
        casts(tools, folder)
        serve = [tools / "ssl-serve", folder, "--listen", "127.0.0.1:0", "--allow-control", "--log", "errors"]
        with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
            try:
                address = next(line for line in server.stderr if "://" in line).strip().rsplit("://", 1)[1]
                for module in (over_http, over_grpc):
                    check(module, address, tools)
                deadline(address)
                faults(address)
            finally:
                server.terminate()
        expect(f"exit code 0, found {server.returncode}", server.returncode == 0)
        if "--otlp" in subprocess.run([tools / "ssl-serve", "--help"], check=True, capture_output=True, text=True).stdout:
            traces(serve)
        else:
            print("traces were not tested: ssl-serve was built without the feature otlp")
    print(f"{count} expectations hold")


if __name__ == "__main__":
    main()
