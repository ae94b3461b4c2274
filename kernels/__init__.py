"""Compiled functions of fastbp, callable from Python and from the user's own ``@njit`` code.

``layout`` says how parameters, work buffers and samples lie in memory; ``sequential`` holds
training, gradient, evaluation and prediction, one sample at a time; ``deferred`` takes the same
steps in blocks, each layer by its own method; ``minibatch`` takes a step per batch, by the rules
in ``updates``.
"""

from ._jit import cache_directory
from .activations import ACTIVATIONS, HIDDEN
from .blocks import launch
from .checks import first_nonfinite
from .deferred import train_deferred
from .layout import (
    DEFERRED,
    LONGEST_BLOCK,
    LONGEST_PART,
    METHODS,
    SEQUENTIAL,
    SKIPPING,
    Batch,
    Block,
    Inputs,
    Layout,
    Plan,
    Samples,
    Work,
    aligned_zeros,
    dense_inputs,
    layer_views,
    make_batch,
    make_block,
    make_layout,
    make_work,
    read_only,
)
from .losses import CLASSIFICATION, LEGAL_OUTPUTS, LOSSES
from .minibatch import train_minibatch
from .sequential import (
    accumulate,
    add_gradient,
    backward,
    evaluate,
    forward,
    predict,
    train_sequential,
)
from .updates import ADADELTA, ADAGRAD, ADAM, NADAM, RMSPROP, SGD, Rule

__all__ = [
    "ACTIVATIONS",
    "ADADELTA",
    "ADAGRAD",
    "ADAM",
    "CLASSIFICATION",
    "DEFERRED",
    "HIDDEN",
    "LEGAL_OUTPUTS",
    "LONGEST_BLOCK",
    "LONGEST_PART",
    "LOSSES",
    "METHODS",
    "NADAM",
    "RMSPROP",
    "SEQUENTIAL",
    "SGD",
    "SKIPPING",
    "Batch",
    "Block",
    "Inputs",
    "Layout",
    "Plan",
    "Rule",
    "Samples",
    "Work",
    "accumulate",
    "add_gradient",
    "aligned_zeros",
    "backward",
    "cache_directory",
    "dense_inputs",
    "evaluate",
    "first_nonfinite",
    "forward",
    "launch",
    "layer_views",
    "make_batch",
    "make_block",
    "make_layout",
    "make_work",
    "predict",
    "read_only",
    "train_deferred",
    "train_minibatch",
    "train_sequential",
]
