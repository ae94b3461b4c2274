"""A pass over the samples: the kernel that makes it, its scratch, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import checks, kernels, optimizers, plan
from fastbp.network import Network

Order = NDArray[np.int64]


class Pass(NamedTuple):
    """How a pass is made."""

    train: Callable[[Order, int, int, int, float], Any]
    """Trains on samples start to stop of an order with so many threads; takes and returns the sum
    of losses."""
    block: int
    """Samples that a cut between two calls must leave together."""
    n_threads: int
    """Most threads that it uses."""
    label: str
    """Methods in a few words, for `History.method`."""
    reasons: tuple[str, ...]
    """Lines for `Trainer.summary`."""
    penalty: Callable[[], float] | None = None
    """Sum over samples of what penalties added to their batches' losses since last asked for."""
    rule: kernels.Rule | None = None
    """The optimizer's state, unless it has none."""

    def has_finite_moments(self) -> bool:
        """Whether the optimizer's state is finite: after an overflow of squares, steps are 0."""
        if self.rule is None:
            return True
        moments = self.rule.moments
        return bool(kernels.first_nonfinite(moments, 0, len(moments)) < 0)


@np.errstate(all="ignore")
def turns_signs(learning_rate: float, weight_decay: float, kind: np.dtype[Any]) -> bool:
    """Whether a step's factor 1 − ηλ of the weights is 0 or less, in the network's dtype."""
    return bool(kind.type(learning_rate) * kind.type(weight_decay) >= 1)


def is_per_sample(options: dict[str, Any], learning_rate: float, kind: np.dtype[Any]) -> bool:
    """Whether steps are plain SGD's of one sample each, for which there are methods of their own.

    These divide by 1 − ηλ, which must therefore be above 0.
    """
    return (
        options["batch_size"] == 1
        and isinstance(options["optimizer"], optimizers.SGD)
        and options["optimizer"].n_moments == 0
        and not turns_signs(learning_rate, options["weight_decay"], kind)
        and options["l1"] == 0
        and not any(options["dropout"])
        and options["clip_value"] is options["clip_norm"] is options["max_norm"] is None
    )


@np.errstate(all="ignore")
def per_sample(
    network: Network,
    samples: kernels.Samples,
    learning_rate: float,
    options: dict[str, Any],
) -> Pass:
    """Plain SGD, one sample after the other."""
    params, layout, dtype = network.parameters.flat, network.layout, network.dtype
    rates = dtype.type(learning_rate), dtype.type(options["weight_decay"])
    choice = plan.choose(
        layout,
        dtype,
        samples.inputs,
        checks.methods(options["method"], len(network.sizes) - 1),
        options["block_size"],
        float(dtype.type(1) - rates[0] * rates[1]),
        options["n_threads"],
    )
    work = kernels.make_work(layout, dtype)
    layers = zip(choice.reasons, choice.layer_threads, strict=True)
    reasons = tuple(
        f"layer {i}  {why}" + (f"; {n} threads" if n > 1 else "")
        for i, (why, n) in enumerate(layers, start=1)
    )
    if choice.is_sequential:

        def train(order: Order, start: int, stop: int, n_threads: int, loss_sum: float) -> Any:
            return kernels.train_sequential(
                params, layout, work, samples, order, start, stop, *rates, loss_sum
            )

        return Pass(train, 1, 1, choice.label, reasons)
    block = kernels.make_block(layout, choice.plan, choice.block_size, dtype)

    def train_blocks(order: Order, start: int, stop: int, n_threads: int, loss_sum: float) -> Any:
        return kernels.train_deferred(
            params, layout, choice.plan if n_threads > 1 else choice.on_one_thread, work, block,
            samples, order, start, stop, *rates, loss_sum,
        )  # fmt: skip

    reasons += (f"blocks of {choice.block_size} samples",)
    return Pass(train_blocks, choice.block_size, choice.n_threads, choice.label, reasons)


def _regularization(
    n_hidden: int,
    dtype: np.dtype[Any],
    options: dict[str, Any],
    key: tuple[int, ...],
    by_batch: bool,
) -> kernels.Regularization:
    """Penalties, dropout and limits as the kernels take them."""
    names = ("weight_decay", "l1", "dropout", "clip_value", "clip_norm", "max_norm")
    given = {name: options[name] for name in names if options[name] is not None}
    return kernels.make_regularization(n_hidden, dtype, key=key, by_batch=by_batch, **given)


@np.errstate(all="ignore")
def by_batches(
    network: Network,
    samples: kernels.Samples,
    learning_rate: float,
    options: dict[str, Any],
    rule: kernels.Rule,
    key: tuple[int, ...],
) -> Pass:
    """Mini-batches, with the optimizer's state in ``rule``; ``key`` is that of dropout's masks."""
    params, layout, dtype = network.parameters.flat, network.layout, network.dtype
    eta = dtype.type(learning_rate)
    batch_size = min(options["batch_size"], samples.inputs.n)
    # With batch_size=1, all weights would cancel.
    by_batch = options["reduction"] == "batch" and batch_size > 1
    is_listed, why = plan.skips_zeros(layout, dtype, samples.inputs)
    moment_bytes = options["optimizer"].n_moments * dtype.itemsize
    most = plan.batch_threads(layout, batch_size, options["n_threads"], moment_bytes)
    regularization = _regularization(len(network.sizes) - 2, dtype, options, key, by_batch)
    # A plain step divides by 1 − ηλ, which must be above 0. With reduction "batch", λ is divided by
    # the weight of the batch, which may be one sample, the lightest of all.
    weights = samples.weights
    least = float(weights[weights > 0].min()) if by_batch and len(weights) else 1.0
    batch = kernels.make_batch(
        layout,
        batch_size,
        dtype,
        is_listed=is_listed,
        is_sparse=samples.inputs.is_sparse,
        is_plain=options["optimizer"].n_moments == 0
        and options["l1"] == 0
        and options["clip_value"] is None
        and dtype.type(learning_rate * options["weight_decay"] / least) < 1,
        is_whole=options["clip_norm"] is not None,
        drops=any(options["dropout"]),
        threads=most,
    )

    def train(order: Order, start: int, stop: int, n_threads: int, loss_sum: float) -> Any:
        return kernels.train_minibatch(
            params, layout, batch, rule, regularization, samples, order, start, stop,
            batch_size, eta, loss_sum, n_threads if n_threads > 1 else None,
        )  # fmt: skip

    def penalty() -> float:
        value = float(batch.penalty[0])
        batch.penalty[0] = 0
        return value

    reason = "; ".join(filter(None, [f"mini-batches of {batch_size}, {options['optimizer']}", why]))
    if most > 1:
        reason += f"; {most} threads"
    return Pass(
        train,
        min(batch_size, batch.length),
        most,
        "mini-batches",
        (reason,),
        penalty if by_batch else None,
        rule,
    )


# So many pieces of a pass have an error of a 64th of that of one.
_PENALTY_PIECES = 8


class SampledPenalty:
    """What penalties add to the losses of a pass, for kernels that do not sum it up.

    The mean penalty of a piece of the pass is taken to be the mean of those at its two ends.
    """

    def __init__(
        self, network: Network, weight_decay: float, l1: float, n: int, learning_rate: float
    ) -> None:
        self._network, self._factors = network, (weight_decay, l1)
        # The faster weights shrink, the more pieces are needed.
        self.pieces = int(min(n, max(_PENALTY_PIECES, 64 * n * (learning_rate * weight_decay))))
        self._before = network.parameters.penalty(*self._factors)
        self.sum = 0.0

    def add(self, n: int) -> None:
        """After a piece of so many samples."""
        before, after = self._before, self._network.parameters.penalty(*self._factors)
        # Penalties count before each step: this leaves out the one after the last step.
        self.sum += n * (before + after) / 2 + (before - after) / 2
        self._before = after


def sampled_penalty(
    network: Network, n: int, learning_rate: float, options: dict[str, Any]
) -> SampledPenalty | None:
    """None without penalties."""
    factors = options["weight_decay"], options["l1"]
    return SampledPenalty(network, *factors, n, learning_rate) if any(factors) else None
