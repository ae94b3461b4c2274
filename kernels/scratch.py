"""Scratch of blocks and batches: one flat array each, with everything constant during a pass."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from .instructions import VECTOR_BYTES
from .layout import DEFERRED, SKIPPING, Layout, padded
from .packing import Doubles, Int32s, Int64s, Reals, pack
from .samples import require_samples
from .tiles import STRIP_ROWS, TURNED_BYTES

# A set of a block's samples is a bit mask in one 64-bit integer.
LONGEST_BLOCK = 64


class Plan(NamedTuple):
    """How each layer's steps are computed; all (L,). Sharing changes no bit of a result.

    A layer whose method is zero-skipping is sparse, and one that is sequential is not. A first
    layer of CSR rows is zero-skipping.
    """

    methods: Int64s  # codes of `layout.METHODS`
    sparse: Int64s  # whether zero inputs are skipped; in deeper layers only if the activation
    # below is relu, where δ is 0 if the output is 0
    shares_block: Int64s  # whether threads share the products over a block
    shares_sample: Int64s  # whether they share those of one sample


class Block(NamedTuple):
    """Scratch of a block of samples s = 0, 1, 2 and so on.

    Layer l's part of ``a`` begins at ``units[l]·width``, of ``d`` at ``units[l + 1]·width``, and of
    ``places`` and ``x`` at ``units[l]``.
    """

    sizes: Int64s  # (L + 1,) those of the layout that it is made for
    plan: Plan
    length: int  # most samples
    width: int  # the same, padded to whole vectors
    a: Reals  # inputs of each deferred layer: a row per sample if they are dense; a row of
    # ``width`` per input if they are sparse, so that zeros are whole rows
    d: Reals  # pending factors d_s of each deferred layer, a row per sample
    z: Reals  # (width, stride_0) Wᵀx of the first layer
    gram: Reals  # (width, width) x_s · x_t of the first layer, s < t
    first_places: Int32s  # (width, units[1]) where each sample's inputs are not zero
    first_x: Reals  # (width, units[1]) those inputs
    first_counts: Int64s  # (width,) how many they are
    places: Int32s  # (units[-1],) of the sample at hand: where each layer's inputs are not zero
    x: Reals  # (units[-1],) those inputs
    counts: Int64s  # (L,) how many they are
    sums: Reals  # (most inputs,) Wδ
    dots: Reals  # (2 width,) a_s · a and d_s · δ


def make_block(layout: Layout, plan: Plan, length: int, dtype: np.dtype) -> NDArray[np.floating]:
    """Scratch for blocks of at most ``length`` samples (up to 64), as much as the plan needs."""
    length, units = min(length, LONGEST_BLOCK), int(layout.units[-1])
    width = padded(length, dtype)
    n = units * width if DEFERRED in plan.methods else 0
    first = width if plan.methods[0] == DEFERRED else 0
    listed = first * int(layout.units[1]) if plan.sparse[0] else 0
    block = Block(
        sizes=layout.sizes,
        plan=plan,
        length=length,
        width=width,
        a=n,
        d=n,
        z=first * int(layout.strides[0]),
        gram=first * width,
        first_places=listed,
        first_x=listed,
        first_counts=first,
        places=units,
        x=units,
        counts=len(layout.strides),
        sums=int(np.diff(layout.units).max()),
        dots=2 * width,
    )
    return pack(block, dtype)


# Groups of samples pass through layers up to this size, all together, so that weights stay in the
# second-level cache. What is read for each of them has a transposed copy; larger layers are read
# once a batch, and transposed meanwhile.
CACHED_BYTES = 1024 * 1024
# Samples of a mini-batch whose outputs and δ are kept at a time.
LONGEST_STRETCH = 256
# A layer with 128 KiB of weights and more sums its inputs in quarters, whatever the number of
# threads. Each thread takes whole quarters, so its core's cache keeps their weights from sums to
# step, and of larger layers each core reads its own part alone. Smaller layers are done too soon
# for that to pay; with many samples it saves less than adding up the quarters costs. With 12 or
# more vectors of inputs no quarter is empty.
QUARTERS = 4
_LEAST_INPUTS = 256
_QUARTERED_BYTES = 128 * 1024
_MOST_SAMPLES = 128
# About how many elements a panel of the gradient has. With few samples, its weights and moments fit
# the nearest cache; with many, what its rows are multiplied by is read often enough that there must
# be more of them, and it fits the second-level cache.
_PANEL, _PANEL_OF_MANY, _MANY = 2048, 32768, 64
# Rows that a panel has at least: in wide layers the factors of its rows, which are read once for
# each panel, come from further away than the nearest cache. For plain SGD panels of rows of at
# least so many elements are as high as products turn factors at a time; other rules need room for
# the gradient, too.
_ROWS, _PLAIN_ROWS, _ROWS_OF_MANY = 8, 32, 64
_WIDE = 512
# With several threads, about how many panels each takes at least: more make shares more equal.
_PANELS_A_THREAD = 8


# In a network of layers up to this width, samples of a batch are side by side, if they fill so many
# vectors: fewer leave registers empty, and each gradient still has its sum over lanes.
NARROW = 80
_LEAST_VECTORS = 2
# Vectors of samples in a group.
_GROUP = 4


class Regularization(NamedTuple):
    """What keeps parameters and gradients small."""

    weight_decay: float = 0.0  # λ
    l1: float = 0.0  # λ₁
    clip_value: float = np.inf  # largest |g|
    clip_norm: float = np.inf  # largest ‖g‖ of the whole gradient
    max_norm: float = np.inf  # largest norm of a unit's weights
    dropout: Doubles = np.empty(0)  # (L − 1,) share of each hidden layer's units, or (0,)
    key: Int64s = np.zeros(2, np.int64)  # (2,) of the masks, 32 bits each
    by_batch: int = 0  # whether losses and penalties are summed, and divided by the batch's weight


UNREGULARIZED = Regularization()


class Lists(NamedTuple):
    """Lists of the non-zero inputs of dense X by group and quarter; empty if none are kept."""

    width: int  # of a row of ``marked``: a stretch's length padded to whole vectors
    places: Int32s  # (length·units[1],) where they stand
    x: Reals  # ditto: those inputs
    marked: Reals  # (units[1]·width,) a row per input, zeros included; all 0 between batches


class Quarters(NamedTuple):
    """Which layers sum their inputs in quarters, and room for these sums."""

    is_cut: Int64s  # (L,) whether a layer's inputs are
    sums: Reals  # ((QUARTERS − 1)·length·widest,) those of all quarters but the first


class Panels(NamedTuple):
    """The gradient in panels of a few rows of weights, numbered through all layers."""

    heights: Int64s  # (L,) rows of each layer's panels
    firsts: Int64s  # (L + 1,) number of each layer's first panel; the last: of panels
    loads: Int64s  # (firsts[-1] + 1,) weights in all panels before each, and in all
    size: int  # elements of the largest
    is_whole: int  # whether a gradient of all parameters is summed up over stretches
    gradient: Reals  # that, or a panel for each thread, or (0,)
    norms: Doubles  # (firsts[-1] + L,) of the panels' and the biases' gradients, × SHRINK


class Batch(NamedTuple):
    """Scratch of a mini-batch, a row per sample in each layer; or, in groups of samples, per unit.

    With groups, ``a``, ``z`` and ``delta`` are as `narrow` has them, of layers 0 to L.

    A layer l ≥ 1 has its part of ``a``, ``z`` and ``delta`` from ``(units[l] − units[1])·length``.
    Padding holds whatever the formulas give for zeros, such as f(0); only in ``delta`` it is 0.
    """

    sizes: Int64s  # (L + 1,) those of the layout that it is made for
    size: int  # samples of a batch
    length: int  # most samples at a time: a longer batch is worked off in stretches
    is_sparse: int  # whether X is CSR
    is_listed: int  # whether zeros in dense X are left out
    is_plain: int  # whether plain SGD's step is added to W directly, without storing G
    group: int  # samples that are side by side in lanes; 0 where there is a row per sample
    turned: Int64s  # (L,) whether gradients of a layer are taken by samples, not by groups; or (0,)
    inputs: Reals  # (length·units[1],) rows of dense X, unless zeros are left out
    a: Reals  # ((units[-1] − units[1])·length,) outputs of each layer
    masked: Reals  # ditto: a times the mask, the next layer's input; (0,) without dropout
    mask: Reals  # ditto: of dropout, or (0,)
    z: Reals  # ditto: sums before the activation
    delta: Reals  # ditto: ∂loss/∂z, times the sample's share of the mean
    zeros: Reals  # (widest,) never modified
    y: Reals  # (length·strides[-1],) targets
    labels: Int64s  # (length,) class numbers, where there are any
    rows: Int64s  # (length,) rows of X, only with groups; they have whole vectors here
    scales: Reals  # (length,) factor of each sample's δ; only with groups
    losses: Doubles  # (length,) weighted
    transposed: Reals  # weights of each layer but the first, row k the fan-in of unit k; or (0,)
    places: Int64s  # (L + 1,) layer l has its part from places[l]
    lists: Lists
    quarters: Quarters
    panels: Panels
    regularization: Regularization
    penalty: Doubles  # (1,) sum over samples, where `Regularization.by_batch`


def kind_of(is_listed: bool, is_sparse: bool) -> str:
    """The ``inputs`` argument of `make_batch`: CSR rows, dense with zeros skipped, or dense."""
    return "sparse" if is_sparse else "listed" if is_listed else "dense"


def make_batch(
    layout: Layout,
    size: int,
    dtype: np.dtype,
    *,
    inputs: str = "dense",
    purpose: str = "training",
    is_plain: bool = False,
    regularization: Regularization = UNREGULARIZED,
    threads: int = 1,
) -> NDArray[np.floating]:
    """Scratch for batches of ``size``.

    Parameters
    ----------
    inputs : {"dense", "listed", "sparse"}
        Dense X; dense X whose zeros are skipped; CSR rows.
    purpose : {"training", "gradient", "inference"}
        A gradient takes no step, and inference has no backward pass.
    is_plain : bool
        The optimizer is plain SGD, whose step needs no separate gradient.
    threads : int
        Most threads that take a step together.
    """
    length, goes_back = min(size, LONGEST_STRETCH), purpose != "inference"
    group = _group(layout, length, dtype, inputs, purpose, regularization)
    if group > 0:
        room = -(-length // group) * group
        n, of_rows = int(layout.units[-1]) * room, 0
    else:
        room, of_rows = length, int(inputs == "dense")
        n = int(layout.units[-1] - layout.units[1]) * length
    masks = n * any(regularization.dropout)
    is_small = int(layout.blocks[-1]) * dtype.itemsize <= CACHED_BYTES
    places = _places(layout, goes_back and group == 0 and is_small)
    is_plain, is_whole = _sums(size, inputs, purpose, is_plain, regularization)
    # A clipped norm's bits depend on the panels, so these must not depend on the threads then.
    clips = regularization.clip_norm < np.inf
    target, least = _PANEL, _PLAIN_ROWS if is_plain else _ROWS
    if length >= _MANY:
        target, least = _PANEL_OF_MANY, _ROWS_OF_MANY
    kind = inputs, purpose
    panels = _panels(layout, dtype, kind, target, least, is_plain, 1 if clips else threads)
    gradient = int(layout.blocks[-1]) if is_whole else threads * panels.size * (not is_plain)
    batch = Batch(
        sizes=layout.sizes,
        size=size,
        length=length,
        is_sparse=inputs == "sparse",
        is_listed=inputs == "listed",
        is_plain=is_plain,
        group=group,
        turned=_turned(layout, length, dtype) if group > 0 else 0,
        inputs=length * int(layout.units[1]) * of_rows,
        a=n,
        masked=masks,
        mask=masks,
        z=n,
        delta=n * goes_back,
        zeros=int(np.diff(layout.units).max()),
        y=room * int(layout.strides[-1]),
        labels=room,
        rows=room if group > 0 else 0,
        scales=room if group > 0 else 0,
        losses=length,
        transposed=places[-1],
        places=places,
        lists=_lists(layout, length, dtype, inputs, goes_back),
        quarters=_quarters(layout, length, dtype, inputs, goes_back),
        panels=panels._replace(is_whole=is_whole, gradient=gradient * (purpose == "training")),
        regularization=regularization,
        penalty=1,
    )
    return pack(batch, dtype)


def _group(
    layout: Layout,
    length: int,
    dtype: np.dtype,
    inputs: str,
    purpose: str,
    regularization: Regularization,
) -> int:
    """Samples of a group of a narrow network; 0 if there is to be a row per sample."""
    if inputs != "dense" or purpose == "inference" or any(regularization.dropout):
        return 0
    if length not in grouped_rows(layout, dtype):
        return 0
    return min(_GROUP * VECTOR_BYTES // dtype.itemsize, padded(length, dtype))


def grouped_rows(layout: Layout, dtype: np.dtype) -> range:
    """How many dense rows are taken forward and back side by side, in groups of vectors."""
    least = _LEAST_VECTORS * VECTOR_BYTES // dtype.itemsize
    return range(least, LONGEST_STRETCH + 1) if max(layout.sizes) <= NARROW else range(0)


def _turned(layout: Layout, length: int, dtype: np.dtype) -> list[bool]:
    """Which layers have so many outputs that sums over lanes take longer than their padding.

    In cycles of a sample, as measured: products and sums over lanes; products and turning Δ.
    """
    v = VECTOR_BYTES // dtype.itemsize
    turned = []
    for n_in, n_out, stride in zip(layout.sizes, layout.sizes[1:], layout.strides, strict=False):
        by_lanes = int(n_in) * (-(-int(n_out) // 4) * 4) * (0.65 / v + 3 / length)
        by_rows = int(stride) / v * (0.65 * int(n_in) + 4)
        turned.append(by_rows < by_lanes)
    return turned


def _sums(
    size: int, inputs: str, purpose: str, is_plain: bool, regularization: Regularization
) -> tuple[bool, bool]:
    """Two flags of a `Batch`: ``is_plain``, and ``panels.is_whole``."""
    adjusts = regularization.l1 > 0 or regularization.clip_value < np.inf
    clips = regularization.clip_norm < np.inf
    sums_up = purpose == "gradient" or clips or size > LONGEST_STRETCH
    is_plain = is_plain and not (adjusts or sums_up)
    return is_plain, sums_up or (inputs == "sparse" and not is_plain)


def _places(layout: Layout, goes_back: bool) -> list[int]:
    """Where each layer's transposed weights begin, and where those of the last end."""
    places = [0, 0]  # the first layer has none
    widths = np.diff(layout.units).tolist()
    for stride, width in zip(layout.strides.tolist()[1:], widths[1:], strict=False):
        places.append(places[-1] + stride * width * goes_back)
    return places


def _lists(layout: Layout, length: int, dtype: np.dtype, inputs: str, goes_back: bool) -> Lists:
    if inputs != "listed":
        return Lists(0, 0, 0, 0)
    width, padded_length = int(layout.units[1]), padded(length, dtype)
    return Lists(
        width=padded_length,
        places=length * width,
        x=length * width,
        marked=padded_length * width * goes_back,
    )


def _quarters(
    layout: Layout, length: int, dtype: np.dtype, inputs: str, goes_back: bool
) -> Quarters:
    is_cut = [  # in inference threads share the samples
        goes_back
        and int(n_in) >= _LEAST_INPUTS
        and length <= _MOST_SAMPLES
        and int(n_in * stride) * dtype.itemsize >= _QUARTERED_BYTES
        and not (l == 0 and inputs == "sparse")
        for l, (n_in, stride) in enumerate(zip(layout.sizes, layout.strides, strict=False))
    ]
    widest = max(int(stride) * cut for stride, cut in zip(layout.strides, is_cut, strict=True))
    return Quarters(is_cut, (QUARTERS - 1) * length * widest)


def _panels(
    layout: Layout,
    dtype: np.dtype,
    kind: tuple[str, str],
    target: int,
    least: int,
    is_plain: bool,
    threads: int,
) -> Panels:
    inputs, purpose = kind
    turned = TURNED_BYTES // (STRIP_ROWS * dtype.itemsize)
    if purpose == "inference":
        return Panels(0, 0, 0, 0, 0, 0, 0)
    lanes = VECTOR_BYTES // dtype.itemsize
    most = int(layout.blocks[-1])
    if threads > 1:  # equal shares of small panels
        most //= _PANELS_A_THREAD * threads
    heights, firsts, loads, size = [], [0], [0], 0
    shapes = zip(layout.sizes.tolist(), layout.strides.tolist(), strict=False)
    for l, (n_in, stride) in enumerate(shapes):
        # Whole vectors of what is transposed; of the first layer, what is multiplied at a time.
        step = lanes if l > 0 else 8
        rows = turned if is_plain and stride >= _WIDE else least
        height = max(step, min(max(target, rows * stride), most) // stride // step * step)
        if l == 0 and inputs == "sparse":
            height = n_in  # a sample's rows are anywhere
        heights.append(height)
        for top in range(0, n_in, height):
            loads.append(loads[-1] + min(height, n_in - top) * stride)
        firsts.append(firsts[-1] + -(-n_in // height))
        size = max(size, min(height, n_in) * stride, stride)
    norms = firsts[-1] + len(layout.strides)
    return Panels(heights, firsts, loads, size, is_whole=0, gradient=0, norms=norms)


# Scratch that was made for something else may be too short, and writing past its end would
# silently corrupt memory.


@jit
def is_for(layout, sizes):
    """Whether something was made for networks of these sizes, and the layout is of one."""
    if len(sizes) != len(layout.sizes):
        return False
    for l in range(len(sizes)):
        if sizes[l] != layout.sizes[l]:
            return False
    return True


@jit
def require_block(block, layout, samples, stop):
    """Refuse a block that is not for these samples of this network."""
    require_samples(samples, layout, stop)
    if not is_for(layout, block.sizes):
        raise ValueError("a Block must be made for the layout of the network that uses it.")
    if len(samples.inputs.indptr) > 0 and block.plan.methods[0] != SKIPPING:
        raise ValueError("a Block for CSR rows must have a zero-skipping first layer.")


@jit
def require_batch(batch, layout, samples, stop):
    """Refuse a batch that is not for these samples of this network."""
    require_samples(samples, layout, stop)
    if not is_for(layout, batch.sizes):
        raise ValueError("a Batch must be made for the layout of the network that uses it.")
    if (batch.is_sparse != 0) != (len(samples.inputs.indptr) > 0):
        raise ValueError("a Batch must be made for CSR rows if it is used for them, and only then.")


@jit
def require_sums(batch, state, gradient):
    """Refuse a batch, or a gradient, that has no room for what is to be summed up."""
    whole, panels = state.layout.blocks[len(state.layout.strides)], batch.panels
    if len(batch.delta) == 0:
        raise ValueError("a Batch made for inference has no way back.")
    if len(gradient) > 0 and (panels.is_whole == 0 or len(gradient) != whole):
        raise ValueError("a gradient must have all parameters, and a Batch made for gradients.")
    if len(gradient) == 0 and batch.is_plain == 0 and len(panels.gradient) == 0:
        raise ValueError("a Batch made for gradients takes no step: give it a gradient.")
    if len(gradient) == 0 and state.rule[2] * whole > len(state.moments):
        raise ValueError("the State has no room for the moments of its optimizer.")


@jit
def most_parts(batch, threads):
    """Threads that take panels: no more than there are panels of scratch, if each needs its own."""
    panels = batch.panels
    needs_own = batch.is_plain == 0 and panels.is_whole == 0
    return min(threads, len(panels.gradient) // panels.size) if needs_own else threads
