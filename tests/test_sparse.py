"""Sparse matrices: whatever is wrong with them, a ValueError, and never an access out of bounds."""

import copy
import re
import threading

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp import Network, Trainer, sparse

FORMATS = ("coo", "lil", "dok", "dia", "bsr", "csc", "csr")
N, WIDTH = 12, 6


def dense():
    generator = np.random.default_rng(0)
    return (generator.integers(1, 9, (N, WIDTH)) * (generator.random((N, WIDTH)) < 0.4)) / 8.0


def make(form, is_array, values=None):
    kind = scipy.sparse.coo_array if is_array else scipy.sparse.coo_matrix
    return kind(dense() if values is None else values).asformat(form)


def indices_of(X):
    """Every array, list or mapping of X that is used as an index, by name."""
    names = {
        "coo": ("row", "col"),
        "dia": ("offsets",),
        "lil": ("rows",),
        "dok": ("keys",),
    }.get(X.format, ("indices", "indptr"))
    return list(names)


NUMBERS = st.one_of(
    st.integers(-3, WIDTH + 3),
    st.sampled_from([100, -100, 10**8, -(10**8), 2**31 - 1, -(2**31)]),
)


@st.composite
def corruptions(draw):
    """A matrix of some format, and what to do to one of its index arrays, data or shape."""
    form = draw(st.sampled_from(FORMATS))
    X = make(form, draw(st.booleans()))
    name = draw(st.sampled_from([*indices_of(X), "data", "shape"]))
    how = draw(st.sampled_from(["entry", "entry", "entry", "shorter", "longer", "dtype"]))
    return X, name, how, draw(st.integers(0, 10**6)), draw(NUMBERS)


def corrupt(X, name, how, place, number):
    """In place, by what SciPy lets its users do."""
    if name == "shape":
        X._shape = (X.shape[0] + place % 3, X.shape[1] + number % 50 - 25)
    elif X.format == "dok" and name == "keys":
        keys = list(X.keys())
        key = keys[place % len(keys)]
        bad = {"entry": (number, key[1]), "shorter": (key[0],), "longer": (*key, 1)}
        bad = bad.get(how, (key[0], "a" if number % 2 else number))
        X._dict[bad] = X._dict.pop(key)
    elif X.format == "lil" and name in ("rows", "data"):
        lists = getattr(X, name)
        row = next(i % N for i in range(place, place + N) if lists[i % N])
        if how == "entry":
            lists[row][0] = number
        elif how == "shorter":
            lists[row].pop()
        elif how == "longer":
            lists[row].append(number)
        else:
            lists[row] = None if number % 2 else ["a"]
    elif X.format != "dok":
        array = getattr(X, name)
        if how == "entry" and name != "data":
            array.flat[place % array.size] = number
        elif how == "longer":
            setattr(X, name, np.concatenate([array, array[-1:]]))
        elif how == "dtype":
            other = complex if name == "data" else float
            setattr(X, name, array.astype(other if number % 2 else np.int64))
        else:
            setattr(X, name, array[:-1].copy())


@settings(max_examples=300)
@given(corruptions())
def test_damaged_matrices_are_refused_or_give_the_right_answer(case):
    X, *damage = case
    corrupt(X, *damage)
    y = np.arange(N) % 2
    for use in (
        lambda network, X: network.predict_proba(X),
        lambda network, X: network.value_and_grad(X, y)[1].weights[0].copy(),
        lambda network, X: Trainer(network, seed=0).partial_fit(X, y).network.params.copy(),
        lambda network, X: Trainer(network, "adam", batch_size=5).partial_fit(X, y).network.params,
        lambda network, X: sparse.check_sparse(X).toarray(),
    ):
        network = Network((WIDTH, 4, 2), dtype="float64", seed=0)
        try:
            actual = use(network, X)
        except ValueError as error:
            refused = str(error)
        else:
            refused = ""
        if refused:
            assert refused.startswith(("X must ", "y must ")), refused
            continue
        # It was accepted: then it is a matrix, and SciPy can say which without danger.
        meant = sparse.check_sparse(X).toarray()
        assert meant.shape == X.shape
        if meant.shape == (N, WIDTH):
            expected = use(
                Network((WIDTH, 4, 2), dtype="float64", seed=0), make("csr", True, meant)
            )
            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("is_array", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_whole_matrices_of_every_format(form, is_array):
    X = make(form, is_array)
    before = copy.deepcopy(X)
    checked = sparse.check_sparse(X)
    assert checked.format == "csr"
    assert isinstance(checked, scipy.sparse.sparray) == is_array
    np.testing.assert_array_equal(checked.toarray(), dense())
    network = Network((WIDTH, 4, 2), dtype="float64", seed=0)
    np.testing.assert_allclose(network.predict_proba(X), network.predict_proba(dense()), rtol=1e-12)
    for part, old in zip(vars(X).values(), vars(before).values(), strict=True):
        assert str(part) == str(old)  # X itself is as it was
    if form in ("csr", "csc", "coo"):
        for name in indices_of(checked):
            assert not np.shares_memory(getattr(checked, name), getattr(X, indices_of(X)[0]))


@pytest.mark.parametrize(
    ("form", "name", "entry", "number", "message"),
    [
        ("coo", "col", 5, 10**8, "a column must be from 0 to 5, got 100000000 in entry 5."),
        ("coo", "row", 0, 112, "a row must be from 0 to 11, got 112 in entry 0."),
        ("coo", "col", 2, -5, "a column must be from 0 to 5, got -5 in entry 2."),
        ("csc", "indices", 3, 12, "a row must be from 0 to 11, got 12 in entry 3."),
        ("csr", "indices", 3, 6, "a column must be from 0 to 5, got 6 in entry 3."),
        ("csr", "indptr", 3, 10**6, "indptr must be 13 numbers that begin with 0 and never fall."),
        ("csr", "indptr", -1, 10**6, "indptr must end with the number of entries, got 1000000"),
        ("csr", "indptr", 0, 1, "indptr must be 13 numbers that begin with 0"),
        ("bsr", "indices", 0, 99, "a column of blocks must be from 0 to"),
    ],
)
def test_what_is_wrong_is_named(form, name, entry, number, message):
    X = make(form, False)
    getattr(X, name)[entry] = number
    for call in (
        lambda: Network((WIDTH, 2)).predict(X),
        lambda: Trainer(Network((WIDTH, 2))).fit(X, np.arange(N) % 2),
        lambda: sparse.check_sparse(X),
    ):
        with pytest.raises(
            ValueError, match=re.escape("X must be a valid sparse matrix: " + message)
        ):
            call()
    with pytest.raises(ValueError, match="eval_set X must be a valid sparse matrix"):
        Trainer(Network((WIDTH, 2))).fit(dense(), np.arange(N) % 2, eval_set=(X, np.arange(N) % 2))


class Liar:
    """Has a ``tocsr`` that gives something else than it announced."""

    def __init__(self, result, shape=(N, WIDTH)):
        self.result, self.shape, self.ndim, self.dtype = result, shape, 2, np.dtype("f8")
        self.format = "csr"

    def tocsr(self):
        return self.result


class Parts:
    def __init__(self, **parts):
        vars(self).update({"shape": (N, WIDTH), "format": "csr"} | parts)


WHOLE = scipy.sparse.csr_array(dense())


@pytest.mark.parametrize(
    "result",
    [
        None,
        dense(),
        scipy.sparse.csr_array(dense()[:, :3]),
        scipy.sparse.csr_array(dense().astype(complex)),
        Parts(data=np.ones(9), indices=np.full(9, 77), indptr=np.arange(N + 1)),
        Parts(data=np.ones(3), indices=np.zeros(20, int), indptr=np.arange(N + 1)),
        Parts(data=np.ones(20), indices=np.zeros(20), indptr=np.arange(N + 1)),
        Parts(data=np.ones(20), indices=np.zeros(20, int), indptr=np.arange(N + 1) / 2),
        Parts(data=np.ones(20), indices=np.zeros(20, int), indptr=np.arange(N)),
        Parts(data=np.ones(20), indices=np.zeros((4, 5), int), indptr=np.arange(N + 1)),
        Parts(data=["a"] * 20, indices=np.zeros(20, int), indptr=np.arange(N + 1)),
        Parts(data=np.ones(20), indices=np.zeros(20, int), indptr=np.array([0, 2**63 - 1, -1] * 5)),
    ],
)
def test_objects_that_only_say_that_they_are_sparse(result):
    for X in (Liar(result), Liar(result, (N, WIDTH, 1)), Liar(result, None)):
        with pytest.raises(ValueError, match="X must be a valid sparse matrix: "):
            Network((WIDTH, 2)).predict(X)
    honest = Network((WIDTH, 2), seed=0)
    np.testing.assert_array_equal(honest.predict(Liar(WHOLE)), honest.predict(WHOLE))


def test_more_dimensions_are_refused():
    for X in (scipy.sparse.coo_array(np.ones(WIDTH)), scipy.sparse.coo_array(np.ones((2, 2, 2)))):
        with pytest.raises(ValueError, match="it must be two-dimensional, got shape"):
            Network((WIDTH, 2)).predict(X)


def test_values_that_are_not_finite_are_named_with_their_place():
    for value, problem in ((np.nan, "be finite"), (1e300, "be finite in float32")):
        X = scipy.sparse.csr_array(dense())
        X.data[X.indptr[4]] = value
        column = X.indices[X.indptr[4]]
        message = f"X must {problem}, got {value} in row 4, column {column}."
        with pytest.raises(ValueError, match=re.escape(message)):
            Network((WIDTH, 2)).predict(X)


def test_indices_that_change_while_they_are_used():
    """What was checked is what is used, whatever another thread does to the original."""
    whole = scipy.sparse.random_array((3000, 50), density=0.3, format="csr", rng=0)
    network = Network((50, 8, 2), dtype="float64", seed=0)
    expected = network.predict_proba(whole)
    X = whole.copy()
    done = threading.Event()

    def disturb():
        while not done.is_set():
            X.indices[::7] = 10**9
            X.indptr[100:200] = 10**9
            X.indices[:], X.indptr[:] = whole.indices, whole.indptr

    other = threading.Thread(target=disturb)
    other.start()
    try:
        for _ in range(200):
            try:
                actual = network.predict_proba(X)
            except ValueError:
                continue
            assert actual.shape == expected.shape
    finally:
        done.set()
        other.join()
    np.testing.assert_array_equal(network.predict_proba(X), expected)
