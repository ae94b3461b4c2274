"""Rows that a model has learned from are recognised, and others are not."""

import json

import numpy as np
import pytest

from fastbp import seen


def test_few_rows_are_all_known(generator):
    rows = generator.normal(size=(500, 7)).astype(np.float32)
    kept = json.loads(json.dumps(seen.sketch(rows)))
    others = generator.normal(size=(300, 7)).astype(np.float32)
    assert seen.count(kept, rows[::-1]) == (500, True)
    assert seen.count(kept, others) == (0, True)
    assert seen.count(kept, np.concatenate([others, rows[:20], rows[:20]])) == (40, True)


def test_of_many_rows_a_share_is_estimated(generator):
    rows = generator.normal(size=(20_000, 3)).astype(np.float32)
    kept = seen.sketch(rows)
    assert len(json.dumps(kept)) < 30_000
    others = generator.normal(size=(10_000, 3)).astype(np.float32)
    assert seen.count(kept, rows) == (20_000, False)
    assert seen.count(kept, others) == (0, False)
    count, _ = seen.count(kept, np.concatenate([others, rows[:10_000]]))
    assert count == pytest.approx(10_000, rel=0.1)


@pytest.mark.parametrize("width", [1, 2, 30])
def test_similar_rows_have_hashes_of_their_own(width):
    """Small integers in any place, as one-hot columns and pixels have them."""
    rows = np.random.default_rng(width).integers(0, 3, (5000, width))
    assert len(np.unique(seen.hashes(rows))) == len(np.unique(rows, axis=0))
    one_hot = np.eye(200)
    assert len(np.unique(seen.hashes(np.concatenate([one_hot, 2 * one_hot, -one_hot])))) == 600
    assert len(np.unique(seen.hashes(np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 3.0]])))) == 3


def test_equal_numbers_are_equal_whatever_their_type():
    rows = np.array([[0, 1, -2], [3, 4, 5]])
    expected = seen.hashes(rows).tolist()
    for kind in (np.float32, np.float64, np.int8):
        assert seen.hashes(np.asfortranarray(rows.astype(kind))).tolist() == expected
    assert seen.hashes(np.array([[-0.0, 1, -2], [3, 4, 5]])).tolist() == expected


@pytest.mark.parametrize("kept", [{}, {"hashes": 3}, {"hashes": "%"}, {"hashes": "AAA"}])
def test_what_is_no_sketch_is_refused(kept):
    with pytest.raises(ValueError, match="cannot be read"):
        seen.count(kept, np.ones((2, 2)))
