"""The networks of the recipes: those that the paper prunes."""

import torch
from torch import nn

from ssl_train.lrn import LRN


class LeNet(nn.Sequential):
    """Caffe's LeNet for MNIST: no non-linearity besides pooling and the ReLU between the two linear layers."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(500, classes)


class MLP(nn.Sequential):
    """The paper's multilayer perceptron for MNIST: 784 inputs, 500 and 300 neurons."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(784, 500)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(500, 300)
        self.relu2 = nn.ReLU()
        self.fc3 = nn.Linear(300, classes)


class ConvNet(nn.Sequential):
    """Caffe's `cifar10_full`, with LRN across channels where Caffe's file has it within them: ONNX knows no other."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.relu1 = nn.ReLU()
        self.norm1 = LRN(3, 5e-5, 0.75)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.AvgPool2d(3, 2, ceil_mode=True)
        self.norm2 = LRN(3, 5e-5, 0.75)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.relu3 = nn.ReLU()
        self.pool3 = nn.AvgPool2d(3, 2, ceil_mode=True)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64 * 4 * 4, classes)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(branch + self.shortcut(x))


class ResNet(nn.Sequential):
    """He's ResNet for CIFAR-10, of depth 6n + 2: stages of 16, 32 and 64 filters."""

    def __init__(self, classes: int = 10, depth: int = 20):
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth: expected 8, 14, 20, 26, 32..., found {depth}")
        self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        inputs = 16
        for stage, outputs in enumerate((16, 32, 64), 1):
            for block in range((depth - 2) // 6):
                stride = 2 if stage > 1 and block == 0 else 1
                self.add_module(f"block{stage}_{block + 1}", Block(inputs, outputs, stride))
                inputs = outputs
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")


class CaffeNet(nn.Sequential):
    """Caffe's reference network: AlexNet with pooling before normalisation; reads [n, 3, 227, 227]."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, 4)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, 2)
        self.norm1 = LRN(5, 1e-4, 0.75)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(3, 2)
        self.norm2 = LRN(5, 1e-4, 0.75)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.relu4 = nn.ReLU()
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.relu5 = nn.ReLU()
        self.pool5 = nn.MaxPool2d(3, 2)
        self.flatten = nn.Flatten()
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.relu6 = nn.ReLU()
        self.drop6 = nn.Dropout()
        self.fc7 = nn.Linear(4096, 4096)
        self.relu7 = nn.ReLU()
        self.drop7 = nn.Dropout()
        self.fc8 = nn.Linear(4096, classes)


MODELS = {"lenet": LeNet, "mlp": MLP, "convnet": ConvNet, "resnet": ResNet, "caffenet": CaffeNet}
"""By the name that recipes use."""
