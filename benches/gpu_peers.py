"""Times PyTorch (cuDNN) on the layers of `layers.json` that the bench `gpu` times: AlexNet's, dense and with zeros in place of what
entries 2 and 5 prune, in both memory formats, in fp32 and TF32. Usage: gpu_peers.py layers.json OUT.json"""

import json
import statistics
import sys

import torch

BATCHES = [1, 32, 128, 256]
ENTRIES = ["entry 2", "entry 5"]
SAMPLES = 15


def masked(weight, filters, columns, groups):
    """Zeros in all but so many filters and, of each group, columns."""
    generator = torch.Generator().manual_seed(2016)
    rows = weight.shape[0] // groups
    mask = torch.zeros(weight.shape[0], weight[0].numel())
    for group in range(groups):
        kept = torch.randperm(mask.shape[1], generator=generator)[:columns]
        last = (group + 1) * filters // groups - group * filters // groups
        mask[group * rows : group * rows + last, kept] = 1.0
    return weight * mask.view(weight.shape).to(weight.device)


def time(work):
    """Least and median microseconds, of replays of a graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(5):
            work()
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        repeats = max(1, min(100, int(2.0 / max(start.elapsed_time(end), 1e-4))))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(repeats):
                work()
        samples = []
        for sample in range(SAMPLES + 1):
            start.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            if sample:
                samples.append(start.elapsed_time(end) * 1e3 / repeats)
    return min(samples), statistics.median(samples)


def main():
    layers, out = sys.argv[1:]
    with open(layers, encoding="utf-8") as file:
        net = next(net for net in json.load(file) if net["net"] == "AlexNet")
    torch.backends.cudnn.benchmark = True
    rows = []
    for index, layer in enumerate(net["layers"]):
        groups = layer.get("groups", 1)
        forms = {"dense": None}
        forms |= {p["name"]: (p["filters"][index], p["columns"][index]) for p in net["pruned"] if p["name"] in ENTRIES}
        for form, kept in forms.items():
            for batch in BATCHES:
                for tf32 in [False, True]:
                    torch.backends.cudnn.allow_tf32 = tf32
                    for name, memory_format in [("default", torch.contiguous_format), ("channels_last", torch.channels_last)]:
                        torch.manual_seed(11)
                        conv = torch.nn.Conv2d(
                            layer["channels"],
                            layer["filters"],
                            layer["kernel"],
                            stride=layer.get("stride", 1),
                            padding=layer.get("pad", 0),
                            groups=groups,
                        ).cuda()
                        if kept:
                            conv.weight.data = masked(conv.weight.data, *kept, groups)
                        conv = conv.to(memory_format=memory_format)
                        x = torch.rand(batch, layer["channels"], layer["input"], layer["input"], device="cuda")
                        x = x.to(memory_format=memory_format)
                        with torch.no_grad():
                            least, median = time(lambda: torch.relu_(conv(x)))
                        rows.append(
                            {
                                "net": "AlexNet",
                                "layer": layer["name"],
                                "form": form,
                                "batch": batch,
                                "format": name,
                                "precision": "tf32" if tf32 else "fp32",
                                "min_us": least,
                                "median_us": median,
                            }
                        )
    about = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "layers": rows,
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump(about, file, indent=1)


if __name__ == "__main__":
    main()
