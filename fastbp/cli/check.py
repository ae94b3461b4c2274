"""``fastbp check``: every gradient against central differences."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from fastbp import kernels
from fastbp.gradient_check import GradientReport
from fastbp.network import Network


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "check",
        help="check the gradient of every activation and loss",
        description="Hold backpropagation against central differences for every activation and "
        "loss. The activation stands in two hidden layers, and in the output layer where the "
        "loss can take it. Each figure is the largest relative error.",
    )
    command.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    passed = True
    for dtype in ("float64", "float32"):
        print(f"{dtype}: largest relative error of the gradient\n")
        print(f"{'':<12}" + "".join(f"{loss:>22}" for loss in kernels.LOSSES))
        for activation in (*kernels.HIDDEN, "exp"):
            cells = []
            for loss in kernels.LOSSES:
                if activation not in kernels.HIDDEN and (
                    activation not in kernels.LEGAL_OUTPUTS[loss]
                ):
                    cells.append("–")
                    continue
                report = _check_pair(activation, loss, dtype)
                passed &= report.ok
                cells.append(f"{report.max_error:.1e}{' ok' if report.ok else ' WRONG'}")
            print(f"{activation:<12}" + "".join(f"{cell:>22}" for cell in cells))
        print()
    print("every gradient is right" if passed else "WRONG: see the cells so marked")
    return 0 if passed else 1


def _check_pair(activation: str, loss: str, dtype: str) -> GradientReport:
    generator = np.random.default_rng(0)
    hidden = activation if activation in kernels.HIDDEN else "tanh"
    legal = kernels.LEGAL_OUTPUTS[loss]
    network = Network(
        (4, 6, 5, 3),
        activation=hidden,
        loss=loss,
        output=activation if activation in legal else None,
        dtype=dtype,
        seed=0,
    )
    for b in network.biases:
        b[...] = generator.uniform(-0.2, 0.5, b.shape)
    X = generator.uniform(-1, 1, (8, 4))
    y = generator.uniform(0.1, 0.9, (8, 3))
    if loss == "cross_entropy":
        y /= y.sum(axis=1, keepdims=True)
    return network.check_gradients(X, y)
