"""Mean loss of fixed data as a function of the parameters, and its gradient."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import kernels, plan, threads, validation
from fastbp.pacing import paced
from fastbp.validation import FloatArray

if TYPE_CHECKING:
    from fastbp.network import Network


class Objective:
    """What `Network.objective` returns: call it with a flat vector of parameters.

    Attributes
    ----------
    network : Network
        Takes on the parameters of each call.
    weight_decay : float
    """

    def __init__(
        self, network: Network, samples: kernels.Samples, *, weight_decay: float = 0.0
    ) -> None:
        self.network = network
        self.weight_decay = weight_decay
        self._samples = samples
        self._n = samples.inputs.n
        layout, dtype, inputs = network.layout, network.dtype, samples.inputs
        self._layout = layout  # each use of the network's makes new views
        is_listed = plan.lists_zeros(layout, dtype, inputs)
        self._n_threads = plan.batch_threads(layout, self._n, None)
        self._kind = "gradient", min(self._n, kernels.LONGEST_STRETCH), is_listed, inputs.is_sparse
        self._scratch = network._kept.pop(self._kind, None) or (
            kernels.make_batch(
                layout,
                self._n,
                dtype,
                is_listed=is_listed,
                is_sparse=inputs.is_sparse,
                gradient=network._buffer[:0],
            ),
            kernels.make_rule(kernels.NO_STEP, (), False, 0, 0, dtype),
            kernels.make_regularization(len(network.sizes) - 2, dtype),
        )

    def release(self) -> None:
        """Leave the scratch to the network's next objective of this kind; this one is spent."""
        self.network._keep(self._kind, self._scratch)

    def __call__(self, params: ArrayLike) -> tuple[float, NDArray[np.float64]]:
        """Loss at these parameters, and its gradient in float64, as SciPy wants it.

        Raises
        ------
        ValueError
            If they are not finite real numbers in the network's dtype, or of another shape; the
            network is untouched.
        """
        buffer = self.network._buffer
        buffer[:] = validation.parameters(params, buffer)
        return self.value_and_grad()

    @np.errstate(all="ignore")
    def value_and_grad(self) -> tuple[float, NDArray[np.float64]]:
        """Loss at the network's own parameters and its gradient, finite or not."""
        network = self.network
        # A new one each time: optimizers keep the last gradient while they ask for the next.
        gradient = np.empty_like(network._buffer)
        loss = self.differentiate(gradient)
        if self.weight_decay > 0:
            decay = network.dtype.type(self.weight_decay)
            for W, g in zip(network.weights, network.views(gradient).weights, strict=True):
                g += decay * W
            loss += network._penalty(self.weight_decay, 0.0)
        return loss, gradient.astype(np.float64, copy=False)

    def differentiate(self, gradient: FloatArray) -> float:
        """Mean loss at the network's parameters; its gradient replaces what is in ``gradient``."""
        network, most = self.network, self._n_threads
        batch, rule, regularization = self._scratch
        batch = batch._replace(gradient=gradient)
        zero = network.dtype.type(0)
        gradient[:] = 0
        loss_sum = 0.0

        def run(start: int, stop: int, loss_sum: float, n: int) -> Any:
            return kernels.train_minibatch(
                network._buffer, self._layout, batch, rule, regularization, self._samples,
                kernels.IN_ORDER, start, stop, self._n, zero, loss_sum, n if most > 1 else None,
            )  # fmt: skip

        for start, stop in paced(self._n, 6 * network.n_params, batch.length):
            loss_sum = threads.team(most, functools.partial(run, start, stop, loss_sum))
        return loss_sum / self._n
