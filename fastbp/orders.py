"""What a trainer draws at random: orders of the samples, and keys for what else is random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import kernels
from fastbp.samples import checked_order


class Orders:
    """Orders of the samples, one for each epoch, which follow from a seed.

    Attributes
    ----------
    key : tuple of two int
        Of dropout's masks, 32 bits each; they follow from it and the number of the sample alone.
    """

    def __init__(self, seed: int | None) -> None:
        sequence = np.random.SeedSequence(seed)
        self._generator = np.random.default_rng(sequence)
        self.key: tuple[int, ...] = tuple(sequence.spawn(1)[0].generate_state(2).tolist())

    def of(self, n: int, shuffle: bool | Callable[[int], ArrayLike]) -> NDArray[np.int64]:
        """Row numbers of an epoch, or none for the order given."""
        if callable(shuffle):
            return checked_order(f"shuffle({n})", shuffle(n), n)
        return self._generator.permutation(n) if shuffle else kernels.IN_ORDER

    def of_stream(self, epoch: int) -> np.random.Generator:
        """For an epoch of a stream, counted from 0: whatever has been drawn before."""
        return np.random.default_rng(np.random.SeedSequence(self.key, spawn_key=(epoch,)))

    @property
    def split_seed(self) -> int:
        """Of `validation_split`: not the generator's, whose orders must not depend on it."""
        return self.key[0] << 32 | self.key[1]

    def described(self) -> dict[str, Any]:
        """As JSON can hold them, for `restore`."""
        return {"generator": self._generator.bit_generator.state, "key": self.key}

    def restore(self, description: dict[str, Any]) -> None:
        """Go on as `described` has it; the first model files have no key."""
        self._generator.bit_generator.state = description["generator"]
        self.key = tuple(description.get("key", self.key))
