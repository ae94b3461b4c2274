"""What is raised when training produces numbers that are not finite."""

from __future__ import annotations

from collections.abc import Mapping


class DivergenceError(ArithmeticError):
    """Training produced parameters, a loss or an optimizer's moments that are not finite.

    The network holds the last finite parameters that it had at a chunk boundary.

    Attributes
    ----------
    epoch : int
        Epoch, from 1; in `Trainer.partial_fit` the one that the pass would belong to.
    layer : int or None
        First layer, from 1, with a parameter that is not finite; None if it is something else.
    learning_rate : float
        The η of that epoch.
    moments : bool
        Whether it is the optimizer's moments alone, such as a mean of squared gradients: with
        them, steps would be 0.
    """

    def __init__(
        self, epoch: int, layer: int | None, learning_rate: float, moments: bool = False
    ) -> None:
        super().__init__(epoch, layer, learning_rate, moments)
        self.epoch = epoch
        self.layer = layer
        self.learning_rate = learning_rate
        self.moments = moments

    def __str__(self) -> str:
        return self.text()

    def text(self, outcome: str = "keeps its last finite parameters") -> str:
        """What happened, what the network does then, and what helps."""
        what = "the optimizer's moments are" if self.moments else "the loss is"
        if self.layer is not None:
            what = f"layer {self.layer} got parameters that are"
        return (
            f"Training diverged in epoch {self.epoch}: {what} not finite; the network {outcome}. "
            f"Lower learning_rate ({self.learning_rate:g}), or scale the inputs to about unit "
            "size, as fastbp.Preparation does."
        )


class EnsembleDivergenceError(DivergenceError):
    """Training of some networks of an `Ensemble` diverged; the others were trained to the end.

    Attributes
    ----------
    errors : dict of int to DivergenceError
        Of each of these networks, by its number. The first one's attributes are this error's, too.
    """

    def __init__(self, errors: Mapping[int, DivergenceError], n: int) -> None:
        first = errors[min(errors)]
        super().__init__(first.epoch, first.layer, first.learning_rate, first.moments)
        self.args = dict(errors), n
        self.errors, self._n = dict(sorted(errors.items())), n

    def text(self, outcome: str = "keeps its last finite parameters") -> str:
        """Which networks, and what happened to the first of them."""
        number, first = next(iter(self.errors.items()))
        if len(self.errors) == 1:
            return f"Network {number} of {self._n}: {first.text(outcome)}"
        numbers = [*map(str, self.errors)]
        shown = ", ".join(numbers[:10]) + ", ..." * (len(numbers) > 10)
        return (
            f"{len(numbers)} of {self._n} networks diverged: {shown}. "
            f"Network {number}: {first.text(outcome)}"
        )


class StreamDivergenceError(DivergenceError):
    """A sample of a stream was refused, because its loss or the parameters are not finite."""

    def text(self, outcome: str = "refuses the sample") -> str:
        """What happened, what the model does then, and what helps."""
        what = (
            "the loss is" if self.layer is None else f"layer {self.layer} has parameters that are"
        )
        return (
            f"Training diverged: {what} not finite; the model {outcome}. Lower learning_rate "
            f"({self.learning_rate:g}), or scale features and target to about unit size, as "
            "River's StandardScaler does."
        )
