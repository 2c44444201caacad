#!/usr/bin/env python3
"""Published architectures, as both of PyTorch's exporters write them, converted and compared with onnxruntime.

    python tests/scripts/architectures.py [--bin target/release] [--only NAME ...] [--cells CELL ...] [--results FILE.json]

Every architecture of torchvision and timm named below is built with random weights (nothing is downloaded) and exported in eight
forms, the cells of a row: by `torch.onnx.export` with dynamo=False and dynamo=True, with fixed sizes and with a symbolic batch, height
and width, dense and with a third of the filters and neurons of each layer zeroed. Each is converted by `ssl-convert`, run by `ssl-run` at one size (two
where it is symbolic), and every output is compared with onnxruntime's to 1e-3 of its largest magnitude. Random networks of a hundred layers
amplify rounding; where an output is further away, it must be at most twice as far as onnxruntime's own moves without its optimisations or
with an input of other last bits. Results are kept in a JSON file, cell by cell, so that a run can be continued; the table
docs/architectures.md is made of it.

Needs torch, torchvision, timm, onnx, onnxscript, onnxruntime and numpy. Exit codes: 0 no wrong result, 1 a wrong result, 2 error.
"""

import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-3
CELLS = [f"{exporter}-{sizes}-{mask}" for exporter in ("script", "dynamo") for sizes in ("fixed", "open") for mask in ("dense", "masked")]

# Name: where it is from, how it is called there, side of the image, further arguments. A side of None means that the model's size is fixed
# by its positions, so that only its batch may be symbolic.
ARCHITECTURES = {
    # torchvision
    "AlexNet": ("torchvision", "alexnet", None, {}),
    "VGG-11 BN": ("torchvision", "vgg11_bn", None, {}),
    "ResNet-18": ("torchvision", "resnet18", 64, {}),
    "ResNet-50": ("torchvision", "resnet50", 64, {}),
    "ResNeXt-50": ("torchvision", "resnext50_32x4d", 64, {}),
    "Wide ResNet-50": ("torchvision", "wide_resnet50_2", 64, {}),
    "SqueezeNet 1.1": ("torchvision", "squeezenet1_1", 64, {}),
    "DenseNet-121": ("torchvision", "densenet121", 64, {}),
    "GoogLeNet": ("torchvision", "googlenet", 64, {"aux_logits": False, "init_weights": True}),
    "Inception v3": ("torchvision", "inception_v3", 96, {"aux_logits": False, "init_weights": True}),
    "ShuffleNet v2": ("torchvision", "shufflenet_v2_x1_0", 64, {}),
    "MobileNet v2": ("torchvision", "mobilenet_v2", 64, {}),
    "MobileNet v3 small": ("torchvision", "mobilenet_v3_small", 64, {}),
    "MobileNet v3 large": ("torchvision", "mobilenet_v3_large", 64, {}),
    "MNASNet": ("torchvision", "mnasnet1_0", 64, {}),
    "EfficientNet-B0": ("torchvision", "efficientnet_b0", 64, {}),
    "EfficientNet-V2 S": ("torchvision", "efficientnet_v2_s", 64, {}),
    "RegNet X 400MF": ("torchvision", "regnet_x_400mf", 64, {}),
    "RegNet Y 400MF": ("torchvision", "regnet_y_400mf", 64, {}),
    "ConvNeXt tiny": ("torchvision", "convnext_tiny", 64, {}),
    "ViT B/32": ("torchvision", "vit_b_32", None, {"image_size": 64}),
    "Swin tiny": ("torchvision", "swin_t", None, {}),
    "Swin v2 tiny": ("torchvision", "swin_v2_t", None, {}),
    "MaxViT tiny": ("torchvision", "maxvit_t", None, {"input_size": (224, 224)}),
    "FCN ResNet-50": ("segmentation", "fcn_resnet50", 64, {"weights_backbone": None}),
    "DeepLab v3 MobileNet": ("segmentation", "deeplabv3_mobilenet_v3_large", 64, {"weights_backbone": None}),
    "LR-ASPP MobileNet": ("segmentation", "lraspp_mobilenet_v3_large", 64, {"weights_backbone": None}),
    "RetinaNet ResNet-50": ("detection", "retinanet_resnet50_fpn", 64, {"weights_backbone": None}),
    "FCOS ResNet-50": ("detection", "fcos_resnet50_fpn", 64, {"weights_backbone": None}),
    "SSDlite MobileNet": ("detection", "ssdlite320_mobilenet_v3_large", 320, {"weights_backbone": None}),
    # timm
    "ConvNeXt atto": ("timm", "convnext_atto", 64, {}),
    "ConvNeXt-V2 atto": ("timm", "convnextv2_atto", 64, {}),
    "MobileNet v4 small": ("timm", "mobilenetv4_conv_small", 64, {}),
    "MobileNet v4 hybrid": ("timm", "mobilenetv4_hybrid_medium", 64, {}),
    "MobileOne S0": ("timm", "mobileone_s0", 64, {}),
    "RepVGG A0": ("timm", "repvgg_a0", 64, {}),
    "RepViT M0.9": ("timm", "repvit_m0_9", 64, {}),
    "GhostNet": ("timm", "ghostnet_100", 64, {}),
    "GhostNet v2": ("timm", "ghostnetv2_100", 64, {}),
    "HRNet W18 small": ("timm", "hrnet_w18_small", 64, {}),
    "ResNeSt-14": ("timm", "resnest14d", 64, {}),
    "ECA-ResNet-26": ("timm", "ecaresnet26t", 64, {}),
    "SE-ResNet-18": ("timm", "seresnet18", 64, {}),
    "SK-ResNet-18": ("timm", "skresnet18", 64, {}),
    "CSPDarknet-53": ("timm", "cspdarknet53", 64, {}),
    "DLA-34": ("timm", "dla34", 64, {}),
    "VovNet-19": ("timm", "ese_vovnet19b_dw", 64, {}),
    "Xception": ("timm", "legacy_xception", 96, {}),
    "Res2Net-50": ("timm", "res2net50_26w_4s", 64, {}),
    "NFNet L0": ("timm", "eca_nfnet_l0", 64, {}),
    "BiT ResNet-26": ("timm", "resnetv2_50x1_bit", 64, {}),
    "EfficientNet-lite0": ("timm", "efficientnet_lite0", 64, {}),
    "MixNet S": ("timm", "mixnet_s", 64, {}),
    "TinyNet A": ("timm", "tinynet_a", 64, {}),
    "FBNet v3": ("timm", "fbnetv3_b", 64, {}),
    "HardCoRe-NAS": ("timm", "hardcorenas_a", 64, {}),
    "PoolFormer S12": ("timm", "poolformer_s12", 64, {}),
    "PoolFormer v2 S12": ("timm", "poolformerv2_s12", 64, {}),
    "ConvFormer S18": ("timm", "convformer_s18", 64, {}),
    "FastViT T8": ("timm", "fastvit_t8", 64, {}),
    "EfficientFormer L1": ("timm", "efficientformer_l1", None, {}),
    "EfficientFormer v2 S0": ("timm", "efficientformerv2_s0", None, {}),
    "EfficientViT B0": ("timm", "efficientvit_b0", 64, {}),
    "MobileViT XXS": ("timm", "mobilevit_xxs", 64, {}),
    "MobileViT v2 0.5": ("timm", "mobilevitv2_050", 64, {}),
    "LeViT 128S": ("timm", "levit_128s", None, {}),
    "CoAtNet pico": ("timm", "coatnet_pico_rw_224", None, {}),
    "DeiT tiny": ("timm", "deit_tiny_patch16_224", None, {}),
    "ViT tiny": ("timm", "vit_tiny_patch16_224", None, {}),
    "Mixer S/32": ("timm", "mixer_s32_224", None, {}),
    "ResMLP 12": ("timm", "resmlp_12_224", None, {}),
    "EdgeNeXt XXS": ("timm", "edgenext_xx_small", 64, {}),
    "InceptionNeXt": ("timm", "inception_next_atto", 64, {}),
    "U-Net": ("own", "unet", 64, {}),
    "YOLO": ("own", "yolo", 64, {}),
}


def build(name):
    """The network with random weights and statistics, and the side of its image."""
    import torch

    source, entry, side, arguments = ARCHITECTURES[name]
    # One operator of PyTorch's own for all of attention, which has no form in ONNX.
    torch.backends.mha.set_fastpath_enabled(False)
    torch.manual_seed(1)
    if source == "torchvision":
        import torchvision

        model = getattr(torchvision.models, entry)(weights=None, **arguments)
    elif source == "segmentation":
        import torchvision

        model = First(getattr(torchvision.models.segmentation, entry)(weights=None, **arguments))
    elif source == "detection":
        import torchvision

        model = Heads(getattr(torchvision.models.detection, entry)(weights=None, **arguments))
    elif source == "timm":
        import timm

        model = timm.create_model(entry, pretrained=False, exportable=True, **arguments)
    else:
        model = {"unet": unet, "yolo": yolo}[entry]()
    fixed = side or arguments.get("image_size") or 224
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    # Branches that begin at nothing (the last scale of a residual one, a head) would hide what is computed in them.
    for parameter in model.parameters():
        if parameter.detach().abs().max() < 1e-2:
            torch.nn.init.normal_(parameter, std=0.5 if parameter.dim() == 1 else 0.05)
    return model.eval(), fixed, side is not None


def First(model):
    """A segmentation model that yields its mask alone."""
    import torch

    class Only(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x)["out"]

    return Only()


def Heads(model):
    """A detector up to what its heads say of each anchor: what lies behind has sizes that depend on data."""
    import torch

    class Only(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = model.backbone, model.head

        def forward(self, x):
            return torch.cat(list(self.head(list(self.backbone(x).values())).values()), -1)

    return Only()


def unet():
    """Two steps down and up, with transposed convolutions and skip connections."""
    import torch
    from torch import nn

    def double(a, b):
        return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down1, self.down2, self.bottom = double(3, 16), double(16, 32), double(32, 64)
            self.up2, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
            self.out2, self.out1, self.head = double(64, 32), double(32, 16), nn.Conv2d(16, 2, 1)
            self.pool = nn.MaxPool2d(2)

        def forward(self, x):
            a = self.down1(x)
            b = self.down2(self.pool(a))
            c = self.bottom(self.pool(b))
            b = self.out2(torch.cat([self.up2(c), b], 1))
            return self.head(self.out1(torch.cat([self.up1(b), a], 1)))

    return UNet()


def yolo():
    """A detector without anchors as YOLOv8 has them: cross-stage blocks, pooled pyramid, two scales, boxes as expectations over distances."""
    import torch
    from torch import nn

    def conv(a, b, k=1, s=1):
        return nn.Sequential(nn.Conv2d(a, b, k, s, k // 2, bias=False), nn.BatchNorm2d(b), nn.SiLU())

    class Stages(nn.Module):
        def __init__(self, a, b, shortcut):
            super().__init__()
            self.first, self.last, self.shortcut = conv(a, b), conv(b // 2 * 3, b), shortcut
            self.inner = nn.Sequential(conv(b // 2, b // 2, 3), conv(b // 2, b // 2, 3))

        def forward(self, x):
            kept, x = self.first(x).chunk(2, 1)
            y = self.inner(x)
            return self.last(torch.cat([kept, x, x + y if self.shortcut else y], 1))

    class Pyramid(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.first, self.last, self.pool = conv(c, c // 2), conv(c * 2, c), nn.MaxPool2d(5, 1, 2)

        def forward(self, x):
            all_of = [self.first(x)]
            for _ in range(3):
                all_of.append(self.pool(all_of[-1]))
            return self.last(torch.cat(all_of, 1))

    class Yolo(nn.Module):
        classes, distances = 8, 16

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), Stages(32, 32, True), conv(32, 64, 3, 2), Stages(64, 64, True))
            self.deep = nn.Sequential(conv(64, 128, 3, 2), Stages(128, 128, True), Pyramid(128))
            self.up, self.near = nn.Upsample(scale_factor=2, mode="nearest"), Stages(192, 64, False)
            self.down, self.far = conv(64, 64, 3, 2), Stages(192, 128, False)
            self.boxes = nn.ModuleList(nn.Sequential(conv(c, 64, 3), nn.Conv2d(64, 4 * self.distances, 1)) for c in (64, 128))
            self.scores = nn.ModuleList(nn.Sequential(conv(c, 64, 3), nn.Conv2d(64, self.classes, 1)) for c in (64, 128))
            self.register_buffer("steps", torch.arange(self.distances, dtype=torch.float32).view(1, 1, -1, 1))

        def forward(self, x):
            a = self.stem(x)
            b = self.deep(a)
            a = self.near(torch.cat([self.up(b), a], 1))
            b = self.far(torch.cat([self.down(a), b], 1))
            return torch.cat([self.of_scale(i, x, stride) for i, (x, stride) in enumerate([(a, 8), (b, 16)])], 2)

        def of_scale(self, i, x, stride):
            n, _, h, w = x.shape
            boxes = self.boxes[i](x).view(n, 4, self.distances, h * w).softmax(2)
            left, right = (boxes * self.steps).sum(2).chunk(2, 1)
            rows, columns = torch.arange(h, dtype=torch.float32) + 0.5, torch.arange(w, dtype=torch.float32) + 0.5
            rows, columns = torch.meshgrid(rows, columns, indexing="ij")
            centre = torch.stack([columns.flatten(), rows.flatten()]).unsqueeze(0)
            corners = [centre - left, centre + right]
            boxes = torch.cat([(corners[0] + corners[1]) / 2, corners[1] - corners[0]], 1) * stride
            return torch.cat([boxes, self.scores[i](x).flatten(2).sigmoid()], 1)

    return Yolo()


def mask(model):
    """Zeroes a third of the filters and neurons of each layer but the last, with their biases."""
    import torch

    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)) and m.weight.shape[0] > 3]
    chosen = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for layer in layers[:-1]:
            zero = torch.rand(layer.weight.shape[0], generator=chosen) < 1 / 3
            layer.weight[zero] = 0
            if layer.bias is not None:
                layer.bias[zero] = 0


def export(model, side, open_sides, cell, path):
    """Writes the form of the model that `cell` names; yields the shapes to run it at."""
    import torch

    exporter, sizes, _ = cell.split("-")
    x = torch.randn(2 if sizes == "open" else 1, 3, side, side)
    names = {"input_names": ["x"], "output_names": ["y"]}
    axes = {0: "batch", 2: "height", 3: "width"} if open_sides else {0: "batch"}
    # What the exporters print, such as the whole graph where they fail, is of no use here.
    with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        if exporter == "script":
            dynamic = {"dynamic_axes": {"x": axes}} if sizes == "open" else {}
            torch.onnx.export(model, (x,), path, dynamo=False, opset_version=17, **names, **dynamic)
        else:
            dims = {axis: torch.export.Dim.DYNAMIC for axis in axes}
            dynamic = {"dynamic_shapes": (dims,)} if sizes == "open" else {}
            torch.onnx.export(model, (x,), path, dynamo=True, verbose=False, **names, **dynamic)
    if sizes == "fixed":
        return [(1, 3, side, side)]
    return [(1, 3, side, side), (3, 3, side + 32, side) if open_sides else (3, 3, side, side)]


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
    return None if done.returncode == 0 else " ".join((done.stderr or done.stdout).split())


def check(model, side, open_sides, cell, tools, folder):
    """What a cell of the table says."""
    import onnxruntime

    onnx_file, sslm_file, certificate = folder / "m.onnx", folder / "m.sslm", folder / "c.json"
    try:
        shapes = export(model, side, open_sides, cell, str(onnx_file))
    except Exception as e:  # noqa: BLE001: whatever an exporter raises
        e = e.__cause__ or e
        return {"state": "not exported", "why": f"{type(e).__name__}: {' '.join(str(e).split())[:160]}"}
    flags = ["--tolerance", "1e-3", "--report", certificate]
    refused = run(tools / "ssl-convert", onnx_file, "-o", sslm_file, "--force", *flags)
    if refused:
        return {"state": "refused", "why": refused.split(" Supported operators:")[0][:600]}
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    differences, own = [], 0.0
    for shape in shapes:
        x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
        np.save(folder / "x.npy", x)
        feed = {session.get_inputs()[0].name: x}
        try:
            expected = session.run(None, feed)[0]
        except Exception:  # noqa: BLE001: exporters bake sizes in without saying so
            continue
        failed = run(tools / "ssl-run", sslm_file, "--input", folder / "x.npy", "--output", folder / "y.npy")
        if failed:
            return {"state": "not run", "why": f"{list(shape)}: {failed[:400]}"}
        y = np.load(folder / "y.npy")
        if y.shape != expected.shape:
            return {"state": "wrong", "why": f"shape {y.shape}, expected {expected.shape}"}
        differences.append(relative(y, expected))
        if differences[-1] > TOLERANCE:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            plain = onnxruntime.InferenceSession(str(onnx_file), options, providers=["CPUExecutionProvider"])
            moved = {name: np.nextafter(x, np.float32(0)) for name, x in feed.items()}
            own = max(own, *(relative(y, expected) for y in (plain.run(None, feed)[0], session.run(None, moved)[0])))
    if not differences:
        return {"state": "not exported", "why": "onnxruntime refuses what was written"}
    layers = [layer["macs"] for layer in json.loads(certificate.read_text())["layers"] if layer.get("macs")]
    before, after = sum(m["before"] for m in layers), sum(m["after"] for m in layers)
    kept = after / before if before else None
    worst = max(differences)
    return {"state": "passed" if worst <= max(TOLERANCE, 2 * own) else "wrong", "difference": worst, "macs": kept}


def relative(found, expected):
    """How far away it is, at most, as a share of the largest magnitude."""
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6))


def table(results):
    """docs/architectures.md."""
    import timm
    import torch
    import torchvision

    def text(cell):
        if cell is None:
            return ""
        if cell["state"] == "passed":
            return "passed" if cell["macs"] is None or cell["macs"] > 0.999 else f"passed, {100 * (1 - cell['macs']):.0f} %"
        return cell["state"]

    rows = {name: results[name] for name in ARCHITECTURES if results.get(name)}
    cells = [cell for row in rows.values() for cell in row.values()]
    exported = [cell for cell in cells if cell["state"] != "not exported"]
    passed = sum(cell["state"] == "passed" for cell in exported)
    wrong = sum(cell["state"] == "wrong" for cell in exported)
    far = [name for name, row in rows.items() for cell in row.values() if cell["state"] == "passed" and cell["difference"] > TOLERANCE]
    lines = [
        "# Architectures",
        "",
        f"{len(rows)} architectures with random weights, as both exporters of PyTorch {torch.__version__.split('+')[0]} write them (torchvision",
        f"{torchvision.__version__.split('+')[0]}, timm {timm.__version__}), converted and compared with onnxruntime by `tests/scripts/architectures.py`, which writes this page.",
        f"Of {len(exported)} cells that the exporters could write, {passed} passed and {wrong} were wrong; {len(cells) - len(exported)} could not be exported.",
        "",
        "*script* is `torch.onnx.export` with `dynamo=False` (opset 17), *dynamo* with `dynamo=True`. *Open* means a symbolic batch, height and",
        "width, run at two sizes (batch alone where positions fix the size; one size where the exporter fixes it without saying so). *Masked*:",
        "a third of the filters and neurons of each layer but the last is zero; the figure says how much of all multiply-accumulates went.",
        "*Passed*: the output differs from onnxruntime's by at most 1e-3 of its largest magnitude"
        + (f" or, in {len(far)} cells where rounding alone" if far else "."),
        *([f"moves onnxruntime's further than that, by at most twice as much ({', '.join(dict.fromkeys(far))})."] if far else []),
        "",
        "| architecture | " + " | ".join(cell.replace("-", ", ") for cell in CELLS) + " |",
        "|---" * (1 + len(CELLS)) + "|",
    ]
    lines += [f"| {name} | " + " | ".join(text(row.get(cell)) for cell in CELLS) + " |" for name, row in rows.items()]
    others = [(name, cell, row[cell]) for name, row in rows.items() for cell in CELLS if cell in row and row[cell]["state"] != "passed"]
    if others:
        lines += ["", "What did not pass, and why:", "", "| architecture | cell | why |", "|---|---|---|"]
        lines += [f"| {name} | {key.replace('-', ', ')} | {cell['state']}: {cell.get('why', cell.get('difference'))} |" for name, key, cell in others]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release", help="folder of ssl-convert and ssl-run")
    parser.add_argument("--only", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES), metavar="NAME")
    parser.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS, metavar="CELL", help=", ".join(CELLS))
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("architectures.json"), help="where results are kept")
    parser.add_argument("--table", type=pathlib.Path, default=ROOT / "docs/architectures.md", help="the page to write")
    parser.add_argument("--again", action="store_true", help="also cells that the results have as passed")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    for name in arguments.only:
        row = results.setdefault(name, {})
        for cell in arguments.cells:
            if row.get(cell, {}).get("state") == "passed" and not arguments.again:
                continue
            model, side, open_sides = build(name)
            if cell.endswith("masked"):
                mask(model)
            with tempfile.TemporaryDirectory() as folder:
                row[cell] = check(model, side, open_sides, cell, arguments.bin, pathlib.Path(folder))
            print(f"{name:24} {cell:20} {row[cell]}", flush=True)
            arguments.results.write_text(json.dumps(results, indent=1))
    arguments.table.write_text(table(results))
    wrong = [name for name, row in results.items() if any(cell["state"] == "wrong" for cell in row.values())]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
