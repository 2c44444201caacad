"""Local response normalisation across channels, exported as one ONNX `LRN` node.

PyTorch's own is a chain of padding, pooling and powers, which exporters write out node by node. Runtimes know LRN.
"""

import torch
from torch import nn


class _Onnx(torch.autograd.Function):
    """Stands for LRN while a model is traced for export."""

    @staticmethod
    def forward(ctx, x, size, alpha, beta, k):
        return nn.functional.local_response_norm(x, size, alpha, beta, k)

    @staticmethod
    def symbolic(g, x, size, alpha, beta, k):
        node = g.op("LRN", x, size_i=size, alpha_f=alpha, beta_f=beta, bias_f=k)
        node.setType(x.type())
        return node


class LRN(nn.Module):
    """x / (k + alpha / size * sum of squares of the `size` channels around)^beta, as in Caffe, PyTorch and ONNX."""

    def __init__(self, size: int, alpha: float, beta: float, k: float = 1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.onnx.is_in_onnx_export():
            return _Onnx.apply(x, self.size, self.alpha, self.beta, self.k)
        # The sum over a window of channels is a 1x1 convolution, several times faster than PyTorch's own pooling.
        channels = x.shape[1]
        distance = torch.arange(channels, device=x.device)
        distance = distance[None] - distance[:, None]
        near = (distance >= -(self.size // 2)) & (distance <= (self.size - 1) // 2)
        window = near.to(x.dtype).view(channels, channels, 1, 1)
        squares = nn.functional.conv2d(x * x, window)
        return x * (self.k + self.alpha / self.size * squares).pow(-self.beta)
