"""What penalties add to the mean loss of a pass, where the kernel does not sum it up."""

from __future__ import annotations

from fastbp.network import Network

# A trapezoid sum over eight pieces leaves 1/64 of the error of one.
_PENALTY_PIECES = 8


class SampledPenalty:
    """Sum over the samples of a pass of ½ λ ‖W‖² + λ₁ Σ|w|, as it was before their steps.

    The mean penalty of a piece of the pass is taken to be the mean of those at its two ends.
    """

    def __init__(
        self, network: Network, weight_decay: float, l1: float, n: int, learning_rate: float
    ) -> None:
        self._network, self._factors = network, (weight_decay, l1)
        # The faster weights shrink, the more pieces are needed.
        self.pieces = int(min(n, max(_PENALTY_PIECES, 64 * n * (learning_rate * weight_decay))))
        self._before = network.parameters.penalty(*self._factors)

    def add(self, n: int) -> float:
        """The sum of a piece of so many samples, after them."""
        before, after = self._before, self._network.parameters.penalty(*self._factors)
        self._before = after
        # Penalties count before each step: this leaves out the one after the last step.
        return n * (before + after) / 2 + (before - after) / 2


def sampled_penalty(
    network: Network, weight_decay: float, l1: float, n: int, learning_rate: float
) -> SampledPenalty | None:
    """None without penalties."""
    if weight_decay == 0 and l1 == 0:
        return None
    return SampledPenalty(network, weight_decay, l1, n, learning_rate)
