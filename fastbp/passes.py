"""A pass over the samples: the kernel that makes it, its scratch, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels, methods, optimizers, threads, validation
from fastbp.network import Network

Order = NDArray[np.int64]


class Pass(NamedTuple):
    """How a pass is made."""

    train: Callable[[int, int, int, float], Any]
    """Trains on order[start:stop] with so many threads; takes and returns the sum of losses."""
    block: int
    """Samples that a cut between two calls must leave together."""
    n_threads: int
    """Most threads that it uses."""
    label: str
    """Methods in a few words, for `History.method`."""
    reasons: tuple[str, ...]
    """Lines for `Trainer.summary`."""


def per_sample(
    network: Network, samples: kernels.Samples, order: Order, options: dict[str, Any]
) -> Pass:
    """Plain SGD, one sample after the other."""
    params, layout, dtype = network._buffer, network.layout, network.dtype
    rates = _rates(options, dtype)
    choice = methods.choose(
        layout,
        dtype,
        samples.inputs,
        validation.methods(options["method"], len(network.sizes) - 1),
        options["block_size"],
        float(dtype.type(1) - rates[0] * rates[1]),
        options["n_threads"],
    )
    work = kernels.make_work(layout, dtype)
    reasons = tuple(f"layer {i}  {why}" for i, why in enumerate(choice.reasons, start=1))
    if choice.is_sequential:

        def train(start: int, stop: int, n_threads: int, loss_sum: float) -> Any:
            return kernels.train_sequential(
                params, layout, work, samples, order, start, stop, *rates, loss_sum
            )

        return Pass(train, 1, 1, choice.label, reasons)
    block = kernels.make_block(layout, choice.plan, choice.block_size, dtype)

    def train_blocks(start: int, stop: int, n_threads: int, loss_sum: float) -> Any:
        with threads.team(n_threads) as n:
            return kernels.train_deferred(
                params, layout, choice.on_threads(n), work, block, samples, order,
                start, stop, *rates, loss_sum,
            )  # fmt: skip

    reasons += (f"blocks of {choice.block_size} samples",)
    return Pass(train_blocks, choice.block_size, choice.n_threads, choice.label, reasons)


def by_batches(
    network: Network,
    samples: kernels.Samples,
    order: Order,
    options: dict[str, Any],
    rule: kernels.Rule,
) -> Pass:
    """Mini-batches, with the optimizer's state in ``rule``."""
    params, layout, dtype = network._buffer, network.layout, network.dtype
    rates = _rates(options, dtype)
    batch_size = min(options["batch_size"], len(order))
    is_listed, why = methods.skips_zeros(layout, dtype, samples.inputs)
    most = methods.batch_threads(layout, batch_size, options["n_threads"])
    batch = kernels.make_batch(
        layout,
        batch_size,
        dtype,
        is_listed=is_listed,
        is_sparse=samples.inputs.is_sparse,
        is_plain=options["optimizer"] == optimizers.SGD(),
        threads=most,
    )

    def train(start: int, stop: int, n_threads: int, loss_sum: float) -> Any:
        with threads.team(n_threads) as n:
            return kernels.train_minibatch(
                params, layout, batch, rule, samples, order, start, stop, batch_size,
                *rates, loss_sum, n if most > 1 else None,
            )  # fmt: skip

    reason = f"mini-batches of {batch_size}, {options['optimizer']}; {why}"
    if most > 1:
        reason += f"; {most} threads"
    return Pass(train, batch_size, most, "mini-batches", (reason,))


def _rates(options: dict[str, Any], dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """η and λ, in the dtype of the kernels."""
    return dtype.type(options["learning_rate"]), dtype.type(options["weight_decay"])
