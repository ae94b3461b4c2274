"""Metrics: scikit-learn's values where it has them, NaN where a figure is not defined."""

import math

import numpy as np
import pytest
from sklearn import metrics as theirs

from fastbp import metrics


def classes_and_probabilities(generator, n, n_classes, dtype="float64"):
    """Class numbers, and probabilities with ties and exact zeros that know something of them."""
    y = generator.integers(0, n_classes, n)
    p = generator.uniform(size=(n, n_classes)).round(1) + np.eye(n_classes)[y] + 0.1
    p[:3] = np.eye(n_classes)[y[:3]]
    return y, (p / p.sum(axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_figures_of_classes_are_those_of_scikit_learn(n_classes, dtype, generator):
    y, p = classes_and_probabilities(generator, 200, n_classes, dtype)
    predicted = p.argmax(axis=1)
    auc = theirs.roc_auc_score(y, p[:, 1] if n_classes == 2 else p, multi_class="ovr")
    expected = {
        "accuracy": theirs.accuracy_score(y, predicted),
        "balanced_accuracy": theirs.balanced_accuracy_score(y, predicted),
        "log_loss": theirs.log_loss(y, p),
        "roc_auc": auc,
    }
    assert metrics.figures(y, p, "classification") == pytest.approx(expected, rel=1e-6)
    average = "binary" if n_classes == 2 else "macro"
    expected = theirs.f1_score(y, predicted, average=average)
    assert metrics.f1(y, predicted) == pytest.approx(expected)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(y, predicted), theirs.confusion_matrix(y, predicted)
    )
    names = np.array(list("abcdefg"))
    np.testing.assert_array_equal(
        metrics.confusion_matrix(names[y], names[predicted], names[::-1]),
        theirs.confusion_matrix(names[y], names[predicted], labels=names[::-1]),
    )


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_column_of_probabilities_is_that_of_class_1(shape, generator):
    y, p = classes_and_probabilities(generator, 100, 2)
    expected = metrics.figures(y, p, "classification")
    one = metrics.figures(y.reshape(shape), p[:, 1].reshape(shape), "classification")
    assert one == pytest.approx(expected)


def test_figures_of_labels_are_the_means_over_the_labels(generator):
    y = generator.integers(0, 2, (100, 3))
    p = (generator.uniform(size=(100, 3)) + y) / 2
    predicted = (p > 0.5).astype(int)
    columns = range(3)
    expected = {
        "accuracy": theirs.accuracy_score(y, predicted),
        "balanced_accuracy": np.mean(
            [theirs.balanced_accuracy_score(y[:, k], predicted[:, k]) for k in columns]
        ),
        "log_loss": np.mean([theirs.log_loss(y[:, k], p[:, k]) for k in columns]),
        "roc_auc": theirs.roc_auc_score(y, p),
    }
    assert metrics.figures(y, p, "classification") == pytest.approx(expected)
    assert metrics.f1(y, predicted) == pytest.approx(theirs.f1_score(y, predicted, average="macro"))


@pytest.mark.parametrize("shape", [(80,), (80, 1), (80, 3)])
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_figures_of_numbers_are_those_of_scikit_learn(shape, offset, generator):
    y = generator.normal(size=shape) * 3 + offset
    predicted = y + generator.normal(size=shape)
    expected = {
        "r2": theirs.r2_score(y, predicted),
        "mae": theirs.mean_absolute_error(y, predicted),
        "rmse": theirs.root_mean_squared_error(y, predicted),
    }
    assert metrics.figures(y, predicted, "regression") == pytest.approx(expected)
    assert metrics.mse(y, predicted) == pytest.approx(theirs.mean_squared_error(y, predicted))
    assert metrics.median_absolute_error(y, predicted) == pytest.approx(
        theirs.median_absolute_error(y, predicted)
    )


def test_a_column_and_a_vector_are_the_same():
    """Not all pairs of them, as NumPy would have it."""
    y, predicted = np.arange(4.0), np.array([[0.0], [1.0], [2.0], [5.0]])
    assert metrics.mae(y, predicted) == 0.5
    assert metrics.accuracy(y, predicted) == 0.75


def test_integers_of_few_bits_do_not_wrap_around():
    y, predicted = np.array([0, 255], np.uint8), np.array([255, 0], np.uint8)
    assert metrics.mae(y, predicted) == 255
    assert metrics.rmse(y, predicted) == 255


def test_what_is_not_defined_is_nan():
    one_class = metrics.figures([1, 1], [[0.4, 0.6], [0.7, 0.3]], "classification")
    assert math.isnan(one_class.pop("roc_auc"))
    assert one_class["accuracy"] == one_class["balanced_accuracy"] == 0.5
    assert math.isnan(metrics.figures([5.0, 5.0], [4.0, 6.0], "regression")["r2"])
    assert math.isnan(metrics.r2([[1.0, 5.0], [2.0, 5.0]], [[1.0, 5.0], [2.0, 5.0]]))
    assert math.isnan(metrics.f1([0, 0], [0, 0]))
    # A class of which the held-out rows have none.
    rare = metrics.figures([0, 1, 1], np.full((3, 3), 1 / 3), "classification")
    assert math.isnan(rare["roc_auc"])
    assert rare["log_loss"] == pytest.approx(math.log(3))
    diverged = metrics.figures([0, 1], [[np.nan] * 2] * 2, "classification")
    assert math.isnan(diverged["log_loss"])
    assert math.isnan(diverged["roc_auc"])
    assert math.isnan(metrics.figures([0.0, 1.0], [np.nan, 0.0], "regression")["mae"])


def test_f1_of_two_classes_is_that_of_the_second():
    y, predicted = [0, 1, 1, 1], [0, 0, 1, 1]
    assert metrics.f1(y, predicted) == pytest.approx(0.8)
    assert metrics.f1(["no", "yes"], ["yes", "yes"]) == pytest.approx(2 / 3)
    assert metrics.f1([1, 1], [1, 1]) == 1
    assert metrics.f1(y, predicted, classes=range(3)) == pytest.approx((2 / 3 + 0.8) / 2)


def test_as_many_classes_as_rows_need_no_table_of_them():
    """Which would have 10¹⁰ cells."""
    y = np.arange(100_000)
    assert metrics.balanced_accuracy(y, y[::-1]) == 0
    assert metrics.f1(y, y) == 1


def test_the_baseline_knows_only_the_training_targets():
    assert metrics.baseline([1.0, 3.0], [2.0, 6.0], "regression") == {
        "r2": -1.0,
        "mae": 2.0,
        "rmse": pytest.approx(math.sqrt(8)),
    }
    shares = metrics.baseline([0, 1, 1, 1], [0, 1], "classification")
    assert shares == {
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
        "log_loss": pytest.approx(-(math.log(0.25) + math.log(0.75)) / 2),
        "roc_auc": 0.5,
    }
    with_rare = metrics.baseline([0, 0, 1], [0, 2], "classification")  # 2 is new to it
    assert with_rare["accuracy"] == 0.5
    assert math.isfinite(with_rare["log_loss"])
    labels = metrics.baseline([[0, 1], [0, 1], [1, 1]], [[0, 1], [1, 0]], "classification")
    assert labels["accuracy"] == 0.5
    two = metrics.baseline([[1.0, 0.0], [3.0, 4.0]], [[2.0, 0.0], [3.0, 4.0]], "regression")
    assert two["mae"] == pytest.approx((0.5 + 2) / 2)


@pytest.mark.parametrize(
    ("function", "y", "given", "message"),
    [
        (metrics.accuracy, [0, 1], [0], r"one entry per row.*\(2,\) and \(1,\)"),
        (metrics.mae, [[1.0, 2.0]], [1.0], r"one entry per row"),
        (metrics.mae, [], [], "one entry per row"),
        (metrics.log_loss, [0, 1], [[0.5, 0.5]], "as many rows"),
        (metrics.log_loss, [0, 3], [[0.5, 0.5]] * 2, "class numbers from 0 to 1"),
        (metrics.roc_auc, [[0, 1]], [[0.5, 0.5, 0.0]], "as many rows"),
    ],
)
def test_what_does_not_fit_is_refused(function, y, given, message):
    with pytest.raises(ValueError, match=message):
        function(y, given)


def test_a_label_that_is_no_class_is_named():
    with pytest.raises(ValueError, match="'d' is none of the classes"):
        metrics.confusion_matrix(["d"], ["a"], ["a", "b"])


def test_every_standard_figure_is_a_metric():
    for task, names in metrics.STANDARD.items():
        assert all(metrics.METRICS[name].task == task for name in names)
