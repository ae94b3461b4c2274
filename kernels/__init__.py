"""Compiled functions of fastbp, callable from Python and from the user's own ``@njit`` code.

``layout`` says how parameters, work buffers and samples lie in memory; ``sequential`` holds the
training loop, gradient, evaluation and prediction, one sample at a time.
"""

from ._jit import cache_directory
from .activations import ACTIVATIONS, HIDDEN
from .checks import first_nonfinite
from .layout import (
    Layout,
    Samples,
    Work,
    aligned_zeros,
    layer_views,
    make_layout,
    make_work,
)
from .losses import CLASSIFICATION, LEGAL_OUTPUTS, LOSSES
from .sequential import (
    accumulate,
    add_gradient,
    backward,
    evaluate,
    forward,
    predict,
    train_sequential,
)

__all__ = [
    "ACTIVATIONS",
    "CLASSIFICATION",
    "HIDDEN",
    "LEGAL_OUTPUTS",
    "LOSSES",
    "Layout",
    "Samples",
    "Work",
    "accumulate",
    "add_gradient",
    "aligned_zeros",
    "backward",
    "cache_directory",
    "evaluate",
    "first_nonfinite",
    "forward",
    "layer_views",
    "make_layout",
    "make_work",
    "predict",
    "train_sequential",
]
