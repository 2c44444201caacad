"""Times PyTorch (cuDNN) on what the bench `gpu` times: the layers of AlexNet in `layers.json`, and whole networks, dense and with
zeros in place of what is pruned, in both memory formats, in fp32, TF32 and fp16. Usage: gpu_peers.py layers.json OUT.json"""

import json
import statistics
import sys

import torch
from torch import nn

BATCHES = [1, 32, 128, 256]
ENTRIES = ["entry 2", "entry 5"]
FORMATS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}
SAMPLES = 11


def mask(conv, filters, columns):
    """Leaves so many filters of a convolution and, of each group, so many columns; else there are zeros."""
    generator = torch.Generator().manual_seed(2016)
    weight, groups = conv.weight, conv.groups
    rows = weight.shape[0] // groups
    kept = torch.zeros(weight.shape[0], weight[0].numel())
    for group in range(groups):
        some = torch.randperm(kept.shape[1], generator=generator)[:columns]
        last = (group + 1) * filters // groups - group * filters // groups
        kept[group * rows : group * rows + last, some] = 1.0
    weight.data *= kept.view(weight.shape).to(weight.device)


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
        repeats = max(1, min(100, int(1.0 / max(start.elapsed_time(end), 1e-4))))
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


def time_all_ways(make, shape):
    """Yields rows for each batch, precision and memory format of what `make` makes, on images of this shape."""
    for batch in BATCHES:
        for precision in ["fp32", "tf32", "fp16"]:
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            for name, memory_format in FORMATS.items():
                torch.manual_seed(11)
                as_stored = {"device": "cuda", "dtype": torch.float16 if precision == "fp16" else torch.float32}
                module = make().to(memory_format=memory_format, **as_stored)
                x = torch.rand(batch, *shape, **as_stored).to(memory_format=memory_format)
                with torch.no_grad():
                    least, median = time(lambda: module(x))
                yield {"batch": batch, "format": name, "precision": precision, "min_us": least, "median_us": median}


def convolution(layer):
    options = {"stride": layer.get("stride", 1), "padding": layer.get("pad", 0), "groups": layer.get("groups", 1)}
    return nn.Conv2d(layer["channels"], layer["filters"], layer["kernel"], **options)


def layers(net):
    """Rows of single layers, each with the Relu behind it."""
    for index, layer in enumerate(net["layers"]):
        forms = {"dense": None}
        forms |= {p["name"]: (p["filters"][index], p["columns"][index]) for p in net["pruned"] if p["name"] in ENTRIES}
        for form, kept in forms.items():

            def make(layer=layer, kept=kept):
                conv = convolution(layer)
                if kept:
                    mask(conv, *kept)
                return nn.Sequential(conv, nn.ReLU(inplace=True))

            for row in time_all_ways(make, [layer["channels"], layer["input"], layer["input"]]):
                yield {"net": net["net"], "layer": layer["name"], "form": form, **row}


def alexnet(net, form):
    """As Caffe has it, in one of its forms."""
    pruned = next((p for p in net["pruned"] if p["name"] == form), None)
    parts = []
    for index, layer in enumerate(net["layers"]):
        conv = convolution(layer)
        if pruned:
            mask(conv, pruned["filters"][index], pruned["columns"][index])
        parts += [conv, nn.ReLU(inplace=True)]
        if index in [0, 1, 4]:
            parts.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        if index < 2:
            parts.append(nn.LocalResponseNorm(5, 1e-4, 0.75))
    parts.append(nn.Flatten())
    for features, rows in [(256 * 6 * 6, 4096), (4096, 4096), (4096, 1000)]:
        parts += [nn.Linear(features, rows), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts[:-1])


class Block(nn.Module):
    """A bottleneck of ResNet-50, its normalisations folded into the convolutions; `kept` of its inner filters are not zero."""

    def __init__(self, channels, filters, stride, kept):
        super().__init__()
        self.first = nn.Conv2d(channels, filters, 1)
        self.second = nn.Conv2d(filters, filters, 3, stride, 1)
        self.third = nn.Conv2d(filters, 4 * filters, 1)
        self.shortcut = nn.Conv2d(channels, 4 * filters, 1, stride) if channels != 4 * filters else nn.Identity()
        for conv in [self.first, self.second] if kept < filters else []:
            mask(conv, kept, conv.weight[0].numel())

    def forward(self, x):
        y = torch.relu_(self.second(torch.relu_(self.first(x))))
        return torch.relu_(self.third(y).add_(self.shortcut(x)))


def resnet_50(form):
    parts = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, (filters, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            parts.append(Block(channels, filters, stride, filters // 2 if form == "half" else filters))
            channels = 4 * filters
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def networks(net):
    """Rows of whole networks."""
    both = [
        ("AlexNet", ["dense", *ENTRIES], lambda form: alexnet(net, form), [3, 227, 227]),
        ("ResNet-50", ["dense", "half"], resnet_50, [3, 224, 224]),
    ]
    for name, forms, make, shape in both:
        for form in forms:
            for row in time_all_ways(lambda form=form, make=make: make(form), shape):
                yield {"net": name, "form": form, **row}


def main():
    file_of_layers, out = sys.argv[1:]
    with open(file_of_layers, encoding="utf-8") as file:
        net = next(net for net in json.load(file) if net["net"] == "AlexNet")
    torch.backends.cudnn.benchmark = True
    about = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "layers": [],
        "networks": [],
    }
    # Time on a GPU can end early: what has been measured is written.
    for part, rows in [("layers", layers(net)), ("networks", networks(net))]:
        for row in rows:
            about[part].append(row)
            with open(out, "w", encoding="utf-8") as file:
                json.dump(about, file, indent=1)


if __name__ == "__main__":
    main()
