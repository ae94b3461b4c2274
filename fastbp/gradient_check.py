"""Gradients by central differences, held against backpropagation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels
from fastbp.parameters import Gradients, Parameters
from fastbp.samples import FloatArray

# What rounding leaves of the comparison, by dtype of the backpropagated gradient.
TOLERANCES = {"float32": 1e-4, "float64": 1e-6}
_PER_ARRAY = 50


@dataclass(frozen=True)
class GradientReport:
    """Result of `Network.check_gradients`; ``print`` it.

    Attributes
    ----------
    names : tuple of str
        Parameter arrays, such as ``"layer 1 weights"``.
    errors : tuple of float
        Per array, the largest ``|backprop − difference|`` over the entries compared, relative to
        the array's largest gradient.
    scales : tuple of float
        Per array, that largest gradient. Zero means that nothing could be compared.
    tolerance : float
        Largest error that passes.
    """

    names: tuple[str, ...]
    errors: tuple[float, ...]
    scales: tuple[float, ...]
    tolerance: float

    @property
    def max_error(self) -> float:
        """Largest error of all arrays; NaN if any is."""
        return float(np.max(self.errors))

    @property
    def ok(self) -> bool:
        """Whether every error is within the tolerance and no gradient is zero throughout."""
        return all(error <= self.tolerance for error in self.errors) and min(self.scales) > 0

    def __str__(self) -> str:
        lines = [f"{'parameters':<18} {'largest gradient':>16} {'relative error':>15}"]
        for name, error, scale in zip(self.names, self.errors, self.scales, strict=True):
            verdict = "all zero" if scale == 0 else "ok" if error <= self.tolerance else "WRONG"
            lines.append(f"{name:<18} {scale:>16.3e} {error:>15.1e}  {verdict}")
        lines.append(f"{'passed' if self.ok else 'FAILED'} at tolerance {self.tolerance:.0e}")
        return "\n".join(lines)


def compare(gradients: Gradients, exact: Parameters, samples: kernels.Samples) -> GradientReport:
    """Compare up to 50 entries of each array of a gradient with central differences.

    ``exact`` are the same parameters in float64, and ``samples`` the same rows.
    """
    parameters = zip(exact.weights, exact.biases, strict=True)
    backprop = zip(gradients.weights, gradients.biases, strict=True)
    names, errors, scales = [], [], []
    for layer, (arrays, grads) in enumerate(zip(parameters, backprop, strict=True), start=1):
        for kind, array, gradient in zip(("weights", "biases"), arrays, grads, strict=True):
            error, scale = _compare(exact, array, gradient.astype(np.float64), samples)
            names.append(f"layer {layer} {kind}")
            errors.append(error)
            scales.append(scale)
    tolerance = TOLERANCES[gradients.weights[0].dtype.name]
    return GradientReport(tuple(names), tuple(errors), tuple(scales), tolerance)


@np.errstate(all="ignore")
def _compare(
    exact: Parameters,
    array: FloatArray,
    gradient: NDArray[np.float64],
    samples: kernels.Samples,
) -> tuple[float, float]:
    """Largest relative error over evenly spaced entries of one array, and its largest gradient."""
    entries = np.unique(np.linspace(0, array.size - 1, _PER_ARRAY).astype(np.int64))
    scale = float(np.abs(gradient).max())
    largest = 0.0
    for entry in entries:
        place = np.unravel_index(entry, array.shape)
        value = float(array[place])
        error = math.inf
        # A kink of the activation or the loss may lie within a step: a shorter one avoids it.
        # 6e-6 is about the cube root of the rounding unit, where truncation meets rounding.
        for step in (6e-6, 6e-7, 6e-8):
            h = step * max(1.0, abs(value))
            array[place] = value + h
            above = exact.evaluate(samples).loss
            array[place] = value - h
            below = exact.evaluate(samples).loss
            array[place] = value
            error = min(error, abs((above - below) / (2 * h) - float(gradient[place])))
            if scale and error <= 1e-8 * scale:
                break
        largest = float(np.maximum(largest, error))  # unlike max, it keeps a NaN
    return (largest / scale if scale else largest), scale
