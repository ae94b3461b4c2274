"""Packed tuples: what goes in comes out, in Python and in kernels, wherever the array is moved."""

import os
import pickle
import subprocess
import sys
from typing import NamedTuple

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.kernels import packing
from fastbp.kernels._jit import jit
from fastbp.kernels.packing import (
    Doubles,
    Int32s,
    Int64s,
    Reals,
    fields,
    pack,
    recall,
    reference,
    view,
)

DTYPES = ["float32", "float64"]


class Inner(NamedTuple):
    """The innermost."""

    count: int
    x: Reals
    places: Int32s


class Middle(NamedTuple):
    """One that has another."""

    inner: Inner
    rates: Doubles
    scale: float


class Outer(NamedTuple):
    """Every kind of field, and two that have tuples."""

    first: int
    a: Reals
    middle: Middle
    sizes: Int64s
    factor: float
    last: Inner


def example(dtype):
    real = np.dtype(dtype).type
    inner = Inner(-7, np.arange(5, dtype=real), np.array([3, -(2**31)], np.int32))
    middle = Middle(inner, np.array([1 / 3, np.inf]), 1e-300)
    last = Inner(2**62, np.full(17, real(0.1)), np.empty(0, np.int32))
    sizes = np.array([2**63 - 1, 5], np.int64)
    return Outer(2**63 - 1, np.array([0.5, -0.0, np.nan], real), middle, sizes, -np.inf, last)


def leaves(thing):
    for value in thing:
        if isinstance(value, tuple):
            yield from leaves(value)
        else:
            yield value


def assert_same(actual, expected):
    assert type(actual) is type(expected)
    for a, e in zip(leaves(actual), leaves(expected), strict=True):
        assert type(a) is type(e)
        assert np.asarray(a).dtype == np.asarray(e).dtype
        assert np.asarray(a).tobytes() == np.asarray(e).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_packed_comes_out(dtype):
    packed = pack(example(dtype), np.dtype(dtype))
    assert packed.dtype == dtype
    assert packed.ndim == 1
    assert_same(fields(packed, Outer), example(dtype))


ITEMS = {Doubles: "float64", Int64s: "int64", Int32s: "int32"}


@st.composite
def tuples(draw, dtype, depth=2):
    """A tuple of a class of its own."""
    kinds, values = [], []
    for i in range(draw(st.integers(1, 4))):
        choices = [int, float, Reals, Doubles, Int64s, Int32s] + ["tuple"] * 2 * (depth > 0)
        kind = draw(st.sampled_from(choices))
        if kind == "tuple":
            value = draw(tuples(dtype, depth - 1))
            kind = type(value)
        elif kind is int:
            value = draw(st.integers(-(2**63), 2**63 - 1))
        elif kind is float:
            value = draw(st.floats())
        else:
            item = ITEMS.get(kind, dtype)
            bits = draw(st.binary(max_size=80))
            value = np.frombuffer(bits[: len(bits) // 8 * 8], item)
        kinds.append((f"field{i}", kind))
        values.append(value)
    return NamedTuple("Drawn", kinds)(*values)


@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_any_nesting_of_any_fields_comes_out(data, dtype):
    thing = data.draw(tuples(dtype))
    packed = pack(thing, np.dtype(dtype))
    assert_same(fields(packed.copy(), type(thing)), thing)


def test_arrays_are_converted_to_the_types_of_their_fields():
    every_other = np.arange(6, dtype=np.int32)[::2]
    inner = fields(pack(Inner(True, [1, 2], every_other), np.dtype("float32")), Inner)
    assert_same(inner, Inner(1, np.array([1, 2], np.float32), np.array([0, 2, 4], np.int32)))


@pytest.mark.parametrize("length", [0, 1, 16, np.int64(100)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_length_stands_for_zeros(dtype, length):
    inner = fields(pack(Inner(3, length, length), np.dtype(dtype)), Inner)
    assert_same(inner, Inner(3, np.zeros(length, dtype), np.zeros(length, np.int32)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_begin_at_multiples_of_a_vector(dtype):
    packed = pack(example(dtype), np.dtype(dtype))
    assert packed.ctypes.data % 64 == 0
    assert packed.nbytes % 64 == 0
    for value in leaves(fields(packed, Outer)):
        if isinstance(value, np.ndarray) and len(value) > 0:
            assert value.ctypes.data % 64 == 0
            assert np.shares_memory(value, packed)


@numba.njit
def everything(packed):
    outer = view(packed, Outer)
    inner, last = outer.middle.inner, outer.last
    return (
        (outer.first, outer.factor, outer.middle.scale, inner.count, last.count),
        (len(outer.a), len(outer.sizes), len(inner.x), len(last.x), len(last.places)),
        (outer.a[0], outer.a[1], outer.a[2], outer.sizes[0], outer.sizes[1]),
        (inner.x[4], inner.places[0], inner.places[1], last.x[16]),
        (outer.middle.rates[0], outer.middle.rates[1]),
    )


def shown(thing):
    """What `everything` must find."""
    inner, last = thing.middle.inner, thing.last
    return (
        (thing.first, thing.factor, thing.middle.scale, inner.count, last.count),
        (3, 2, 5, 17, 0),
        (*thing.a, *thing.sizes),
        (inner.x[4], *inner.places, last.x[16]),
        tuple(thing.middle.rates),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_find_the_same(dtype):
    packed = pack(example(dtype), np.dtype(dtype))
    found = everything(packed)
    np.testing.assert_equal(found, shown(example(dtype)))
    assert np.signbit(found[2][1])  # −0


def elsewhere(packed):
    """Copies of a packed array, made in every way that there is."""
    buffer = np.empty(packed.nbytes + 8, np.uint8)[8:].view(packed.dtype)  # at no multiple of 64
    buffer[:] = packed
    return {
        "copy": packed.copy(),
        "pickle": pickle.loads(pickle.dumps(packed)),
        "bytes": np.frombuffer(packed.tobytes(), packed.dtype),  # read-only
        "buffer": buffer,
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", ["copy", "pickle", "bytes", "buffer"])
def test_a_copy_is_the_same_thing_at_another_place(dtype, way):
    packed = pack(example(dtype), np.dtype(dtype))
    copied = elsewhere(packed)[way]
    packed[:] = 0
    assert_same(fields(copied, Outer), example(dtype))
    np.testing.assert_equal(everything(copied), shown(example(dtype)))


def test_fields_of_what_is_read_only_are_read_only():
    packed = elsewhere(pack(example("float32"), np.dtype("float32")))["bytes"]
    with pytest.raises(ValueError, match="read-only"):
        fields(packed, Outer).a[0] = 1


@numba.njit
def add_one(packed):
    outer = view(packed, Outer)
    for k in range(len(outer.last.x)):
        outer.last.x[k] += 1
    outer.sizes[1] += 1
    outer.middle.inner.places[0] += 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_and_python_see_what_the_other_writes(dtype):
    packed = pack(example(dtype), np.dtype(dtype))
    outer = fields(packed, Outer)
    outer.last.x[:] = 40
    outer.middle.inner.places[0] = 6
    outer.a[0] = -3
    add_one(packed)
    assert (outer.last.x == 41).all()
    assert outer.sizes[1] == 6
    assert outer.middle.inner.places[0] == 7
    assert everything(packed)[2][0] == -3
    assert_same(fields(packed, Outer), outer)  # and nothing else has changed


class Same(NamedTuple):
    """`Inner` by another name."""

    count: int
    x: Reals
    places: Int32s


def viewed(packed, kind):
    """Have a kernel take it for such a tuple."""

    @numba.njit
    def look(packed):
        view(packed, kind)

    look(packed)


OTHERS = {
    "another kind": Middle,
    "another name": Same,
    "another name of a field": NamedTuple("Inner", [("n", int), ("x", Reals), ("places", Int32s)]),
    "another type": NamedTuple("Inner", [("count", int), ("x", Reals), ("places", Int64s)]),
    "another order": NamedTuple("Inner", [("x", Reals), ("count", int), ("places", Int32s)]),
    "one field less": NamedTuple("Inner", [("count", int), ("x", Reals)]),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_kind_is_refused(other):
    packed = pack(Inner(1, 4, 4), np.dtype("float32"))
    name = OTHERS[other].__name__
    for ask in (fields, viewed):
        with pytest.raises(ValueError, match=f"a packed {name} must be a whole array of float32"):
            ask(packed, OTHERS[other])


PARTS = {
    "nothing": lambda packed: packed[:0],
    "one number": lambda packed: packed[:1],
    "a header": lambda packed: packed[:16],
    "all but the last": lambda packed: packed[:-1],
    "one more": lambda packed: np.append(packed, packed[:1]),
    "all but the first": lambda packed: packed[1:],
    "zeros": np.zeros_like,
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_part_is_refused(part, dtype):
    packed = PARTS[part](pack(Inner(1, 4, 4), np.dtype(dtype)))
    with pytest.raises(ValueError, match=f"got {len(packed)} numbers that are something else"):
        fields(packed, Inner)
    with pytest.raises(ValueError, match=f"a packed Inner must be a whole array of {dtype}"):
        viewed(packed, Inner)


def test_another_dtype_is_refused():
    packed = pack(Inner(1, 4, 4), np.dtype("float32"))
    for ask in (fields, viewed):
        with pytest.raises(ValueError, match="a whole array of float64"):
            ask(packed.view(np.float64), Inner)


def test_another_version_is_refused(monkeypatch):
    packed = pack(Inner(1, 4, 4), np.dtype("float32"))
    monkeypatch.setattr(packing, "_VERSION", packing._VERSION + 1)
    packing._mark.cache_clear()
    try:
        with pytest.raises(ValueError, match="this version of fastbp"):
            fields(packed, Inner)
    finally:
        packing._mark.cache_clear()


def test_the_mark_is_the_same_with_every_python_and_numpy():
    """How they write the types of fields differs; files outlive them."""
    assert pack(Inner(1, 4, 4), np.dtype("float32")).view(np.int64)[0] == MARK
    assert pack(Inner(1, 4, 4), np.dtype("float64")).view(np.int64)[0] != MARK


MARK = 2487764512


@pytest.mark.parametrize("lengths", [(2**61, 0), (2**60, 2**60), (0, 2**62), (10**30, 0)])
def test_more_bytes_than_can_be_counted_are_refused(lengths):
    with pytest.raises(ValueError, match=r"at most 2\*\*63 - 1 bytes, got [0-9]+"):
        pack(Inner(1, *lengths), np.dtype("float64"))


def test_classes_of_one_name_are_not_mixed_up():
    """Numba takes types of one name for the same."""
    found = []
    for kind in (int, float):
        names = [("pad", kind), ("value", kind)]
        one = NamedTuple("One", names)

        @numba.njit
        def value(packed, one=one):
            return view(packed, one).value

        found.append(value(pack(one(0, kind(3)), np.dtype("float32"))))
    assert found == [3, 3.0]
    assert [type(value) for value in found] == [int, float]


@jit(entry=True)
def through_an_address(a, b, n):
    task = ((a, n), b)
    address = reference(task)
    (first, number), second = recall(address)
    second[0] += first[number]
    return len(first) + len(second)


def test_a_tuple_of_tuples_survives_its_address():
    a, b = np.arange(4.0), np.ones(3)
    assert through_an_address(a, b, 2) == 7
    assert b[0] == 3


COUNTING = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np
from test_packing import through_an_address

a, b = np.arange(4.0), np.ones(3)
before = sys.getrefcount(a), sys.getrefcount(b)
for _ in range(1000):
    assert through_an_address(a, b, 2) == 7
assert (sys.getrefcount(a), sys.getrefcount(b)) == before
"""


def test_references_are_counted_right_where_numba_counts_them():
    variables = os.environ | {"FASTBP_WITHOUT": "counting"}
    code = COUNTING.format(tests=os.path.dirname(__file__))
    subprocess.run([sys.executable, "-c", code], check=True, env=variables)


BOUNDS = """
import numba, numpy as np, sys
sys.path.insert(0, {tests!r})
from test_packing import Inner
from fastbp.kernels.packing import pack, view

@numba.njit
def last(packed, k):
    return view(packed, Inner).x[k]

whole = pack(Inner(5, 4, 4), np.dtype("float32"))
assert last(whole, 3) == 0
try:
    last(whole, 4)
except IndexError:
    sys.exit()
raise AssertionError
"""


def test_bounds_are_checked_on_demand():
    """What lies beyond a field is an error and not a read out of bounds."""
    variables = os.environ | {"NUMBA_BOUNDSCHECK": "1"}
    variables.pop("NUMBA_DISABLE_JIT", None)
    code = BOUNDS.format(tests=os.path.dirname(__file__))
    subprocess.run([sys.executable, "-c", code], check=True, env=variables)
