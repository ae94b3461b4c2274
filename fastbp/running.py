"""How a stream of samples goes: the loss of each before its own step, added up and averaged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# Of so many samples `Stream.recent_loss` is the plain mean; then the newest has the weight 1/100.
_PLAIN = 100


class Stream:
    """What a trainer has learned from `Trainer.learn_one` and `Trainer.partial_fit` so far.

    Losses are taken before the step of their own sample, or batch: each sample is a test of what
    has been learned from those before it.

    Attributes
    ----------
    samples : int
    loss_sum : float
    """

    __slots__ = ("_recent", "loss_sum", "samples")

    def __init__(self) -> None:
        self.samples, self.loss_sum, self._recent = 0, 0.0, 0.0

    @property
    def loss(self) -> float:
        """Mean loss of all samples; NaN if there are none."""
        return self.loss_sum / self.samples if self.samples else math.nan

    @property
    def recent_loss(self) -> float:
        """Mean of the losses in which each counts half as much after 69 further samples.

        The plain mean, up to 100 samples; NaN if there are none.
        """
        return self._recent if self.samples else math.nan

    def add_one(self, loss: float) -> None:
        """Count a sample of this loss."""
        self.samples = n = self.samples + 1
        self.loss_sum += loss
        self._recent += (loss - self._recent) / (n if n < _PLAIN else _PLAIN)

    def add(self, n: int, loss_sum: float) -> None:
        """Count n samples, whose losses have this sum, as if each had their mean."""
        if n == 1:
            self.add_one(loss_sum)
            return
        before, after = self.samples, self.samples + n
        self.samples = after
        self.loss_sum += loss_sum
        # What the samples have left of the mean: 1 − 1/k each, up to the 100th, and then 0.99.
        kept = before / after if after < _PLAIN else before / _PLAIN if before < _PLAIN else 1.0
        if after > _PLAIN:
            kept *= (1 - 1 / _PLAIN) ** (after - (before if before > _PLAIN else _PLAIN))
        self._recent += (loss_sum / n - self._recent) * (1 - kept)

    def described(self) -> dict[str, Any]:
        """All of it as plain values, for `restored`."""
        return {"samples": self.samples, "loss_sum": self.loss_sum, "recent": self._recent}

    @classmethod
    def restored(cls, description: Mapping[str, Any]) -> Stream:
        """What `described` was called of; an empty one without values."""
        stream = cls()
        stream.samples = description.get("samples", 0)
        stream.loss_sum, stream._recent = (
            description.get(name, 0.0) for name in ("loss_sum", "recent")
        )
        return stream

    def __repr__(self) -> str:
        return (
            f"Stream(samples={self.samples}, loss={self.loss:.4g}, recent={self.recent_loss:.4g})"
        )
