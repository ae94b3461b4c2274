"""Models for other programs, and theirs for ours: ONNX, PyTorch, Keras and scikit-learn.

Each library is imported by the first call that needs it.
"""

from fastbp.exchange.keras import from_keras, to_keras
from fastbp.exchange.onnx import to_onnx
from fastbp.exchange.sklearn import from_sklearn, to_sklearn
from fastbp.exchange.torch import from_torch, to_torch, torch_loss

__all__ = [
    "from_keras",
    "from_sklearn",
    "from_torch",
    "to_keras",
    "to_onnx",
    "to_sklearn",
    "to_torch",
    "torch_loss",
]
