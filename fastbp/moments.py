"""What an optimizer keeps of the training of a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels
from fastbp.network import Network
from fastbp.optimizers import Optimizer
from fastbp.samples import FloatArray


class OptimizerState:
    """Moments of every parameter, and counts of steps and samples; at first all are 0.

    Attributes
    ----------
    network : Network
    optimizer : Optimizer
    rule : kernels.Rule
        As the kernels take it.
    """

    def __init__(self, network: Network, optimizer: Optimizer) -> None:
        self.network, self.optimizer = network, optimizer
        self.rule = kernels.make_rule(
            optimizer.code,
            optimizer.settings(),
            optimizer.decoupled_weight_decay,
            optimizer.n_moments,
            network.parameters.flat.size,
            network.dtype,
        )

    @property
    def moments(self) -> FloatArray:
        """A row for each, laid out as `Network.params`; may be written to."""
        return self.rule.moments.reshape(self.optimizer.n_moments, self.rule.n_params)

    @property
    def counts(self) -> NDArray[np.float64]:
        """Steps so far, NAdam's product of μ, samples so far; may be written to."""
        return self.rule.counts

    def is_of(self, network: Network, optimizer: Optimizer) -> bool:
        """Whether it is of this network, and of an optimizer with these settings."""
        return self.network is network and self.optimizer == optimizer

    def is_finite(self) -> bool:
        """Whether all moments are: after an overflow of squares, steps are 0."""
        moments = self.rule.moments
        return bool(kernels.first_nonfinite(moments, 0, len(moments)) < 0)

    def reset(self) -> None:
        """Begin anew."""
        self.rule.moments[:] = 0
        self.counts[:] = 0
