"""Where everything lies: the flat parameter buffer, the work buffers and the samples.

All of it is plain NumPy arrays in named tuples, so that one compiled function serves every
architecture. A network's parameters are one flat buffer of one block per layer; block l is
input-major, (n_in + 1) rows of ``stride`` elements with the bias as the last row, where
``stride`` is n_out `padded` to whole SIMD vectors. The padding is zero and stays zero.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .activations import ACTIVATIONS
from .losses import LOSSES
from .vectors import VECTOR_BYTES


class Layout(NamedTuple):
    """Architecture of a network as the kernels see it; all int64."""

    sizes: NDArray[np.int64]  # (L + 1,) units of each layer, the input first
    strides: NDArray[np.int64]  # (L,) `padded` fan-out: row length of each block
    blocks: NDArray[np.int64]  # (L + 1,) start of each layer's block in params; the last: length
    units: NDArray[np.int64]  # (L + 2,) start of each layer's units in a work buffer; ditto
    activations: NDArray[np.int64]  # (L,) code of each layer's f, the output's last
    loss: int


# Methods of a layer: three ways to take the same steps; see `deferred`.
SEQUENTIAL, SKIPPING, DEFERRED = range(3)
METHODS = {"sequential": SEQUENTIAL, "zero-skipping": SKIPPING, "deferred": DEFERRED}
# A block's samples are marked by the bits of one integer.
LONGEST_BLOCK = 64
# Samples of a mini-batch whose outputs and δ are kept at a time.
LONGEST_STRETCH = 256


class Plan(NamedTuple):
    """How each layer's steps are computed. Only ``threads`` can change without changing a bit."""

    methods: NDArray[np.int64]  # (L,) codes of METHODS
    sparse: NDArray[np.bool_]  # (L,) whether inputs that are zero are left out; in a deeper layer
    # only where the activation below is relu, which has no δ where it is zero
    block_threads: NDArray[np.int64] | None  # (L,) threads for the products over a block
    sample_threads: NDArray[np.int64] | None  # (L,) threads for those of one sample; or None


class Work(NamedTuple):
    """Scratch of one sample; every buffer is modified in place.

    The padding of ``a``, ``z`` and ``delta`` stays zero.
    """

    ahead: int  # samples by which rows of dense X are asked for ahead of their use
    a: NDArray[np.floating]  # (units[-1],) outputs of each layer; a_0 is not used
    z: NDArray[np.floating]  # (units[-1],) sums before the activation
    delta: NDArray[np.floating]  # (units[-1],) ∂loss/∂z
    y: NDArray[np.floating]  # (n_L,) target of the sample
    rows: NDArray[np.int32]  # (units[-1],) numbers of each layer's inputs that are not zero
    x: NDArray[np.floating]  # (units[-1],) those inputs
    counts: NDArray[np.int64]  # (L,) how many they are
    sums: NDArray[np.floating]  # (most inputs,) Wδ
    dots: NDArray[np.floating]  # (2 LONGEST_BLOCK,) a_s · a and d_s · δ


class Block(NamedTuple):
    """Scratch of a block of samples, s = 0, 1, …; every buffer is modified in place.

    ``width`` is the length padded to whole vectors, and a layer l has its part of ``a`` from
    ``units[l]·width`` and of ``d`` from ``units[l + 1]·width``.
    """

    length: int
    width: int
    ahead: int  # samples by which rows of dense X are asked for ahead of their use
    a: NDArray[np.floating]  # inputs of each deferred layer: a row per sample if they are dense;
    # a row of ``width`` per input if they are sparse, so that zeros are whole rows
    d: NDArray[np.floating]  # pending factors d_s of each deferred layer, a row per sample
    z: NDArray[np.floating]  # (width, stride_0) Wᵀx of the first layer
    gram: NDArray[np.floating]  # (width, width) x_s · x_t of the first layer, s < t
    rows: NDArray[np.int32]  # (width, units[1]) numbers of the inputs that are not zero
    x: NDArray[np.floating]  # (width, units[1]) those inputs
    counts: NDArray[np.int64]  # (width,) how many they are


class Batch(NamedTuple):
    """Scratch of a mini-batch, a row per sample in each layer; every buffer is modified in place.

    A layer l ≥ 1 has its part of ``a``, ``z`` and ``delta`` from ``(units[l] − units[1])·length``.
    Their padding is what becomes of zeros, but that of ``delta`` is zero.
    """

    length: int  # most samples at a time: a longer batch is worked off in stretches
    width: int  # the same, padded to whole vectors
    ahead: int  # samples by which rows of dense X are asked for ahead of their use
    inputs: NDArray[np.floating]  # (length·units[1],) rows of dense X, unless zeros are left out
    a: NDArray[np.floating]  # ((units[-1] − units[1])·length,) outputs of each layer
    fed: NDArray[np.floating]  # what the layer above gets: ``a`` itself, or ``a`` under the mask
    mask: NDArray[np.floating]  # ditto: of dropout, or (0,)
    z: NDArray[np.floating]  # ditto: sums before the activation
    delta: NDArray[np.floating]  # ditto: ∂loss/∂z, times the sample's share of the mean
    in_parts: NDArray[np.bool_]  # (L,) whether a layer's inputs are summed up in `PARTS`
    zeros: NDArray[np.floating]  # (widest,) never modified
    sums: NDArray[np.floating]  # ((PARTS − 1)·length·widest,) the sums of all parts but the first
    y: NDArray[np.floating]  # (length·strides[-1],) targets
    labels: NDArray[np.int64]  # (length,) class numbers, where there are any
    losses: NDArray[np.float64]  # (length,) weighted
    transposed: NDArray[np.floating]  # weights of each layer but the first, row k the fan-in of
    places: NDArray[np.int64]  # unit k; layer l has its part from places[l], (L + 1,)
    is_listed: bool  # whether zeros in dense X are left out
    rows: NDArray[np.int32]  # (length·units[1],) if so: numbers of the inputs that are not zero
    x: NDArray[np.floating]  # ditto: those inputs
    counts: NDArray[np.int64]  # (length·PARTS,) ditto: how many they are, part by part
    marked: NDArray[np.floating]  # (units[1]·width,) ditto: a row per input, zeros included
    heights: NDArray[np.int64]  # (L,) rows of weights in a panel of each layer
    tiles: NDArray[np.int64]  # (L + 1,) number of each layer's first panel; the last: of panels
    loads: NDArray[np.int64]  # (tiles[-1] + 1,) weights in all panels before each, and in all
    panel: int  # elements of the largest panel
    is_plain: bool  # whether plain SGD's step is added to the weights, with no gradient apart
    is_whole: bool  # whether the gradient is one of all parameters, summed up by stretches
    gradient: NDArray[np.floating]  # if not, a panel for each thread
    norms: NDArray[np.float64]  # (tiles[-1] + L,) of the gradient's panels and biases, × SHRINK
    penalty: NDArray[np.float64]  # (1,) sum over samples, where `Regularization.by_batch`


class Inputs(NamedTuple):
    """Rows of inputs, never modified: a dense matrix, or CSR rows as scipy.sparse has them."""

    X: NDArray[np.floating]  # (n, n_0), or (0, n_0) when the rows are sparse
    data: NDArray[np.floating]  # (nnz,) or (0,)
    indices: NDArray[np.int32]  # (nnz,) or (0,)
    indptr: NDArray[np.int64]  # (n + 1,) or (0,)

    @property
    def is_sparse(self) -> bool:
        """Whether the rows are CSR."""
        return len(self.indptr) > 0

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1 if self.is_sparse else len(self.X)


# An order that stands for all rows as they come.
IN_ORDER = np.empty(0, np.int64)


def read_only(array: NDArray) -> NDArray:
    """Read-only view: of one type for the kernels, whatever the owner's flags."""
    view = array.view()
    view.flags.writeable = False
    return view


# What dense rows have instead of CSR, of the type of the real thing: a kernel is compiled once.
_NO_DATA = {np.dtype(name): read_only(np.empty(0, name)) for name in ("float32", "float64")}
_NO_INDICES = read_only(np.empty(0, np.int32))
_NO_INDPTR = read_only(np.empty(0, np.int64))


def dense_inputs(X: NDArray[np.floating], dtype: np.dtype | None = None) -> Inputs:
    """``X``, C-contiguous (n, n_0), as kernels take it, or as it is before conversion to dtype."""
    return Inputs(X, _NO_DATA[dtype or X.dtype], _NO_INDICES, _NO_INDPTR)


class Samples(NamedTuple):
    """Data to train on or to evaluate, never modified."""

    inputs: Inputs
    labels: NDArray[np.int64]  # (n,) class numbers, or (0,) when there are target rows
    targets: NDArray[np.floating]  # (n, n_L) target rows, or (0, n_L) when there are labels
    weights: NDArray[np.float64]  # (n,) sample weights, or (0,) when all weigh 1
    kept: float = 1.0  # targets are smoothed to kept·y + shared
    shared: float = 0.0
    clip: float = 0.0  # probabilities in logarithms of losses are held in [clip, 1 − clip]


# Rows at multiples of this distance, in bytes, compete for the same few places of a cache.
_CROWDED = 4096


def padded(n: int, dtype: np.dtype) -> int:
    """Length of a row of n elements: whole vectors, and one more where rows would be crowded."""
    lanes = VECTOR_BYTES // dtype.itemsize
    length = -(-n // lanes) * lanes
    return length if length * dtype.itemsize % _CROWDED else length + lanes


def frozen(values: ArrayLike, dtype: DTypeLike) -> NDArray:
    """Array that nobody can write to, not even through its base: its memory is a bytes object.

    A changed entry of a layout would send kernels out of bounds.
    """
    array = np.array(values, dtype)
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def make_layout(
    sizes: Sequence[int], activations: Sequence[str], loss: str, dtype: np.dtype
) -> Layout:
    """Layout of a network with the given layer sizes, one activation per layer and a loss.

    Raises
    ------
    ValueError
        If the parameters would need more bytes than an int64 can count.
    """
    strides = [padded(n, dtype) for n in sizes[1:]]
    blocks, units = [0], [0]
    for n_in, stride in zip(sizes[:-1], strides, strict=True):
        blocks.append(blocks[-1] + (n_in + 1) * stride)
    for n in sizes:
        units.append(units[-1] + padded(n, dtype))
    # Python integers do not overflow; the int64 arrays below would.
    if blocks[-1] * dtype.itemsize > np.iinfo(np.int64).max:
        raise ValueError(
            f"sizes must describe at most 2**63 - 1 bytes of parameters, "
            f"got {tuple(sizes)}, which need {blocks[-1] * dtype.itemsize}."
        )
    return Layout(
        sizes=frozen(sizes, np.int64),
        strides=frozen(strides, np.int64),
        blocks=frozen(blocks, np.int64),
        units=frozen(units, np.int64),
        activations=frozen([ACTIVATIONS[name] for name in activations], np.int64),
        loss=LOSSES[loss],
    )


def aligned_zeros(n: int, dtype: np.dtype) -> NDArray[np.floating]:
    """``np.zeros(n, dtype)`` that starts on a 64-byte boundary."""
    raw = np.zeros(n * dtype.itemsize + VECTOR_BYTES, np.uint8)
    start = -raw.ctypes.data % VECTOR_BYTES
    return raw[start : start + n * dtype.itemsize].view(dtype)


# Rows that are to be in a core's second cache when their turn comes, beside all that is worked on
# there. With several threads some come to the wrong core, but nearer than they were.
_AHEAD_BYTES = 128 * 1024
# So many steps of one sample are longer than a row is on its way.
_STEPS_AHEAD = 8


def _rows_ahead(length: int, room: int, dtype: np.dtype) -> int:
    """Samples by which rows are asked for ahead: so many, if they do not take too much room."""
    return min(length, max(1, _AHEAD_BYTES // (room * dtype.itemsize)))


def make_work(layout: Layout, dtype: np.dtype) -> Work:
    """Scratch for one sample."""
    n = int(layout.units[-1])
    return Work(
        ahead=_rows_ahead(_STEPS_AHEAD, int(layout.units[1]), dtype),
        a=aligned_zeros(n, dtype),
        z=aligned_zeros(n, dtype),
        delta=aligned_zeros(n, dtype),
        y=aligned_zeros(int(layout.sizes[-1]), dtype),
        rows=np.zeros(n, np.int32),
        x=aligned_zeros(n, dtype),
        counts=np.zeros(len(layout.strides), np.int64),
        sums=aligned_zeros(int(max(np.diff(layout.units))), dtype),
        dots=aligned_zeros(2 * LONGEST_BLOCK, dtype),
    )


def make_block(layout: Layout, plan: Plan, length: int, dtype: np.dtype) -> Block:
    """Scratch for blocks of at most ``length`` samples, as far as the plan needs it."""
    width = padded(length, dtype)
    deferred = plan.methods == DEFERRED
    n = int(layout.units[-1]) * width if deferred.any() else 0
    first = width if deferred[0] else 0
    listed = first * int(layout.units[1]) if plan.sparse[0] else 0
    return Block(
        length=length,
        width=width,
        ahead=_rows_ahead(length, int(layout.units[1]), dtype),
        a=aligned_zeros(n, dtype),
        d=aligned_zeros(n, dtype),
        z=aligned_zeros(first * int(layout.strides[0]), dtype),
        gram=aligned_zeros(first * width, dtype),
        rows=np.zeros(listed, np.int32),
        x=aligned_zeros(listed, dtype),
        counts=np.zeros(first, np.int64),
    )


# The inputs of a layer of this size are summed up in parts, always: on several threads each takes
# whole parts, and of their weights, which then stay in its core's cache, it computes both the sums
# and the step. Smaller ones are over too soon, and larger ones leave that cache anyway; with many
# samples it matters less than the sums that have to be added up. From 12 vectors
# on no part is empty.
PARTS = 4
_LEAST_INPUTS = 256
_PART_BYTES = range(128 * 1024, 1024 * 1024 + 1)
_MOST_SAMPLES = 128
# Elements of a panel of the gradient, about: with its weights and moments in the nearest cache.
_PANEL = 2048
# Panels that each of several threads takes, at least: the more, the more equal their shares.
_PANELS_A_THREAD = 8


def make_batch(
    layout: Layout,
    batch_size: int,
    dtype: np.dtype,
    *,
    is_listed: bool = False,
    is_sparse: bool = False,
    is_plain: bool = True,
    is_whole: bool = False,
    drops: bool = False,
    trains: bool = True,
    gradient: NDArray[np.floating] | None = None,
    threads: int = 1,
) -> Batch:
    """Scratch for batches of ``batch_size``.

    Parameters
    ----------
    is_listed : bool
        Leave out the zeros of dense X.
    is_sparse : bool
        X is CSR.
    is_plain : bool
        The rule is plain SGD, which needs no gradient apart, or there is none.
    is_whole : bool
        The gradient must be complete before a step, as for `Regularization.clip_norm`.
    drops : bool
        There is dropout.
    trains : bool
        There is a way back.
    gradient : (layout.blocks[-1],) array, optional
        Where to sum up a gradient that no step is taken with.
    threads : int
        Panels of the gradient that are needed at a time.
    """
    length = min(batch_size, LONGEST_STRETCH)
    width = padded(length, dtype)
    lanes = VECTOR_BYTES // dtype.itemsize
    room = int(layout.units[1])
    n = (int(layout.units[-1]) - room) * length
    listed = length if is_listed else 0
    # Several threads get equal shares of small panels; but norms are made panel by panel.
    target = _PANEL
    if threads > 1 and not is_whole:
        target = min(target, int(layout.blocks[-1]) // (_PANELS_A_THREAD * threads))
    is_whole = is_whole or gradient is not None
    is_whole = is_whole or batch_size > length or (is_sparse and not is_plain)
    heights, tiles, places, panel = [], [0], [0], 0
    in_parts, widest, loads = [], 0, [0]
    for l, stride in enumerate(layout.strides.tolist()):
        n_in = int(layout.sizes[l])
        # Whole vectors of what is transposed; of the first layer, what is multiplied at a time.
        step = lanes if l > 0 else 4
        height = max(step, target // stride // step * step)
        if l == 0 and is_sparse:
            height = n_in  # a sample's rows are anywhere
        heights.append(height)
        for top in range(0, n_in, height):
            loads.append(loads[-1] + min(height, n_in - top) * stride)
        in_parts.append(
            n_in >= _LEAST_INPUTS
            and length <= _MOST_SAMPLES
            and n_in * stride * dtype.itemsize in _PART_BYTES
            and not (l == 0 and is_sparse)
        )
        widest = max(widest, stride * in_parts[-1])
        tiles.append(tiles[-1] + -(-n_in // height))
        panel = max(panel, min(height, n_in) * stride, stride)
        places.append(
            places[-1] + (stride * int(layout.units[l + 1] - layout.units[l]) if l > 0 else 0)
        )
    if gradient is None:
        whole = int(layout.blocks[-1]) if is_whole else 0 if is_plain else threads * panel
        gradient = aligned_zeros(whole, dtype)
    a = aligned_zeros(n, dtype)
    return Batch(
        length=length,
        width=width,
        ahead=_rows_ahead(length, room, dtype),
        inputs=aligned_zeros(0 if is_listed or is_sparse else length * room, dtype),
        a=a,
        fed=aligned_zeros(n, dtype) if drops else a,
        mask=aligned_zeros(n if drops else 0, dtype),
        z=aligned_zeros(n, dtype),
        delta=aligned_zeros(n if trains else 0, dtype),
        in_parts=frozen(in_parts, np.bool_),
        zeros=aligned_zeros(int(max(np.diff(layout.units))), dtype),
        sums=aligned_zeros((PARTS - 1) * length * widest, dtype),
        y=aligned_zeros(length * int(layout.strides[-1]), dtype),
        labels=np.zeros(length, np.int64),
        losses=np.zeros(length),
        transposed=aligned_zeros(places[-1] if trains else 0, dtype),
        places=frozen(places, np.int64),
        is_listed=is_listed,
        rows=np.zeros(listed * room, np.int32),
        x=aligned_zeros(listed * room, dtype),
        counts=np.zeros(listed * PARTS, np.int64),
        marked=aligned_zeros(room * width if is_listed and trains else 0, dtype),
        heights=frozen(heights, np.int64),
        tiles=frozen(tiles, np.int64),
        loads=frozen(loads, np.int64),
        panel=panel,
        is_plain=is_plain and not is_whole,
        is_whole=is_whole,
        gradient=gradient,
        norms=np.zeros(tiles[-1] + len(layout.strides)),
        penalty=np.zeros(1),
    )


def layer_views(
    params: NDArray[np.floating], layout: Layout
) -> tuple[tuple[NDArray[np.floating], ...], tuple[NDArray[np.floating], ...]]:
    """Weights (n_out, n_in) and biases (n_out,) of each layer, as views of a flat buffer."""
    weights, biases = [], []
    for layer, stride in enumerate(layout.strides):
        n_in, n_out = layout.sizes[layer], layout.sizes[layer + 1]
        start, stop = layout.blocks[layer], layout.blocks[layer + 1]
        block = params[start:stop].reshape(n_in + 1, stride)
        weights.append(block[:n_in, :n_out].T)
        biases.append(block[n_in, :n_out])
    return tuple(weights), tuple(biases)
