"""What an optimizer keeps of the training of a network."""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels
from fastbp.network import Network
from fastbp.optimizers import Optimizer
from fastbp.samples import FloatArray


def set_rule(fields: kernels.State, optimizer: Optimizer) -> None:
    """Write an optimizer and its settings into a state."""
    settings = optimizer.settings()
    fields.rule[:] = optimizer.code, optimizer.decoupled_weight_decay, optimizer.n_moments
    fields.settings[: len(settings)] = settings


class OptimizerState:
    """Moments of every parameter, and counts of steps and samples; at first all are 0.

    They are in the network's state while this optimizer trains it (`move_in`), and are copied out
    of it while another optimizer does.

    Attributes
    ----------
    network : Network
    optimizer : Optimizer
    """

    def __init__(self, network: Network, optimizer: Optimizer) -> None:
        self.network, self.optimizer = network, optimizer
        self._elsewhere: tuple[FloatArray, NDArray[np.float64]] | None = None

    @property
    def moments(self) -> FloatArray:
        """A row for each, laid out as `Network.params`; may be written to."""
        self.move_in()
        return self._there()[0]

    @property
    def counts(self) -> NDArray[np.float64]:
        """Steps so far, NAdam's product of μ, samples so far; may be written to."""
        self.move_in()
        return self._there()[1]

    def _there(self) -> tuple[FloatArray, NDArray[np.float64]]:
        """Where moments and counts lie in the network's state."""
        fields, n_moments = self.network.parameters.fields, self.optimizer.n_moments
        n = len(fields.params)
        return fields.moments[: n_moments * n].reshape(n_moments, n), fields.counts

    def move_in(self) -> None:
        """Put these moments into the network's state, and copy another optimizer's out of it."""
        parameters = self.network.parameters
        before = parameters.learner and parameters.learner()
        if before is self:
            return
        if before is not None:
            before.move_out()
        # Ctrl-C may come between any two lines: from here on it is no one's.
        parameters.learner = parameters.ready_for = None
        fields, optimizer = parameters.fields, self.optimizer
        set_rule(fields, optimizer)
        moments, counts = self._there()
        moments[...], counts[:] = self._elsewhere or (0, 0)
        parameters.learner = weakref.ref(self)  # a network does not keep its trainers
        self._elsewhere = None

    def move_out(self) -> None:
        """Leave the network's state to another optimizer."""
        moments, counts = self._there()
        self._elsewhere = moments.copy(), counts.copy()

    def is_of(self, network: Network, optimizer: Optimizer) -> bool:
        """Whether it is of this network, and of an optimizer with these settings."""
        return self.network is network and self.optimizer == optimizer

    def is_finite(self) -> bool:
        """Whether all moments are finite; if squares overflow, steps become 0."""
        self.move_in()
        fields = self.network.parameters.fields
        stop = self.optimizer.n_moments * len(fields.params)
        return bool(kernels.first_nonfinite(fields.moments, 0, stop) < 0)

    def reset(self) -> None:
        """Begin anew."""
        self.moments[...], self.counts[:] = 0, 0
