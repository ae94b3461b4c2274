"""What targets are taken for, and what is said of them."""

import re

import numpy as np
import pytest

from fastbp.problem import pose
from fastbp.samples import class_numbers

rng = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("y", "n_classes"),
    [
        (np.array(["no", "yes"] * 10), 2),
        (np.array([True, False] * 10), 2),
        (np.arange(40) % 2, 2),
        (np.arange(40) % 2 * 2 - 1, 2),
        (np.arange(40) % 2 + 0.0, 2),  # as pandas writes integers where one was missing
        (rng.integers(1, 11, 500), 10),
        (rng.integers(0, 10, 1797), 10),
        (np.array([1, 2, 3, 5, 6, 7] * 30), 6),  # kinds of glass: 4 is missing
        (rng.choice(np.arange(3, 9), 1599), 6),  # quality of wine
        (rng.integers(0, 26, 4000), 26),  # letters
        (np.repeat(np.arange(1, 101), 50), 100),
        (np.repeat([0, 1, 2], 4), 3),  # few rows
    ],
)
def test_what_people_take_for_classes(y, n_classes):
    problem = pose(y, name="kind")
    assert (problem.task, problem.loss) == ("classes", "cross_entropy")
    assert len(problem.classes) == problem.n_outputs == n_classes
    assert problem.guess.startswith(f"kind is learned as {n_classes} classes: ")
    assert ("--task numbers" in problem.guess) == (y.dtype.kind in "iuf")


@pytest.mark.parametrize(
    "y",
    [
        rng.integers(18, 70, 1000),  # ages
        rng.integers(50_000, 500_000, 300),  # prices
        rng.poisson(200, 500),
        rng.poisson(20, 2000),  # counts without a gap, whose tails are thin
        np.array([1, 10, 100, 1000] * 20),
        np.arange(1, 11),  # a row each
        rng.normal(size=100),
        np.array([0.5, 1.0] * 20),
        rng.integers(1990, 2020, 500),  # years
        rng.integers(0, 150, 5000),
    ],
)
def test_what_people_take_for_numbers(y):
    problem = pose(y, name="amount")
    assert (problem.task, problem.loss) == ("numbers", "squared_error")
    assert (problem.classes, problem.n_outputs) == (None, 1)
    assert f"from {float(y.min()):,.6g} to {float(y.max()):,.6g}" in problem.guess
    assert ("--task classes" in problem.guess) == (len(np.unique(y)) <= 100)


def test_a_task_or_a_loss_overrules_the_guess():
    ages = rng.integers(18, 70, 1000)
    assert pose(ages, task="classes").n_outputs == 52
    assert "--task" not in pose(ages, task="classes").guess
    assert pose(ages, loss="cross_entropy").classes == tuple(range(18, 70))
    assert pose(ages, loss="poisson").loss == "poisson"
    binary = np.arange(40) % 2
    assert pose(binary, task="numbers").task == "numbers"
    assert pose(binary, loss="huber").n_outputs == 1
    assert pose(binary, loss="binary_cross_entropy").n_outputs == 1
    assert pose(binary[:, np.newaxis]).classes == (0, 1)
    with pytest.raises(ValueError, match="the loss huber is for numbers, and the task is classes"):
        pose(binary, task="classes", loss="huber")
    with pytest.raises(ValueError, match="task must be one of classes, numbers; got 'number'"):
        pose(binary, task="number")


def test_several_targets_a_row():
    y = rng.integers(0, 2, (30, 3))
    for problem in (pose(y), pose(y, task="classes"), pose(y.astype(bool))):
        assert problem[:4] == ("labels", "binary_cross_entropy", None, 3)
    assert "--task numbers" in pose(y).guess
    for numbers in (pose(y, task="numbers"), pose(2 * y), pose(y + 0.5)):
        assert numbers[:4] == ("numbers", "squared_error", None, 3)
    with pytest.raises(ValueError, match="several targets a row must be numbers"):
        pose(y.astype(str))


def test_rare_classes_are_counted():
    y = np.array(["common"] * 50 + ["usual"] * 20 + ["rare"] * 2 + ["single"])
    (note,) = pose(y).notes
    assert re.match(r"2 classes are too rare .*: 'rare' \(2 rows\), 'single' \(1 row\); ", note)
    assert pose(y[:70]).notes == ()
    (note,) = pose(np.arange(40), task="classes").notes
    assert "40 classes are too rare" in note
    assert "'4' (1 row) and 35 more" in note


@pytest.mark.parametrize(
    ("y", "arguments", "message"),
    [
        (np.array(["a"] * 7), {}, "all 7 rows have kind 'a'; at least two classes are needed"),
        (np.full(5, 3), {}, "all 5 rows have kind '3'; at least two classes"),
        (np.full(5, 3.5), {}, r"all 5 rows have kind 3.5; targets that are all the same"),
        (np.full(5, 3), {"task": "numbers"}, "all 5 rows have kind 3; targets that are all"),
        (np.array(["1", "x"]), {"task": "numbers"}, "and kind has the text 'x'"),
        (np.array(["1", "05"]), {"loss": "huber"}, "huber needs numbers .* the text '05'"),
        (np.arange(9) / 2, {"loss": "binary_cross_entropy"}, "kind has 9 classes"),
        (np.arange(900) / 2, {"task": "classes"}, "kind has 900 distinct numbers"),
        (np.array([3, -1, 2]), {"loss": "poisson"}, "at least 0, and kind has -1 in row 1"),
        (np.array([[0, 1], [1, 2]]), {"task": "classes"}, "must hold 0 and 1, and kind has 2"),
        (np.empty(0), {}, "there are no rows with a value of kind"),
    ],
)
def test_what_cannot_be_learned_is_said(y, arguments, message):
    with pytest.raises(ValueError, match=message):
        pose(y, name="kind", **arguments)


def test_labels_are_compared_exactly():
    def numbers(labels, classes):
        return class_numbers("y", np.array(labels), classes).tolist()

    assert numbers([10, 2], [2, 10]) == [1, 0]
    assert numbers(["10", "2"], ["10", "2"]) == [0, 1]
    assert numbers([2.0, 10.0], [2, 10]) == [0, 1]
    assert numbers([[True], [False]], [0, 1]) == [1, 0]
    large = [2**53, 2**53 + 1]
    assert numbers(np.array(large, np.uint64), large) == [0, 1]
    for labels, classes, unknown in (
        (["2", "10"], [2, 10], "'2'"),
        ([2, 10], ["10", "2"], "2"),
        ([2.0**53], [2**53 + 1], "9007199254740992.0"),
        ([2**53 + 1], [2.0**53], "9007199254740993"),
    ):
        with pytest.raises(ValueError, match=rf"classes, .* got {re.escape(unknown)} in row 0"):
            numbers(labels, classes)


def test_texts_that_are_hardly_classes_are_refused():
    prices = np.array([f"${1000 + i},50" for i in range(40)])
    with pytest.raises(ValueError, match=r"40 different texts in 40 rows, such as '\$1000,50', .*"):
        pose(prices, name="price")
    assert len(pose(prices, task="classes").classes) == 40
    assert len(pose(np.repeat(prices, 3)).classes) == 40
    assert len(pose(np.array(list("abcabd"))).classes) == 4
