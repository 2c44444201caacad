#!/usr/bin/env python3
"""onnxruntime behind a small server, for serve_load.py: one model, one path of the Open Inference Protocol, binary data over HTTP/1.1.

    python tests/scripts/serve_onnxruntime.py model.onnx PORT

As little as a server in Python can do: asyncio's streams, one session with one thread, one run at a time.
"""

import asyncio
import json
import sys

import numpy as np
import onnxruntime


class Server:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.busy = asyncio.Lock()

    async def connection(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                if head.startswith("get"):
                    inputs = [
                        {"name": i.name, "datatype": "FP32", "shape": [n if isinstance(n, int) else -1 for n in i.shape]}
                        for i in self.session.get_inputs()
                    ]
                    kind, answer = "", json.dumps({"inputs": inputs}).encode()
                else:
                    kind, answer = await self.infer(body, int(fields["inference-header-content-length"]))
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer)}\r\n{kind}\r\n".encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def infer(self, body, json_len):
        request, offset, feed = json.loads(body[:json_len]), json_len, {}
        for given in request["inputs"]:
            size = given["parameters"]["binary_data_size"]
            feed[given["name"]] = np.frombuffer(body, np.float32, size // 4, offset).reshape(given["shape"])
            offset += size
        async with self.busy:
            outputs = await asyncio.get_running_loop().run_in_executor(None, self.session.run, None, feed)
        described = [
            {"name": o.name, "datatype": "FP32", "shape": y.shape, "parameters": {"binary_data_size": y.nbytes}}
            for o, y in zip(self.session.get_outputs(), outputs)
        ]
        head = json.dumps({"outputs": described}).encode()
        return f"inference-header-content-length: {len(head)}\r\n", head + b"".join(y.tobytes() for y in outputs)


async def main():
    server = Server(sys.argv[1])
    listening = await asyncio.start_server(server.connection, "127.0.0.1", int(sys.argv[2]), limit=1 << 26)
    print(f"at http://127.0.0.1:{sys.argv[2]}", file=sys.stderr, flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
