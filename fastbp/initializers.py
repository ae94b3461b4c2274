"""Initial weights: He, Glorot and LeCun, normal and uniform."""

import math

import numpy as np
from numpy.typing import NDArray

# Variance of a weight, by family, from the layer's fan-in and fan-out. Sources: He et al. 2015
# (arXiv:1502.01852), Glorot & Bengio 2010, LeCun et al. 1998 ("Efficient BackProp").
_VARIANCES = {
    "he": lambda n_in, n_out: 2 / n_in,
    "glorot": lambda n_in, n_out: 2 / (n_in + n_out),
    "lecun": lambda n_in, n_out: 1 / n_in,
}
INITIALIZERS = tuple(
    f"{family}_{shape}" for family in _VARIANCES for shape in ("normal", "uniform")
)

# What a layer gets unless `init` names one: He where the activation lets about half of a
# symmetric input through, Glorot for the saturating ones, LeCun where nothing is lost.
DEFAULTS = {
    **dict.fromkeys(
        ("relu", "leaky_relu", "elu", "softplus", "gelu", "gelu_tanh", "silu"), "he_normal"
    ),
    **dict.fromkeys(("tanh", "sigmoid", "softmax"), "glorot_uniform"),
    **dict.fromkeys(("identity", "exp"), "lecun_normal"),
}


def initial_weights(
    name: str,
    shape: tuple[int, int],
    generator: np.random.Generator,
    whole: tuple[int, int] | None = None,
) -> NDArray[np.float64]:
    """Weights of one layer, of the given shape (n_out, n_in), or a part of a ``whole`` layer's.

    Draws are rounded to float32 before they are scaled. So float32 and float64 networks of one
    seed start from the same weights, and the last digit of a platform's logarithm, which the
    normal draws use in their tails, does not reach the result: a seed gives the same network on
    every machine.
    """
    family, distribution = name.rsplit("_", 1)
    n_out, n_in = whole or shape
    deviation = math.sqrt(_VARIANCES[family](n_in, n_out))
    if distribution == "normal":
        draws = generator.standard_normal(shape)
    else:
        # Uniform in ±√3 has variance 1; random() is exact integer arithmetic.
        draws = (2 * generator.random(shape) - 1) * math.sqrt(3)
    return draws.astype(np.float32).astype(np.float64) * deviation
