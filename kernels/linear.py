"""The inner loops: products with one layer's block of parameters, and its rank-one update.

A block W is flat and input-major, (n_in + 1) rows of ``stride`` elements: row i is the fan-out of
input i, the last row is the bias (its input is the constant 1), and each row is padded with zeros
to whole SIMD vectors, so there are no remainder loops and the forward pass needs no horizontal
sums. ``z`` and ``delta`` are padded likewise, with zeros.
"""

from ._jit import jit
from .simd import add, broadcast, fma, lanes, load, multiply, store, total

# Rows from this many vectors on are read whole, four at a time: by columns, each row would be
# touched at a distance that the prefetcher does not follow. Narrower blocks fit in the caches
# that make this harmless, and gain from sums that stay in registers.
_WIDE = 16


@jit
def matvec(W, a, z, n_in, stride):
    """Compute z = Wᵀa + b, for ``a`` (n_in,) and ``z`` (stride,), modified in place."""
    if stride >= _WIDE * lanes(W):
        _matvec_by_rows(W, a, z, n_in, stride)
    else:
        _matvec_by_columns(W, a, z, n_in, stride)


@jit
def _matvec_by_rows(W, a, z, n_in, stride):
    """`matvec` with z in the first-level cache and W read once from end to end."""
    v = lanes(W)
    k = 0
    while k < stride:
        store(z, k, load(W, n_in * stride + k))
        k += v
    r = 0
    i = 0
    while i + 4 <= n_in:
        x0 = broadcast(a[i])
        x1 = broadcast(a[i + 1])
        x2 = broadcast(a[i + 2])
        x3 = broadcast(a[i + 3])
        k = 0
        while k < stride:
            even = fma(x0, load(W, r), load(z, k))
            odd = multiply(x1, load(W, r + stride))
            even = fma(x2, load(W, r + 2 * stride), even)
            odd = fma(x3, load(W, r + 3 * stride), odd)
            store(z, k, add(even, odd))
            r += v
            k += v
        r += 3 * stride
        i += 4
    while i < n_in:
        x0 = broadcast(a[i])
        k = 0
        while k < stride:
            store(z, k, fma(x0, load(W, r), load(z, k)))
            r += v
            k += v
        i += 1


@jit
def _matvec_by_columns(W, a, z, n_in, stride):
    """`matvec` with a few vectors of z at a time held in registers."""
    v = lanes(W)
    bias = n_in * stride
    k = 0
    # Four vectors of z at a time keep the fused multiply-adds independent of each other.
    while k + 4 * v <= stride:
        z0 = load(W, bias + k)
        z1 = load(W, bias + k + v)
        z2 = load(W, bias + k + 2 * v)
        z3 = load(W, bias + k + 3 * v)
        r = k
        for i in range(n_in):
            x = broadcast(a[i])
            z0 = fma(x, load(W, r), z0)
            z1 = fma(x, load(W, r + v), z1)
            z2 = fma(x, load(W, r + 2 * v), z2)
            z3 = fma(x, load(W, r + 3 * v), z3)
            r += stride
        store(z, k, z0)
        store(z, k + v, z1)
        store(z, k + 2 * v, z2)
        store(z, k + 3 * v, z3)
        k += 4 * v
    # Narrower than that: independence comes from four rows at a time.
    zero = broadcast(W.dtype.type(0))
    while k < stride:
        z0 = load(W, bias + k)
        z1 = zero
        z2 = zero
        z3 = zero
        r = k
        i = 0
        while i + 4 <= n_in:
            z0 = fma(broadcast(a[i]), load(W, r), z0)
            z1 = fma(broadcast(a[i + 1]), load(W, r + stride), z1)
            z2 = fma(broadcast(a[i + 2]), load(W, r + 2 * stride), z2)
            z3 = fma(broadcast(a[i + 3]), load(W, r + 3 * stride), z3)
            r += 4 * stride
            i += 4
        while i < n_in:
            z0 = fma(broadcast(a[i]), load(W, r), z0)
            r += stride
            i += 1
        store(z, k, add(add(z0, z1), add(z2, z3)))
        k += v


@jit
def matvec_transposed(W, delta, out, n_in, stride):
    """Out = W δ without the bias row, for ``delta`` (stride,) and ``out`` (n_in,), in place."""
    v = lanes(W)
    zero = broadcast(W.dtype.type(0))
    i = 0
    while i + 4 <= n_in:
        s0 = zero
        s1 = zero
        s2 = zero
        s3 = zero
        r = i * stride
        k = 0
        while k < stride:
            d = load(delta, k)
            s0 = fma(d, load(W, r), s0)
            s1 = fma(d, load(W, r + stride), s1)
            s2 = fma(d, load(W, r + 2 * stride), s2)
            s3 = fma(d, load(W, r + 3 * stride), s3)
            r += v
            k += v
        out[i] = total(s0)
        out[i + 1] = total(s1)
        out[i + 2] = total(s2)
        out[i + 3] = total(s3)
        i += 4
    while i < n_in:
        s0 = zero
        k = 0
        while k < stride:
            s0 = fma(load(delta, k), load(W, i * stride + k), s0)
            k += v
        out[i] = total(s0)
        i += 1


@jit
def rank_one(W, a, delta, n_in, stride, scale, decay):
    """W ← decay·W + scale·a δᵀ and b ← b + scale·δ, in place: the bias does not decay.

    With ``scale`` −η and ``decay`` 1 − η·λ this is the SGD step; with ``scale`` 1/n and
    ``decay`` 1, W being a gradient buffer, it sums the mean gradient.
    """
    v = lanes(W)
    keep = broadcast(decay)
    r = 0
    for i in range(n_in):
        x = broadcast(scale * a[i])
        k = 0
        while k < stride:
            store(W, r, fma(x, load(delta, k), multiply(keep, load(W, r))))
            r += v
            k += v
    x = broadcast(scale)
    k = 0
    while k < stride:
        store(W, r, fma(x, load(delta, k), load(W, r)))
        r += v
        k += v
