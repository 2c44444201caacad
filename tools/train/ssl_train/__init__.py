"""Structured Sparsity Learning in PyTorch: group Lasso while training, whole groups gone at the end."""

__version__ = "0.1.0"
