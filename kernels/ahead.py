"""Everything that can be compiled ahead of time: one list for all who do it.

Each entry with the types of arguments that it is really given. Nothing here runs compiled code, so
that code can be compiled for a processor which this one is not.
"""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from . import compiling
from .calls import apply, learn_one, predict_one, set_learning_rate, vjp
from .deferred import train_deferred
from .finite import first_nonfinite
from .inference import infer, infer_rows
from .lagging import make_lag
from .lanes import make_lanes, train_lanes
from .layout import make_layout
from .minibatch import train_minibatch
from .narrow import differentiate_few
from .parallel import ALONE, dismiss, make_team, serve
from .samples import Samples, dense_inputs, read_only
from .scratch import Plan, make_batch, make_block
from .sequential import backward, forward, train_sequential
from .single import train_single
from .state import make_state
from .table import c_functions, load_functions
from .updates import penalty_of


class Ahead(NamedTuple):
    """An entry, and arguments for which it is wanted, with next to nothing to do."""

    name: str
    entry: Any
    arguments: tuple[Any, ...]
    named: dict[str, Any] = {}  # noqa: RUF012  # a field's default; never modified

    @property
    def compiled(self) -> list[Any]:
        """What is compiled, each kept in a file of its own."""
        return [self.entry]

    def compile(self) -> None:
        """Compile it without running it."""
        given = inspect.signature(self.entry.py_func).bind(*self.arguments, **self.named).arguments
        parameters = inspect.signature(self.entry.py_func).parameters
        self.entry.compile(
            tuple(
                numba.typeof(given[name]) if name in given else types.Omitted(parameter.default)
                for name, parameter in parameters.items()
            )
        )

    def load(self) -> bool:
        """Have it ready for calls; whether it had to be compiled, as it was in no file."""
        if not hasattr(self.entry, "stats"):  # nothing is compiled
            return False
        before = compiling.misses(self.entry)
        self.entry(*self.arguments, **self.named)
        return compiling.misses(self.entry) > before


class CFunctions(NamedTuple):
    """The C functions of a dtype, which compiled code of the user's calls."""

    name: str
    dtype: np.dtype
    compiled: list[Any]

    def compile(self) -> None:
        """As `Ahead.compile`."""
        for function in self.compiled:
            function.compile()

    def load(self) -> bool:
        """As `Ahead.load`."""
        return load_functions(self.dtype)


def everything(dtype: np.dtype) -> Iterator[Ahead | CFunctions]:
    """All that networks of a dtype need."""
    layout = make_layout((1, 2), ("softmax",), "cross_entropy", dtype)
    state, one_row = make_state(layout, dtype), dense_inputs(read_only(np.zeros((1, 1), dtype)))
    none, no_labels = read_only(np.empty(0)), read_only(np.empty(0, np.int64))
    samples = Samples(one_row, no_labels, read_only(np.zeros((1, 2), dtype)), none)
    block = make_block(layout, Plan(*np.zeros((4, 1), np.int64)), 1, dtype)
    batch = make_batch(layout, 1, dtype)
    pass_, dismissed = (samples, 0, 0, 0.0), make_team(2)
    dismiss(dismissed)

    def entry(compiled: Any, *arguments: Any, what: str = "", **named: Any) -> Ahead:
        return Ahead(f"{compiled.__name__}{what}, {dtype}", compiled, arguments, named)

    # Weights of samples are float64 with all networks.
    for values in (state, read_only(state)) + (np.empty(0), none) * (dtype != np.float64):
        what = f" in {'' if values.flags.writeable else 'read-only '}{values.dtype}"
        yield entry(first_nonfinite, values, 0, 0, what=what)
    yield entry(train_sequential, state, *pass_)
    yield entry(infer, state, batch, samples, 0, 0, np.empty((0, 2), dtype), False)
    yield entry(infer_rows, state, batch, one_row.X, np.empty((1, 2), dtype), False)
    few = one_row.X, no_labels, samples.targets, np.zeros(layout.blocks[-1], dtype)
    yield entry(differentiate_few, state, batch, *few)
    yield entry(train_deferred, state, block, *pass_, ALONE)
    yield entry(train_minibatch, state, batch, state[:0], *pass_, ALONE)
    yield entry(train_single, state, make_lag(layout, dtype), *pass_, ALONE)
    yield entry(train_lanes, make_lanes(layout, dtype), samples, 0, 0)
    yield entry(penalty_of, state, 0.0, 0.0)
    yield entry(forward, state, one_row, 0)
    yield entry(backward, state, -1)
    yield CFunctions(f"C functions, {dtype}", dtype, list(c_functions(dtype).values()))
    x, y, gradient = (
        np.zeros(1, dtype),
        np.eye(1, 2, dtype=dtype)[0],
        np.zeros(layout.blocks[-1], dtype),
    )
    yield entry(predict_one, state, x, np.zeros(2, dtype))
    for target in (0, y):
        yield entry(learn_one, state, x, target)
        yield entry(learn_one, state, x, target, 1.0)
    for wanted in ((), (gradient,), (gradient, x), (None, x)):
        yield entry(vjp, state, x, y, *wanted)
    yield entry(vjp, state, x, y, gradient_x=x)
    yield entry(apply, state, gradient)
    yield entry(set_learning_rate, state, 1.0)
    yield entry(serve, dismissed, 1)
