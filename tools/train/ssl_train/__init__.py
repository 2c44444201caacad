"""Structured Sparsity Learning in PyTorch: group Lasso while training, whole groups gone at the end.

In a training loop of your own:

    specs = group_specs(model, {"filter": 1.0, "channel": 1.0})
    ssl = SSL(model, specs, optimizer, lam=1e-3)
    for images, labels in batches:
        ...
        optimizer.step()
        ssl.step()
    masks = choose_cut(ssl, validation_error, tolerance=0.5).masks
    masks.apply(model)  # again after every step of fine-tuning
    export(model, "model.onnx", (3, 32, 32))
"""

from ssl_train.cut import Cut, choose_cut
from ssl_train.export import export
from ssl_train.groups import GroupSpec, group_specs
from ssl_train.masks import Masks
from ssl_train.ssl import SSL

__version__ = "0.2.0"
__all__ = ["SSL", "Cut", "GroupSpec", "Masks", "choose_cut", "export", "group_specs"]
