"""One state: a network in training, with its optimizer and the scratch of a sample, in one array.

A copy of it is a copy of the network and of all that its training has come to.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layout import Layout
from .packing import Doubles, Int64s, Reals, pack

# The most moments that any optimizer keeps for each parameter.
MOST_MOMENTS = 3

# So many are taken at a time: in a loop of vectors one takes a fraction of the time it takes alone.
LOGARITHMS = 64


class State(NamedTuple):
    """What a network in training consists of; `view` and `fields` give it by these names."""

    layout: Layout
    # η, λ, and the largest norm of a single sample's gradient, which is 0 if any will do.
    rates: Doubles  # (3,)
    rule: Int64s  # (3,) the optimizer's code, whether its decay is decoupled, number of its moments
    settings: Doubles  # (5,) those of the optimizer, in the order of its fields
    counts: Doubles  # (3,) steps so far, NAdam's product of μ, samples so far
    # Scratch of one sample, whose padding stays zero:
    a: Reals  # (units[-1],) outputs of each layer; a_0 is x, where a sample comes alone
    z: Reals  # ditto: sums before the activation
    delta: Reals  # ditto: ∂loss/∂z
    y: Reals  # (n_L,) target
    waiting: Doubles  # (LOGARITHMS,) probabilities of classes, whose logarithms are not taken yet
    # The same of a sample that is predicted while another one is learned:
    predicted_a: Reals
    predicted_z: Reals
    params: Reals  # (blocks[-1],)
    moments: Reals  # (MOST_MOMENTS · blocks[-1],) one after the other, each laid out as params


def make_state(
    layout: Layout, dtype: np.dtype, n_moments: int = MOST_MOMENTS
) -> NDArray[np.floating]:
    """State of a network whose parameters are all zero, with room for ``n_moments`` moments.

    The system provides memory only when it is touched, so unused room for moments costs nothing.

    Raises
    ------
    ValueError
        If it would need more bytes than an int64 can count.
    """
    n, units = int(layout.blocks[-1]), int(layout.units[-1])
    n_out = int(layout.sizes[-1])
    scratch = units, units, units, n_out, LOGARITHMS, units, units
    return pack(State(layout, 3, 3, 5, 3, *scratch, n, n_moments * n), dtype)
