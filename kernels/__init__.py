"""Compiled functions of fastbp, callable from Python and from the user's own ``@njit`` code.

``layout`` says how parameters, work buffers and samples lie in memory; ``sequential`` takes a step
for one sample at a time; ``deferred`` takes the same steps in blocks, each layer by its own method;
``minibatch`` takes a step per batch by the rules in ``updates``, or gives the gradient;
``inference`` goes forward only.
"""

from ._jit import cache_directory
from ._numba import has_code, loop_threads, set_loop_threads
from .activations import ACTIVATIONS, HIDDEN
from .blocks import launch
from .checks import first_nonfinite
from .deferred import train_deferred
from .inference import infer
from .layout import (
    DEFERRED,
    IN_ORDER,
    LONGEST_BLOCK,
    LONGEST_STRETCH,
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
    backward,
    forward,
    train_sequential,
)
from .updates import (
    ADADELTA,
    ADAGRAD,
    ADAM,
    NADAM,
    NO_STEP,
    RMSPROP,
    SGD,
    Regularization,
    Rule,
    make_regularization,
    make_rule,
)

__all__ = [
    "ACTIVATIONS",
    "ADADELTA",
    "ADAGRAD",
    "ADAM",
    "CLASSIFICATION",
    "DEFERRED",
    "HIDDEN",
    "IN_ORDER",
    "LEGAL_OUTPUTS",
    "LONGEST_BLOCK",
    "LONGEST_STRETCH",
    "LOSSES",
    "METHODS",
    "NADAM",
    "NO_STEP",
    "RMSPROP",
    "SEQUENTIAL",
    "SGD",
    "SKIPPING",
    "Batch",
    "Block",
    "Inputs",
    "Layout",
    "Plan",
    "Regularization",
    "Rule",
    "Samples",
    "Work",
    "accumulate",
    "aligned_zeros",
    "backward",
    "cache_directory",
    "dense_inputs",
    "first_nonfinite",
    "forward",
    "has_code",
    "infer",
    "launch",
    "layer_views",
    "loop_threads",
    "make_batch",
    "make_block",
    "make_layout",
    "make_regularization",
    "make_rule",
    "make_work",
    "read_only",
    "set_loop_threads",
    "train_deferred",
    "train_minibatch",
    "train_sequential",
]
