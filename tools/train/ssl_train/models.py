"""The networks that the package trains."""

import torch
from torch import nn


class LeNet(nn.Module):
    """Caffe's LeNet for MNIST, as the paper prunes it: logits [n, 10] from [n, 1, 28, 28].

    conv 20@5x5, max pool 2, conv 50@5x5, max pool 2, fc 500, ReLU, fc 10. The
    only non-linearity besides pooling is the ReLU between the two dense layers.
    """

    links = (("conv1", "conv2"),)
    """(producer, consumer): the filters of one are the input channels of the other."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.conv1(image), 2)
        x = nn.functional.max_pool2d(self.conv2(x), 2)
        x = nn.functional.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)
