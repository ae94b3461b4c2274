"""Mean loss of fixed data as a function of the parameters, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import kernels
from fastbp.parameters import Parameters
from fastbp.samples import checked_parameters


class Objective:
    """What `Network.objective` returns: call it with a flat vector of parameters.

    Attributes
    ----------
    network : Network
        Takes on the parameters of each call.
    weight_decay : float
    """

    def __init__(
        self, network: Any, samples: kernels.Samples, *, weight_decay: float = 0.0
    ) -> None:
        self.network = network
        self.weight_decay = weight_decay
        self._parameters: Parameters = network.parameters
        self._samples = samples

    def __call__(self, params: ArrayLike) -> tuple[float, NDArray[np.float64]]:
        """Loss at these parameters, and its gradient in float64, as SciPy wants it.

        Raises
        ------
        ValueError
            If they are not finite real numbers in the network's dtype, or of another shape; the
            network is untouched.
        """
        flat = self._parameters.flat
        flat[:] = checked_parameters(params, flat)
        return self.value_and_grad()

    def value_and_grad(self) -> tuple[float, NDArray[np.float64]]:
        """Loss at the network's own parameters and its gradient, finite or not."""
        own = self._parameters
        # A new one each time: optimizers keep the last gradient while they ask for the next.
        gradient: NDArray[Any] = np.empty_like(own.flat)
        loss = own.differentiate(self._samples, gradient)
        if self.weight_decay > 0:
            loss += self._add_decay(gradient)
        if own.dtype == np.float64:
            return loss, gradient
        with np.errstate(all="ignore"):
            return loss, gradient.astype(np.float64)

    def _add_decay(self, gradient: NDArray[Any]) -> float:
        """Add the penalty's gradient to that of the loss, and return the penalty."""
        own = self._parameters
        decay = own.dtype.type(self.weight_decay)
        with np.errstate(all="ignore"):
            for W, g in zip(own.weights, own.views(gradient).weights, strict=True):
                g += decay * W
            return own.penalty(self.weight_decay, 0.0)
