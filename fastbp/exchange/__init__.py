"""Models for other programs, and theirs for ours: ONNX, PyTorch, Keras and scikit-learn.

Each library is imported by the first call that needs it.
"""

from fastbp.exchange.onnx import to_onnx

__all__ = ["to_onnx"]
