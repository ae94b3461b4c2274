"""How each layer's steps are computed: the method, the block and the threads.

Method and block decide how sums are rounded, so they follow from sizes, dtype and the data alone:
the same fit gives the same bits again. Threads change no bit, so they may follow from what a
launch is measured to cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastbp import kernels, threads
from fastbp.kernels import DEFERRED, METHODS, SEQUENTIAL, SKIPPING

# About so many rows of X are looked at to find how many of its entries are zero: before passes that
# train, and before one look at each row, which is over sooner.
_SAMPLED_ROWS, _ROWS_FOR_ONE_LOOK = 256, 32
# From this share of zeros on, finding them costs less than they do.
_SPARSE = 0.4
# Share of zeros expected behind a ReLU.
_RELU_ZEROS = 0.5
# Rough speeds of one core, only to weigh work against a launch: multiply-adds in the products of
# a block, and bytes of weights read by the products of a sample.
_BLOCK_SPEED = 3e10
_SAMPLE_SPEED = 5e10
# Seconds: what a launch seems to cost on an idle machine is not all, for data change caches.
_LEAST_SAVED = 5e-6
# Block factors γ^k are kept above this, so that dividing by them loses no range.
_SMALLEST_FACTOR = 2.0**-10


class Choice(NamedTuple):
    """What was chosen for a pass."""

    plan: kernels.Plan
    block_size: int
    reasons: tuple[str, ...]
    """One per layer: method and why."""

    @property
    def is_sequential(self) -> bool:
        """Whether every layer is."""
        return not self.plan.methods.any()

    def on_threads(self, n_threads: int) -> kernels.Plan:
        """The plan, for as many threads as there are now."""
        if n_threads > 1 or self.n_threads == 1:
            return self.plan
        one = np.ones_like(self.plan.methods)
        return self.plan._replace(block_threads=one, sample_threads=one)

    @property
    def n_threads(self) -> int:
        """Most threads that a layer uses."""
        plan = self.plan
        if plan.block_threads is None or plan.sample_threads is None:
            return 1
        return int(max(plan.block_threads.max(), plan.sample_threads.max()))

    @property
    def label(self) -> str:
        """Method of each layer, in a few words."""
        names = [name for code in self.plan.methods for name, c in METHODS.items() if c == code]
        return names[0] if len(set(names)) == 1 else ", ".join(names)


def _cache_bytes(level: int, default: int) -> int:
    """Size of a core's data cache, where the system tells it."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            found = {name: (index / name).read_text().strip() for name in ("level", "type", "size")}
            if found["level"] == str(level) and found["type"] != "Instruction":
                return int(found["size"].removesuffix("K")) * 1024
        except (OSError, ValueError):
            continue
    return default


L1 = _cache_bytes(1, 32 * 1024)
L2 = _cache_bytes(2, 512 * 1024)


def zero_share(
    inputs: kernels.Inputs, dtype: np.dtype | None = None, sampled_rows: int = _SAMPLED_ROWS
) -> float:
    """Share of zeros in X as it is in a dtype, from about ``sampled_rows`` rows all over it."""
    if inputs.is_sparse:
        return float(1 - len(inputs.data) / max(1, inputs.n * inputs.X.shape[1]))
    rows = inputs.X[:: max(1, inputs.n // sampled_rows)]
    if dtype is not None and rows.dtype != dtype:
        with np.errstate(all="ignore"):
            rows = rows.astype(dtype)
    return 1 - np.count_nonzero(rows.astype(np.bool_)) / rows.size  # counts floats slowly


def skips_zeros(
    layout: kernels.Layout,
    dtype: np.dtype,
    inputs: kernels.Inputs,
    sampled_rows: int = _SAMPLED_ROWS,
) -> tuple[bool, str]:
    """Whether mini-batches list what is not zero in dense X, by the rule of `choose`; and why."""
    if inputs.is_sparse:
        return False, "X is sparse"
    zeros = zero_share(inputs, dtype, sampled_rows)
    chosen, skips, _ = _layer_method(layout, dtype, inputs, zeros, "auto", 0)
    skips = skips and chosen != SEQUENTIAL
    return skips, f"{zeros:.0%} of X is zero, {'skipped' if skips else 'not skipped'}"


def lists_zeros(layout: kernels.Layout, dtype: np.dtype, inputs: kernels.Inputs) -> bool:
    """`skips_zeros` for one look at each row, where a few rows are over before that is known."""
    return (
        inputs.n >= _ROWS_FOR_ONE_LOOK and skips_zeros(layout, dtype, inputs, _ROWS_FOR_ONE_LOOK)[0]
    )


def batch_threads(
    layout: kernels.Layout, batch_size: int, n_threads: int | None, moment_bytes: int = 0
) -> int:
    """Threads for mini-batches: as many as are asked for, or as many as pay.

    ``moment_bytes`` is the size of what the optimizer keeps for a parameter.
    """
    most = _most_threads(n_threads)
    # Forward, back and gradient, in two parallel loops; and the step.
    operations = 3 * min(batch_size, kernels.LONGEST_STRETCH)
    seconds = (operations + moment_bytes) * int(layout.blocks[-1]) / _BLOCK_SPEED
    return most if most > 1 and _pays(seconds / 2, most, n_threads) else 1


def _most_threads(n_threads: int | None) -> int:
    return threads.available() if n_threads is None else min(n_threads, threads.available())


def choose(
    layout: kernels.Layout,
    dtype: np.dtype,
    inputs: kernels.Inputs,
    method: Sequence[str],
    block_size: int | None,
    factor: float,
    n_threads: int | None,
) -> Choice:
    """Decide on a plan.

    Parameters
    ----------
    method : sequence of str
        One per layer, "auto" or a name in `kernels.METHODS`.
    block_size : int, optional
        Samples per block; by default from the sizes of the caches.
    factor : float
        γ = 1 − η·λ, by which the weights decay at each step.
    n_threads : int, optional
        Threads to use; by default as many as pay.
    """
    zeros = zero_share(inputs)
    methods, sparse, reasons = [], [], []
    for l, asked in enumerate(method):
        chosen, skips, reason = _layer_method(layout, dtype, inputs, zeros, asked, l)
        methods.append(chosen)
        sparse.append(skips)
        reasons.append(reason)
    block = block_size or _block_size(layout, dtype, methods)
    if factor < 1:
        block = max(1, min(block, int(math.log(_SMALLEST_FACTOR) / math.log(factor))))
    most = _most_threads(n_threads)
    if not any(methods):
        most = 1  # the sequential kernel knows no threads
    in_block, in_sample = [1] * len(methods), [1] * len(methods)
    for l, chosen in enumerate(methods):
        columns = int(layout.strides[l]) * dtype.itemsize // 64
        if most == 1 or columns < 8:
            continue
        used = (1 - zeros if l == 0 else 1 - _RELU_ZEROS) if sparse[l] else 1.0
        weights = int(layout.sizes[l]) * int(layout.strides[l]) * used
        if chosen == DEFERRED and _pays(block * weights / _BLOCK_SPEED, most, n_threads):
            in_block[l] = most
        known_ahead = l == 0 and chosen == DEFERRED
        seconds = weights * dtype.itemsize / _SAMPLE_SPEED
        if not known_ahead and _pays(seconds, most, n_threads):
            in_sample[l] = most
    for l, (a, b) in enumerate(zip(in_block, in_sample, strict=True)):
        if max(a, b) > 1:
            reasons[l] += f"; {max(a, b)} threads"
    plan = kernels.Plan(
        np.array(methods, np.int64),
        np.array(sparse, np.bool_),
        *(
            (np.array(in_block, np.int64), np.array(in_sample, np.int64))
            if max(*in_block, *in_sample) > 1
            else (None, None)
        ),
    )
    return Choice(plan, block, tuple(reasons))


def _layer_method(
    layout: kernels.Layout,
    dtype: np.dtype,
    inputs: kernels.Inputs,
    zeros: float,
    asked: str,
    l: int,
) -> tuple[int, bool, str]:
    """Method of layer l, whether its zeros are skipped, and why."""
    if l == 0 and inputs.is_sparse:
        return SKIPPING, True, "zero-skipping: X is sparse"
    behind_relu = l > 0 and layout.activations[l - 1] == kernels.ACTIVATIONS["relu"]
    n_bytes = (int(layout.sizes[l]) + 1) * int(layout.strides[l]) * dtype.itemsize
    if l == 0:
        skips, what = zeros >= _SPARSE, f"{zeros:.0%} of X is zero"
    else:
        skips, what = behind_relu, "inputs behind relu" if behind_relu else "inputs are not zero"
    size = f"{n_bytes / 1024:,.0f} KiB of weights"
    if asked == "sequential":
        return SEQUENTIAL, False, "sequential: asked for"
    if asked == "zero-skipping":
        if l > 0 and not behind_relu:
            return SEQUENTIAL, False, "sequential: zero-skipping was asked for, but " + what
        return SKIPPING, True, "zero-skipping: asked for"
    if asked == "deferred":
        return DEFERRED, skips, "deferred: asked for" + (", skipping zeros" if skips else "")
    if n_bytes > L1:
        how = f", skipping zeros: {what}" if skips else ""
        return DEFERRED, skips, f"deferred: {size} exceed the first-level cache{how}"
    if skips and n_bytes > L1 // 8:
        return SKIPPING, True, f"zero-skipping: {what}"
    return SEQUENTIAL, False, f"sequential: {size}"


def _block_size(layout: kernels.Layout, dtype: np.dtype, methods: Sequence[int]) -> int:
    """As many samples as have room in half of the second-level cache, 8 to 32."""
    row = max(
        int(layout.sizes[l] + 2 * layout.strides[l]) * dtype.itemsize for l in range(len(methods))
    )
    block = 8
    while block < 32 and 2 * block * row <= L2 // 2:
        block *= 2
    return block


def _pays(seconds: float, most: int, n_threads: int | None) -> bool:
    """Whether work of so many seconds on one thread is done sooner on several."""
    if n_threads is not None:
        return True
    saved = seconds * (1 - 1 / most)
    return saved > _LEAST_SAVED and saved > 2 * threads.launch_seconds(most)
