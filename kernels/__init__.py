"""Compiled functions of fastbp, callable from Python and from the user's own ``@njit`` code.

``state`` is a network in training, ``samples`` the data of a pass; ``sequential`` takes a step for
one sample at a time; ``deferred`` takes the same steps in blocks, each layer by its own method;
``minibatch`` takes a step per batch by the rules in ``updates``, or gives the gradient;
``inference`` goes forward only. ``single`` does all of this for one sample in a call, and ``table``
offers that to compiled code of the user's.
"""

from ._jit import cache_directory, digest, shipped_code
from ._numba import loop_threads, ship
from .activations import ACTIVATIONS, HIDDEN
from .ahead import Ahead, CFunctions, everything
from .calls import apply, learn_one, predict_one, set_learning_rate, vjp
from .deferred import train_deferred
from .finite import first_nonfinite
from .inference import infer, infer_rows
from .instructions import VECTOR_BYTES
from .lagging import LAGGING_BLOCK, Lag, make_lag
from .lanes import Lanes, make_lanes, train_lanes
from .layout import DEFERRED, METHODS, SEQUENTIAL, SKIPPING, Layout, make_layout
from .losses import CLASSIFICATION, LEGAL_OUTPUTS, LOSSES
from .memory import aligned_zeros
from .minibatch import train_minibatch
from .narrow import differentiate_few
from .objects import host_cpu, host_features, objects, symbol
from .packing import HEADER_BYTES, fields
from .parallel import ALONE, begin, dismiss, goes_on, is_slow, make_team, serve
from .samples import IN_ORDER, Inputs, Samples, dense_inputs, read_only
from .scratch import (
    LONGEST_BLOCK,
    LONGEST_STRETCH,
    Batch,
    Block,
    Plan,
    Regularization,
    grouped_rows,
    kind_of,
    make_batch,
    make_block,
)
from .sequential import backward, forward, train_sequential
from .shipped import levels
from .single import train_single
from .state import State, make_state
from .statuses import MEANINGS, STATUSES
from .table import arguments_of, load_functions
from .updates import ADADELTA, ADAGRAD, ADAM, NADAM, RMSPROP, SGD, penalty_of

__all__ = [
    "ACTIVATIONS",
    "ADADELTA",
    "ADAGRAD",
    "ADAM",
    "ALONE",
    "CLASSIFICATION",
    "DEFERRED",
    "HEADER_BYTES",
    "HIDDEN",
    "IN_ORDER",
    "LAGGING_BLOCK",
    "LEGAL_OUTPUTS",
    "LONGEST_BLOCK",
    "LONGEST_STRETCH",
    "LOSSES",
    "MEANINGS",
    "METHODS",
    "NADAM",
    "RMSPROP",
    "SEQUENTIAL",
    "SGD",
    "SKIPPING",
    "STATUSES",
    "VECTOR_BYTES",
    "Ahead",
    "Batch",
    "Block",
    "CFunctions",
    "Inputs",
    "Lag",
    "Lanes",
    "Layout",
    "Plan",
    "Regularization",
    "Samples",
    "State",
    "aligned_zeros",
    "apply",
    "arguments_of",
    "backward",
    "begin",
    "cache_directory",
    "dense_inputs",
    "differentiate_few",
    "digest",
    "dismiss",
    "everything",
    "fields",
    "first_nonfinite",
    "forward",
    "goes_on",
    "grouped_rows",
    "host_cpu",
    "host_features",
    "infer",
    "infer_rows",
    "is_slow",
    "kind_of",
    "learn_one",
    "levels",
    "load_functions",
    "loop_threads",
    "make_batch",
    "make_block",
    "make_lag",
    "make_lanes",
    "make_layout",
    "make_state",
    "make_team",
    "objects",
    "penalty_of",
    "predict_one",
    "read_only",
    "serve",
    "set_learning_rate",
    "ship",
    "shipped_code",
    "symbol",
    "train_deferred",
    "train_lanes",
    "train_minibatch",
    "train_sequential",
    "train_single",
    "vjp",
]
