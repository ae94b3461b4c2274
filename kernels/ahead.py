"""Everything that can be compiled ahead of time: one list for all who do it.

Each entry with the types of arguments that it is really given. Nothing here runs compiled code, so
that code can be compiled for a processor which this one is not.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numba
import numpy as np

from . import compiling
from .deferred import train_deferred
from .finite import first_nonfinite
from .inference import infer
from .lanes import make_lanes, train_lanes
from .layout import make_layout
from .minibatch import train_minibatch
from .parallel import launch
from .samples import Samples, dense_inputs, read_only
from .scratch import Plan, make_batch, make_block
from .sequential import backward, forward, train_sequential
from .state import make_state
from .updates import penalty_of


class Ahead(NamedTuple):
    """An entry, and arguments for which it is wanted, with no rows to work on."""

    name: str
    compiled: Any
    arguments: tuple[Any, ...]

    def compile(self) -> None:
        """Compile it without running it."""
        self.compiled.compile(tuple(map(numba.typeof, self.arguments)))

    def load(self) -> bool:
        """Have it ready for calls; whether it had to be compiled, as it was in no file."""
        if not hasattr(self.compiled, "stats"):  # nothing is compiled
            return False
        before = compiling.misses(self.compiled)
        self.compiled(*self.arguments)
        return compiling.misses(self.compiled) > before


def everything(dtype: np.dtype, parallel: bool) -> Iterator[Ahead]:
    """All that networks of a dtype need; with ``parallel`` also what their loops on threads do."""
    layout = make_layout((1, 2), ("identity",), "squared_error", dtype)
    state, one_row = make_state(layout, dtype), dense_inputs(read_only(np.zeros((1, 1), dtype)))
    none, no_labels = read_only(np.empty(0)), read_only(np.empty(0, np.int64))
    samples = Samples(one_row, no_labels, read_only(np.zeros((1, 2), dtype)), none)
    block = make_block(layout, Plan(*np.zeros((4, 1), np.int64)), 1, dtype)
    batch = make_batch(layout, 1, dtype)
    pass_ = samples, 0, 0, 0.0

    def entry(compiled: Any, *arguments: Any, what: str = "") -> Ahead:
        return Ahead(f"{compiled.__name__}{what}, {dtype}", compiled, arguments)

    # Weights of samples are float64 with all networks.
    for values in (state, read_only(state)) + (np.empty(0), none) * (dtype != np.float64):
        what = f" in {'' if values.flags.writeable else 'read-only '}{values.dtype}"
        yield entry(first_nonfinite, values, 0, 0, what=what)
    yield entry(train_sequential, state, *pass_)
    yield entry(infer, state, batch, samples, 0, 0, np.empty((0, 2), dtype), False)
    for threads in (None, 1) if parallel else (None,):
        what = "" if threads is None else " on threads"
        yield entry(train_deferred, state, block, *pass_, threads, what=what)
        yield entry(train_minibatch, state, batch, state[:0], *pass_, threads, what=what)
    yield entry(train_lanes, make_lanes(layout, dtype), samples, 0, 0)
    yield entry(penalty_of, state, 0.0, 0.0)
    yield entry(forward, state, one_row, 0)
    yield entry(backward, state, -1)
    if parallel:
        yield Ahead("launch", launch, (0, 1))
