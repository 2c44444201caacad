"""Runs convolutional networks pruned with Structured Sparsity Learning, small and fast.

import sslm

certificate = sslm.convert("model.onnx", "model.sslm")   # what was removed, and how the outputs compare
model = sslm.Model("model.sslm")                         # or an .onnx, bytes, an onnx.ModelProto, a torch module
y = model(x)                                             # arrays of NumPy in and out
"""

from sslm._certificate import Certificate, convert
from sslm._compare import Comparison, compare
from sslm._errors import CheckError, ConversionError, Error, FormatError, InputError, LimitError
from sslm._inspect import Inspection, inspect
from sslm._model import Class, Model, TensorInfo
from sslm._profile import Profile, Tuning
from sslm._session import InferenceSession, NodeArg
from sslm._sslm import __version__
from sslm._torch import compile

__all__ = [
    "Certificate",
    "CheckError",
    "Class",
    "Comparison",
    "ConversionError",
    "Error",
    "FormatError",
    "InferenceSession",
    "InputError",
    "Inspection",
    "LimitError",
    "Model",
    "NodeArg",
    "Profile",
    "TensorInfo",
    "Tuning",
    "__version__",
    "compare",
    "compile",
    "convert",
    "inspect",
]
