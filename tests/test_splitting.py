"""Parts of the rows: disjoint, complete, of the sizes asked for, and as the split asks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.splitting import folds, split


def whole(parts, n):
    """Whether every row is in exactly one part."""
    rows = np.concatenate(parts)
    return len(rows) == n and np.array_equal(np.sort(rows), np.arange(n))


@given(
    st.integers(3, 60),
    st.sampled_from([0.0, 0.01, 0.2, 0.5, 0.99]),
    st.sampled_from([0.0, 0.01, 0.3, 0.99]),
    st.sampled_from(["random", "labels", "groups", "times"]),
    st.integers(0, 5),
)
def test_every_row_is_in_one_part(n, held_out, validation, how, seed):
    values = np.random.default_rng(seed).integers(0, 5, n)
    values[:3] = 0, 1, 2
    given_ = {} if how == "random" else {how: values}
    parts = split(n, held_out=held_out, validation=validation, seed=seed, **given_)
    assert whole(parts, n)
    assert len(parts.train)
    assert (len(parts.validation) > 0) == (validation > 0)
    assert (len(parts.test) > 0) == (held_out > 0)
    if how in ("groups", "times"):
        sets = [set(values[rows].tolist()) for rows in parts]
        assert sum(map(len, sets)) == len(set().union(*sets))
    else:
        assert len(parts.test) == pytest.approx(
            held_out * n, abs=2.01
        )  # the others need a row each


def test_the_seed_chooses_the_rows():
    first, again, other = (split(100, seed=seed) for seed in (0, 0, 1))
    assert all(map(np.array_equal, first, again))
    assert not np.array_equal(first.test, other.test)
    assert list(map(len, first)) == [64, 16, 20]


@pytest.mark.parametrize("counts", [(50, 50), (90, 10), (70, 25, 5), (400, 40, 20, 10)])
def test_classes_have_their_share_in_every_part(counts):
    labels = np.repeat([f"c{i}" for i in range(len(counts))], counts)
    for seed in range(5):
        parts = split(len(labels), labels=labels, held_out=0.2, validation=0.25, seed=seed)
        for rows, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
            for i, count in enumerate(counts):
                assert np.sum(labels[rows] == f"c{i}") == pytest.approx(share * count, abs=1)


def test_a_class_of_one_row_is_trained_on():
    labels = np.array(["a"] * 50 + ["b"] * 49 + ["rare"])
    for seed in range(5):
        assert 99 in split(100, labels=labels, seed=seed).train


def test_the_latest_rows_are_the_test_part():
    days = np.random.default_rng(0).permutation(
        np.arange("2020-01-01", "2020-04-10", dtype="M8[D]")
    )
    parts = split(100, times=days, held_out=0.2, validation=0.25)
    assert list(map(len, parts)) == [60, 20, 20]
    assert days[parts.train].max() < days[parts.validation].min()
    assert days[parts.validation].max() < days[parts.test].min()
    years = np.repeat([1990, 1991, 1992, 1993], [10, 30, 30, 30])
    parts = split(100, times=years, held_out=0.2, validation=0.2)
    assert [set(years[rows].tolist()) for rows in parts] == [{1990, 1991}, {1992}, {1993}]


@pytest.mark.parametrize("how", ["random", "labels", "groups"])
@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_each_row_is_tested_in_one_fold(how, validation):
    values = np.random.default_rng(0).integers(0, 9, 100)
    arguments = {} if how == "random" else {how: values}
    found = folds(100, 5, validation=validation, seed=1, **arguments)
    assert len(found) == 5
    assert whole([parts.test for parts in found], 100)
    for parts in found:
        assert whole(parts, 100)
        assert (len(parts.validation) > 0) == (validation > 0)
        assert len(parts.train) > len(parts.validation)
        if how == "groups":
            assert not set(values[parts.test]) & set(values[parts.train])
            assert not set(values[parts.validation]) & set(values[parts.train])
        else:
            assert len(parts.test) == 20
    if how == "labels":
        shares = [[np.sum(values[parts.test] == c) for parts in found] for c in range(9)]
        assert max(max(row) - min(row) for row in shares) <= 2


def test_folds_by_time_never_train_on_the_future():
    hours = np.random.default_rng(0).permutation(60.0 + np.arange(120))
    found = folds(120, 5, times=hours, validation=0.2)
    assert len(found) == 5
    for i, parts in enumerate(found, 1):
        assert len(parts.test) == 20
        assert len(parts.train) + len(parts.validation) == 20 * i
        assert hours[parts.train].max() < hours[parts.validation].min()
        assert hours[parts.validation].max() < hours[parts.test].min()


def test_what_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match=r"3 parts need at least 3 rows, got 2\."):
        split(2)
    with pytest.raises(ValueError, match=r"3 parts need at least 3 groups, got 2\."):
        split(10, groups=np.arange(10) % 2)
    with pytest.raises(ValueError, match=r"3 parts need at least 3 times, got 1\."):
        split(10, times=np.ones(10))
    with pytest.raises(ValueError, match=r"5 parts need at least 5 groups, got 3\."):
        folds(10, 5, groups=np.arange(10) % 3)
    with pytest.raises(ValueError, match=r"folds must be an integer of at least 2, got 1\."):
        folds(10, 1)
    with pytest.raises(ValueError, match=r"held_out must be a number from 0 to below 1, got 1\."):
        split(10, held_out=1)
    with pytest.raises(ValueError, match="by groups or by times, not by both"):
        split(10, groups=np.arange(10), times=np.arange(10))
    with pytest.raises(ValueError, match=r"labels must have one entry per row, 10, got 9\."):
        split(10, labels=np.arange(9))
