"""How each layer's steps are computed: the method, the block and the threads.

Method and block decide how sums are rounded, so they follow from sizes, dtype and the data alone:
the same fit gives the same bits again. Threads change no bit. They are ruled out here where there
is too little work to share; whether they are faster where there is enough, `pacing.Crew` measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels, threads
from fastbp.kernels import DEFERRED, METHODS, SEQUENTIAL, SKIPPING
from fastbp.optimizers import SGD, Optimizer

# Rows sampled to estimate X's share of zeros: more before training, fewer before one cheap forward
# pass, which must have at least a multiple of them.
_SAMPLED_ROWS, _ROWS_FOR_ONE_LOOK, _LEAST_ROWS = 256, 8, 32
# From this share of zeros on, finding zeros costs less than multiplying by them.
_SPARSE = 0.4
# The same for mini-batches, whose dense products use each weight for several samples at a time.
# Skipping zeros, digits (49 % zeros) takes 1.2 times as long, MNIST (81 %) 0.7 times, in float64.
_SPARSE_IN_BATCHES = 0.7
# Share of zeros expected behind a ReLU.
_RELU_ZEROS = 0.5
# Rough speeds of one core, only to rule out threads: multiply-adds in the products of a block, and
# bytes of weights read by the products of a sample.
_BLOCK_SPEED = 3e10
_SAMPLE_SPEED = 5e10
# Bytes of weights that an optimizer's step moves on, a second.
_STEP_SPEED = 1.5e10
# Seconds that threads must save in a job: data have to move between the caches of their cores.
_LEAST_SAVED = 10e-6
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

    n_threads: int
    """Most threads that a layer uses."""

    @property
    def layer_threads(self) -> list[int]:
        """Most threads that each layer uses."""
        plan = self.plan
        shares: NDArray[np.bool_] = (plan.shares_block + plan.shares_sample) > 0
        threads: list[int] = np.where(shares, self.n_threads, 1).tolist()
        return threads

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
    """Share of zeros in X once converted to ``dtype``, from about ``sampled_rows`` of its rows."""
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
    """Whether mini-batches skip the zeros of dense X; and why."""
    if inputs.is_sparse:
        return False, "X is sparse"
    if not _zeros_matter(layout, dtype, inputs, "auto"):
        return False, ""
    zeros = zero_share(inputs, dtype, sampled_rows)
    skips = zeros >= _SPARSE_IN_BATCHES
    return skips, f"{zeros:.0%} of X is zero, {'skipped' if skips else 'not skipped'}"


def first_layer_kind(
    layout: kernels.Layout, dtype: np.dtype, inputs: kernels.Inputs, asked: str
) -> tuple[bool, bool]:
    """What `choose` finds out about X: whether it is sparse, and whether its zeros are skipped."""
    if not _zeros_matter(layout, dtype, inputs, asked):
        return inputs.is_sparse, False
    return False, zero_share(inputs) >= _SPARSE


def lists_zeros(layout: kernels.Layout, dtype: np.dtype, inputs: kernels.Inputs) -> bool:
    """`skips_zeros` for one forward pass; False for so few rows that finding out takes longer."""
    return inputs.n >= _LEAST_ROWS and skips_zeros(layout, dtype, inputs, _ROWS_FOR_ONE_LOOK)[0]


def _zeros_matter(
    layout: kernels.Layout, dtype: np.dtype, inputs: kernels.Inputs, asked: str
) -> bool:
    """Whether the first layer's method depends on the share of zeros in X."""
    if inputs.is_sparse or asked not in ("auto", "deferred"):
        return False
    return asked == "deferred" or zeros_matter(layout, dtype)


def zeros_matter(layout: kernels.Layout, dtype: np.dtype) -> bool:
    """Whether the first layer has so many weights that zeros in X are worth finding."""
    return _layer_bytes(layout, dtype, 0) > L1 // 8


def _layer_bytes(layout: kernels.Layout, dtype: np.dtype, l: int) -> int:
    return (int(layout.sizes[l]) + 1) * int(layout.strides[l]) * dtype.itemsize


def batch_threads(
    layout: kernels.Layout, batch_size: int, n_threads: int | None, moment_bytes: int = 0
) -> int:
    """Most threads for mini-batches: as many as were asked for, or as may be worth it.

    ``moment_bytes`` is the size of what the optimizer keeps for a parameter.
    """
    most = _most_threads(n_threads)
    # Forward, back and gradient, in two jobs; and the step.
    operations = 3 * min(batch_size, kernels.LONGEST_STRETCH)
    seconds = (operations + moment_bytes) * int(layout.blocks[-1]) / _BLOCK_SPEED
    return most if most > 1 and _may_pay(seconds / 2, most, n_threads) else 1


def step_threads(layout: kernels.Layout, dtype: np.dtype, n_threads: int | None) -> int:
    """Most threads for the first layer's step after each sample, if they may be worth it."""
    most = _most_threads(n_threads)
    return most if _may_pay(_layer_bytes(layout, dtype, 0) / _STEP_SPEED, most, None) else 1


# A step for one sample of a network of at most so many bytes is over before threads would help.
_ALONE_BYTES = 256 * 1024


def steps_alone(layout: kernels.Layout, dtype: np.dtype) -> bool:
    """Whether a step for a single dense row is taken as `kernels.learn_one` takes it."""
    return int(layout.blocks[-1]) * dtype.itemsize <= _ALONE_BYTES


# The same of networks whose optimizer keeps moments.
_STEPPED_BYTES = 1024 * 1024
# With shorter blocks, to bring all weights up to date takes longer than lagging saves.
_LEAST_LAG = 8


class Lagging(NamedTuple):
    """How the first layer's weights lag behind, where an optimizer steps after each sample."""

    length: int = 0
    """Samples after which all catch up; 0 if none lags."""
    is_listed: bool = False
    """Whether zeros of dense X are left out: if none lags, on the way forward."""
    why: str = ""


def alone(
    layout: kernels.Layout,
    dtype: np.dtype,
    inputs: kernels.Inputs,
    optimizer: Optimizer,
    decay: float,
) -> Lagging | None:
    """How `kernels.train_single` takes the steps, or None if they are left to batches of one.

    ``decay`` is η·λ if penalties are sampled between blocks, otherwise 0.
    """
    n_bytes, first = int(layout.blocks[-1]) * dtype.itemsize, _layer_bytes(layout, dtype, 0)
    lags = isinstance(optimizer, SGD) and optimizer.momentum > 0 and optimizer.dampening == 0
    # Penalties are sampled between blocks, so a pass must have many of them: the more, the faster
    # weights decay, as `penalties.SampledPenalty` has it.
    most = min(inputs.n // 32, 1 / (64 * decay)) if decay > 0 else inputs.n // 32
    length = min(kernels.LAGGING_BLOCK, (1 << int(most).bit_length()) // 2)
    lags = lags and length >= _LEAST_LAG
    if not lags and (n_bytes > _STEPPED_BYTES or inputs.is_sparse):
        return None
    looks = inputs.n >= _LEAST_ROWS and zeros_matter(layout, dtype)
    zeros = zero_share(inputs) if looks else 0.0
    skips = inputs.is_sparse or zeros >= _SPARSE
    if not lags:
        return Lagging(is_listed=skips)
    if n_bytes - (first if skips else 0) > _STEPPED_BYTES:
        return None
    what = "X is sparse" if inputs.is_sparse else f"{zeros:.0%} of X is zero"
    why = f"weights of zero inputs catch up later: {what}" if skips else ""
    return Lagging(length, skips and not inputs.is_sparse, why)


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
        Threads to use; by default as many as may pay.
    """
    zeros = zero_share(inputs) if _zeros_matter(layout, dtype, inputs, method[0]) else 0.0
    methods, sparse, reasons = [], [], []
    for l, asked in enumerate(method):
        chosen, skips, reason = _layer_method(layout, dtype, inputs, zeros, asked, l)
        methods.append(chosen)
        sparse.append(skips)
        reasons.append(reason)
    block = block_size or _block_size(layout, dtype, methods)
    if factor < 1:
        block = max(1, min(block, int(math.log(_SMALLEST_FACTOR) / math.log(factor))))
    codes, is_sparse = np.array(methods, np.int64), np.array(sparse, np.int64)
    none = np.zeros_like(codes)
    plan = kernels.Plan(codes, is_sparse, none, none)
    most = _most_threads(n_threads)
    if most > 1 and any(methods):  # the sequential kernel has no threads
        if inputs.is_sparse:
            zeros = zero_share(inputs)
        plan = _shared(plan, layout, dtype, zeros, block, most, n_threads)
    is_shared = plan.shares_block.any() or plan.shares_sample.any()
    return Choice(plan, block, tuple(reasons), most if is_shared else 1)


def _shared(
    plan: kernels.Plan,
    layout: kernels.Layout,
    dtype: np.dtype,
    zeros: float,
    block: int,
    most: int,
    n_threads: int | None,
) -> kernels.Plan:
    """The plan with threads in the products that have enough work for ``most``."""
    in_block, in_sample = np.zeros_like(plan.methods), np.zeros_like(plan.methods)
    for l, chosen in enumerate(plan.methods):
        if int(layout.strides[l]) * dtype.itemsize // 64 < 8:
            continue
        used = (1 - zeros if l == 0 else 1 - _RELU_ZEROS) if plan.sparse[l] else 1.0
        weights = int(layout.sizes[l]) * int(layout.strides[l]) * used
        if chosen == DEFERRED and _may_pay(block * weights / _BLOCK_SPEED, most, n_threads):
            in_block[l] = 1
        known_ahead = l == 0 and chosen == DEFERRED
        seconds = weights * dtype.itemsize / _SAMPLE_SPEED
        if not known_ahead and _may_pay(seconds, most, n_threads):
            in_sample[l] = 1
    return plan._replace(shares_block=in_block, shares_sample=in_sample)


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
    n_bytes = _layer_bytes(layout, dtype, l)
    if l == 0:
        skips, what = zeros >= _SPARSE, f"{zeros:.0%} of X is zero"
    else:
        skips, what = behind_relu, "inputs behind relu" if behind_relu else "inputs are not zero"
    size = f"{n_bytes / 1024:,.0f} KiB of weights"
    if asked == "sequential":
        return SEQUENTIAL, False, "sequential: asked for"
    if asked == "auto" and inputs.n == 1 and steps_alone(layout, dtype):
        return SEQUENTIAL, False, "sequential: a single row"
    if asked == "zero-skipping":
        if l > 0 and not behind_relu:
            return SEQUENTIAL, False, "sequential: zero-skipping was asked for, but " + what
        return SKIPPING, True, "zero-skipping: asked for"
    if asked == "deferred":
        return DEFERRED, skips, "deferred: asked for" + (", skipping zeros" if skips else "")
    if n_bytes > L1:
        how = f", skipping zeros: {what}" if skips else ""
        return DEFERRED, skips, f"deferred: {size} exceed the first-level cache{how}"
    # Samples and their units need room as well.
    is_full = int(layout.blocks[-1]) * dtype.itemsize > L1 - L1 // 8
    if l == 0 and is_full and n_bytes > L1 // 2 and not skips:
        why = f"deferred: {size} and the others' leave no room in the first-level cache"
        return DEFERRED, False, why
    # Behind relu, reading and writing half of a small layer takes as long as listing which half.
    if skips and (n_bytes > L1 // 8 if l == 0 else is_full and n_bytes > L1 // 4):
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


def _may_pay(seconds: float, most: int, n_threads: int | None) -> bool:
    """Whether threads may speed up work of so many seconds; yes, if they were asked for."""
    return n_threads is not None or seconds * (1 - 1 / most) > _LEAST_SAVED
