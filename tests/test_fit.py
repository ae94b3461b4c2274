"""What a fit measures and says: eval sets, validation splits, metrics, lines of text, history."""

import functools
import json
import math
import sys

import numpy as np
import pytest
import sklearn.metrics
from scipy import sparse

import fastbp
from fastbp import History, Network, Trainer, callbacks, metrics, pacing


@pytest.fixture
def numbers(generator):
    """A regression, and rows held out."""
    X = generator.normal(size=(90, 4))
    y = X @ [1.0, -2.0, 0.5, 0.0] + 3
    return X[:60], y[:60], X[60:], y[60:]


@pytest.fixture
def classes(generator):
    """Three classes of different frequency, and rows held out."""
    y = np.repeat([0, 1, 2], [60, 30, 10])
    X = generator.normal(size=(100, 4)) + np.eye(3, 4)[y]
    return X[::2], y[::2], X[1::2], y[1::2]


def regression(**options):
    network = Network((4, 8, 1), loss="squared_error", seed=1)
    return Trainer(network, "adam", learning_rate=0.01, batch_size=8, seed=0, **options)


def classifier(outputs=3, loss="cross_entropy", **options):
    network = Network((4, 8, outputs), loss=loss, seed=1)
    return Trainer(network, "adam", learning_rate=0.01, batch_size=8, seed=0, **options)


# Metrics ----------------------------------------------------------------------------------------


def bias(y_true, y_pred):
    return np.mean(y_pred) - np.mean(y_true)


def test_metrics_of_a_regression_are_columns_of_the_history(numbers):
    X, y, X_test, y_test = numbers
    trainer = regression()
    given = ("r2", "mae", "neg_root_mean_squared_error", bias, sklearn.metrics.max_error)
    history = trainer.fit(X, y, epochs=3, eval_set=(X_test, y_test), metrics=given, progress=False)
    predicted = trainer.predict(X_test)
    expected = {
        "r2": sklearn.metrics.r2_score(y_test, predicted),
        "mae": sklearn.metrics.mean_absolute_error(y_test, predicted),
        "neg_root_mean_squared_error": -metrics.rmse(y_test, predicted),
        "bias": bias(y_test, predicted),
        "max_error": sklearn.metrics.max_error(y_test, predicted),
    }
    assert {name: history[name][-1] for name in expected} == pytest.approx(expected)
    assert all(len(column) == 3 for column in vars(history).values())
    assert list(history.metrics) == list(expected)
    trainer.fit(X, y, epochs=1, progress=False)
    assert history["r2"][3] is None
    trainer.fit(X, y, epochs=1, eval_set=(X, y), metrics="mse", progress=False)
    assert history["mse"][:4] == [None] * 4
    assert history["mse"][4] == pytest.approx(2 * history.eval_loss[4], rel=1e-6)


def test_metrics_do_not_change_the_training(classes):
    X, y, X_test, y_test = classes
    plain, watched = classifier(), classifier()
    plain.fit(X, y, epochs=3, eval_set=(X_test, y_test), progress=False)
    watched.fit(X, y, epochs=3, eval_set=(X_test, y_test), metrics=["roc_auc"], progress=False)
    np.testing.assert_array_equal(watched.network.params, plain.network.params)
    assert watched.history.eval_loss == plain.history.eval_loss
    assert watched.history.accuracy == plain.history.accuracy


def test_metrics_of_classes(classes):
    X, y, X_test, y_test = classes
    trainer = classifier()
    names = (
        "accuracy",
        "acc",
        "Balanced Accuracy",
        "log_loss",
        "roc_auc_ovr",
        "f1",
        "jaccard_macro",
    )
    history = trainer.fit(
        X, y, epochs=20, eval_set=(X_test, y_test), progress=False,
        metrics=[*names, "neg_log_loss", sklearn.metrics.matthews_corrcoef],
    )  # fmt: skip
    predicted, p = trainer.predict(X_test), trainer.predict_proba(X_test)
    expected = {
        "accuracy": np.mean(predicted == y_test),
        "acc": np.mean(predicted == y_test),
        "Balanced Accuracy": sklearn.metrics.balanced_accuracy_score(y_test, predicted),
        "log_loss": sklearn.metrics.log_loss(y_test, p),
        "roc_auc_ovr": sklearn.metrics.roc_auc_score(y_test, p, multi_class="ovr"),
        "f1": sklearn.metrics.f1_score(y_test, predicted, average="macro"),
        "jaccard_macro": sklearn.metrics.jaccard_score(y_test, predicted, average="macro"),
        "neg_log_loss": -sklearn.metrics.log_loss(y_test, p),
        "matthews_corrcoef": sklearn.metrics.matthews_corrcoef(y_test, predicted),
    }
    assert {name: history[name][-1] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("of_rows", [False, True])
def test_metrics_of_one_output_for_two_classes(of_rows, classes):
    X, y, X_test, y_test = classes
    trainer = classifier(1, "binary_cross_entropy")
    y, y_test = (y > 0) * 1.0, (y_test > 0) * 1.0
    if of_rows:
        y, y_test = y[:, np.newaxis], y_test[:, np.newaxis]
    names = ("f1", "roc_auc", "log_loss", "average_precision", "neg_brier_score")
    history = trainer.fit(X, y, eval_set=(X_test, y_test), metrics=names, progress=False)
    y_test, p = y_test.reshape(-1), trainer.predict_proba(X_test)[:, 0]
    expected = {
        "f1": sklearn.metrics.f1_score(y_test, p > 0.5),
        "roc_auc": sklearn.metrics.roc_auc_score(y_test, p),
        "log_loss": history.eval_loss[-1],
        "average_precision": sklearn.metrics.average_precision_score(y_test, p),
        "neg_brier_score": -sklearn.metrics.brier_score_loss(y_test, p),
    }
    assert {name: history[name][-1] for name in expected} == pytest.approx(expected, rel=1e-6)


def test_f1_is_the_mean_over_three_classes_even_where_two_of_them_occur(classes):
    X, y, X_test, _ = classes
    trainer = classifier()
    two = np.arange(50) % 2
    trainer.fit(X, y, epochs=1, eval_set=(X_test, two), metrics="f1", progress=False)
    predicted = trainer.predict(X_test)
    expected = sklearn.metrics.f1_score(two, predicted, average="macro")
    assert trainer.history["f1"][-1] == pytest.approx(expected)


def test_metrics_of_rows_of_labels_and_of_probabilities(classes):
    X, y, X_test, y_test = classes
    labels = classifier(3, "binary_cross_entropy")
    rows, rows_test = np.eye(3)[y], np.eye(3)[y_test]
    labels.fit(X, rows, eval_set=(X_test, rows_test), metrics=["roc_auc", "f1"], progress=False)
    p = labels.predict_proba(X_test)
    assert labels.history["roc_auc"][-1] == pytest.approx(
        sklearn.metrics.roc_auc_score(rows_test, p)
    )
    one_of = classifier()
    one_of.fit(X, rows, eval_set=(X_test, rows_test), metrics=["log_loss"], progress=False)
    assert one_of.history["log_loss"][-1] == pytest.approx(one_of.history.eval_loss[-1], rel=1e-6)


def test_undefined_metrics_do_not_end_a_fit(classes, numbers):
    X, y, X_test, _ = classes
    ones = np.zeros(len(X_test), int)
    history = classifier().fit(X, y, eval_set=(X_test, ones), metrics="roc_auc", progress=False)
    assert math.isnan(history["roc_auc"][-1])
    X, y, X_test, _ = numbers
    history = regression().fit(
        X, y, eval_set=(X_test, np.ones(len(X_test))), metrics="r2", progress=False
    )
    assert math.isnan(history["r2"][-1])


def test_metrics_of_outputs_that_are_not_finite_are_nan(numbers):
    """Whoever computes them: scikit-learn would raise an error."""
    X, y, X_test, y_test = numbers
    trainer = regression()
    trainer.network.params[:] *= 10
    given = ("r2", "neg_mean_absolute_error", sklearn.metrics.max_error, bias)
    history = trainer.fit(
        X, y, epochs=1, eval_set=(X_test * 5e37, y_test), metrics=given, progress=False
    )
    assert [len(column) for column in history.metrics.values()] == [1] * 4
    assert all(math.isnan(column[0]) for column in (history.eval_loss, *history.metrics.values()))


def test_a_function_cannot_change_what_others_are_given(numbers):
    X, y, *_ = numbers

    def spoil(y_true, y_pred):
        y_true += 1

    with pytest.raises(ValueError, match="read-only"):
        regression().fit(X, y, eval_set=(X, y), metrics=spoil, progress=False)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_targets_of_any_library(library, numbers):
    module = pytest.importorskip(library)
    X, y, *_ = numbers
    frame = (module.table if library == "pyarrow" else module.DataFrame)({"y": y})
    column = frame["y"]
    expected = regression().fit(X, y, eval_set=(X, y), metrics="mae", epochs=1)["mae"]
    for given in (frame, column):
        history = regression().fit(X, given, eval_set=(X, given), metrics="mae", epochs=1)
        assert history["mae"] == expected


def test_targets_that_the_caller_changes_meanwhile_do_not_count(numbers):
    X, y, X_test, y_test = numbers
    kept = y_test.copy()

    def spoil(trainer):
        y_test[:] = 1e9

    trainer = regression()
    trainer.fit(
        X, y, epochs=3, eval_set=(X_test, y_test), metrics="mae", callbacks=spoil, progress=False
    )
    assert trainer.history["mae"][-1] == pytest.approx(metrics.mae(kept, trainer.predict(X_test)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "jacard",
            r"one of accuracy, .* scikit-learn's; got 'jacard' \(did you mean 'jaccard'\?\)",
        ),
        (
            "accuracy",
            "accuracy is for a classification.*squared_error is for a regression.*r2, mae",
        ),
        ([lambda y: 0], r"a function in metrics must take 2 positional arguments, y_true, y_pred"),
        ([3], "a function in metrics must be a function, got 3"),
        (3, "a function in metrics must be a function, got 3"),
        ([lambda y, p: "good"], "the metric <lambda> must return a number, got 'good'"),
        ([lambda y, p: 0, lambda y, p: 1], "different names, got two called <lambda>"),
        ([functools.partial(bias), bias], "different names, got two called bias"),
    ],
)
def test_metrics_that_cannot_be_are_refused(given, message, numbers):
    X, y, *_ = numbers
    trainer = regression()
    with pytest.raises(ValueError, match=message):
        trainer.fit(X, y, eval_set=(X, y), metrics=given, progress=False)


def test_a_metric_must_not_hide_a_part_of_the_history(numbers):
    X, y, *_ = numbers

    def row(y_true, y_pred):
        return 0.0

    for name in ("row", "eval_loss", "chosen_epoch"):
        row.__name__ = name
        with pytest.raises(ValueError, match=f"must not be called '{name}'"):
            regression().fit(X, y, eval_set=(X, y), metrics=row, progress=False)


def test_metrics_need_rows(numbers):
    X, y, *_ = numbers
    with pytest.raises(ValueError, match="give fit an eval_set, or a validation_split"):
        regression().fit(X, y, metrics="r2", progress=False)


def test_without_scikit_learn_its_names_are_not_known(numbers, monkeypatch):
    X, y, *_ = numbers
    monkeypatch.delitem(sys.modules, "fastbp.scorers", raising=False)
    monkeypatch.delattr(fastbp, "scorers", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(ValueError, match="scikit-learn's, where that is installed; got 'jaccard'"):
        regression().fit(X, y, eval_set=(X, y), metrics="jaccard", progress=False)
    regression().fit(X, y, eval_set=(X, y), metrics=["R2", "MAE"], epochs=1, progress=False)


@pytest.mark.parametrize(
    ("column", "greater"),
    [
        ("train_loss", False), ("eval_loss", False), ("eval_loss_1", False), ("accuracy", True),
        ("r2", True), ("r2_2", True), ("MSE", False), ("mean_absolute_error", False),
        ("neg_mean_absolute_error", True), ("jaccard_macro", True), ("bias", None),
    ],
)  # fmt: skip
def test_whether_more_is_better(column, greater):
    assert metrics.greater_is_better(column) is greater


# Labels and raw rows ----------------------------------------------------------------------------


NAMES = np.array(["ham", "pork", "spam"])


def test_functions_are_given_labels_where_y_has_them(classes):
    X, y, X_test, y_test = classes
    trainer, by_number = classifier(), classifier()
    seen = {}

    def hits(y_true, y_pred):
        seen.update(true=y_true, predicted=y_pred)
        return np.mean(y_true == y_pred)

    given = ("roc_auc", "f1", "jaccard_macro", hits)
    history = trainer.fit(
        X, NAMES[y], eval_set=(X_test, NAMES[y_test]), metrics=given, progress=False
    )
    assert trainer.network.classes == tuple(NAMES)
    np.testing.assert_array_equal(seen["true"], NAMES[y_test])
    np.testing.assert_array_equal(seen["predicted"], trainer.predict(X_test))
    expected = by_number.fit(X, y, eval_set=(X_test, y_test), metrics=given, progress=False)
    assert {name: history[name] for name in expected.metrics} == expected.metrics
    assert history["hits"] == history.accuracy
    figures = trainer.evaluate(X_test, NAMES[y_test])
    assert figures == by_number.evaluate(X_test, y_test)
    assert trainer.score(X_test, NAMES[y_test]) == figures["accuracy"]


@pytest.mark.parametrize("column", [False, True])
def test_labels_of_one_output(column, classes):
    X, y, *_ = classes
    y = NAMES[(y > 0) * 1][:, np.newaxis] if column else NAMES[(y > 0) * 1]
    trainer = classifier(1, "binary_cross_entropy")
    history = trainer.fit(
        X, y, validation_split=0.2, metrics=["f1", sklearn.metrics.accuracy_score], progress=False
    )
    assert history["accuracy_score"] == history.accuracy
    assert trainer.score(X, y) == np.mean(trainer.predict(X) == y.reshape(-1))


def test_metrics_are_in_the_unit_of_the_target(generator):
    """Although losses are of the scaled one."""
    X = generator.normal(size=(80, 4)) * [1, 1e3, 1e-3, 1] + 5e3
    y = 2e5 + 1e5 * (X[:, 0] - 5e3)
    preparation = fastbp.Preparation().fit(X[:50], y[:50])
    network = Network((4, 8, 1), loss="squared_error", preparation=preparation, seed=0)
    trainer = Trainer(network, "adam", learning_rate=0.01, batch_size=8, seed=0)
    history = trainer.fit(
        X[:50], y[:50], epochs=60, eval_set=(X[50:], y[50:]), metrics=["mae", "r2", bias],
        progress=False,
    )  # fmt: skip
    predicted = trainer.predict(X[50:])
    assert history["mae"][-1] == pytest.approx(metrics.mae(y[50:], predicted))
    assert history["mae"][0] > 1e4
    assert history["bias"][-1] == pytest.approx(bias(y[50:], predicted))
    assert history["r2"][-1] == trainer.score(X[50:], y[50:]) > 0.9
    assert trainer.evaluate(X[50:], y[50:])["rmse"] == pytest.approx(
        metrics.rmse(y[50:], predicted)
    )


def test_rows_of_a_frame_are_split_with_their_preparation(generator):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(
        {"area": generator.normal(90, 20, 60), "town": np.array(["Ulm", "Hof", "Kiel"] * 20)}
    )
    y = 3e3 * X["area"] + 1e4 * (X["town"] == "Ulm")
    X.loc[3, "area"] = None
    preparation = fastbp.Preparation().fit(X, y)
    network = Network((preparation.n_inputs, 1), loss="squared_error", preparation=preparation)
    trainer = Trainer(network, "adam", learning_rate=0.1, batch_size=8, seed=0)
    history = trainer.fit(X, y, epochs=60, validation_split=0.2, metrics="r2", progress=False)
    assert history["r2"][-1] > 0.8


@pytest.mark.parametrize("learned", [False, True])
def test_class_weights_by_label(learned, classes):
    X, y, *_ = classes
    weights = dict(zip(NAMES.tolist(), (1.0, 2.0, 5.0), strict=True))
    by_number = classifier(class_weight=[1.0, 2.0, 5.0])
    by_number.fit(X, y, progress=False)
    network = Network((4, 8, 3), seed=1, classes=None if learned else NAMES)
    trainer = Trainer(
        network, "adam", learning_rate=0.01, batch_size=8, seed=0, class_weight=weights
    )
    again = Trainer.from_params(network.copy(), trainer.get_params())
    for each in (trainer, again):
        each.fit(X, NAMES[y], progress=False)
        np.testing.assert_array_equal(each.network.params, by_number.network.params)
    assert trainer.get_params()["class_weight"] == [1.0, 2.0, 5.0]


def test_class_weights_by_labels_that_are_not_there(classes):
    X, y, *_ = classes
    with pytest.raises(ValueError, match=r"name classes among \['ham', .*, got 'eggs'"):
        classifier(class_weight={"eggs": 2.0}).fit(X, NAMES[y], progress=False)
    trainer = classifier(class_weight={"ham": 2.0})
    for use in (lambda: trainer.fit(X, y, progress=False), lambda: trainer.partial_fit(X, y)):
        with pytest.raises(ValueError, match="must name class numbers where y holds them, got 'ha"):
            use()
    with pytest.raises(ValueError, match=r"class_weight\['ham'\] must be a finite"):
        classifier(class_weight={"ham": -1.0})
    with pytest.raises(ValueError, match=r"got 0\."):
        Trainer(Network((4, 3), classes=NAMES), class_weight={0: 2.0})


# Eval sets --------------------------------------------------------------------------------------


def test_several_eval_sets_have_columns_of_their_own(numbers):
    X, y, X_test, y_test = numbers
    trainer = regression()
    sets = [(X, y), (X[:9], y[:9]), (X_test, y_test)]
    history = trainer.fit(X, y, epochs=2, eval_set=sets, metrics="r2", progress=False)
    assert list(history.metrics) == ["r2", "eval_loss_1", "r2_1", "eval_loss_2", "r2_2"]
    last = {name: column[-1] for name, column in vars(history).items()}
    network = trainer.network
    assert last["eval_loss_1"] == network.loss(X, y)
    assert last["eval_loss_2"] == network.loss(X[:9], y[:9])
    assert last["eval_loss"] == network.loss(X_test, y_test)
    for name, (rows, targets) in zip(("r2_1", "r2_2", "r2"), sets, strict=True):
        assert last[name] == pytest.approx(trainer.score(rows, targets))


def test_a_list_may_be_one_pair_or_hold_one(classes):
    X, y, X_test, y_test = classes
    expected = classifier().fit(X, y, epochs=1, eval_set=(X_test, y_test), progress=False)
    for given in ([X_test, y_test], [(X_test, y_test)], [X_test.tolist(), y_test.tolist()]):
        history = classifier().fit(X, y, epochs=1, eval_set=given, progress=False)
        assert (history.eval_loss, history.accuracy) == (expected.eval_loss, expected.accuracy)
        assert not history.metrics


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], r"eval_set must be a pair \(X, y\) or a list of such pairs, got \[\]"),
        ([([[0.0] * 4], [0]), ([[0.0] * 4],)], r"eval_set\[1\] must be a pair \(X, y\)"),
        ([([[0.0] * 4], [0]), ([[0.0] * 3], [0])], r"eval_set\[1\] X must have 4 columns"),
        ([([[0.0] * 4], [0, 1])], "eval_set y must have one entry per row"),
        (3, r"eval_set must be a pair \(X, y\), got int"),
    ],
)
def test_eval_sets_that_cannot_be_are_refused(given, message, classes):
    with pytest.raises(ValueError, match=message):
        classifier().fit(*classes[:2], eval_set=given, progress=False)


# Validation split -------------------------------------------------------------------------------


def split_rows(trainer, X, y, share, **options):
    """Rows that a fit holds out: their targets alone are not what the others have."""
    seen = []
    trainer.fit(
        X, y, epochs=1, validation_split=share, progress=False,
        metrics=[lambda true, predicted: seen.append(true.copy()) or 0.0], **options,
    )  # fmt: skip
    return seen[0]


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.coo_array])
def test_a_split_is_the_fit_of_its_rows(make, generator):
    """Bit for bit: the rows left are trained on in their order, with the trainer's orders."""
    X = generator.normal(size=(70, 4)) * (generator.uniform(size=(70, 4)) < 0.5)
    y = np.arange(70) / 16
    held_out = (split_rows(regression(), make(X), y, 0.3) * 16).astype(int)
    assert len(held_out) == 21
    kept = np.setdiff1d(np.arange(len(y)), held_out)
    split, apart = regression(), regression()
    split.fit(make(X), y, epochs=3, validation_split=0.3, progress=False)
    apart.fit(
        make(X[kept]), y[kept], epochs=3, eval_set=(make(X[held_out]), y[held_out]), progress=False
    )
    np.testing.assert_array_equal(split.network.params, apart.network.params)
    assert split.history.train_loss == apart.history.train_loss
    assert split.history.eval_loss == apart.history.eval_loss


def test_the_split_follows_from_the_seed_alone(generator, tmp_path):
    X, y = generator.normal(size=(50, 4)), np.arange(50) / 16
    trainer = regression()
    first = split_rows(trainer, X, y, 0.2)
    np.testing.assert_array_equal(split_rows(trainer, X, y, 0.2), first)  # in a further fit too
    fastbp.save(trainer, tmp_path / "model")
    np.testing.assert_array_equal(split_rows(fastbp.load(tmp_path / "model"), X, y, 0.2), first)
    np.testing.assert_array_equal(split_rows(regression(), X, y, 0.2), first)
    other = Trainer(Network((4, 1), loss="squared_error"), seed=1)
    assert not np.array_equal(split_rows(other, X, y, 0.2), first)


@pytest.mark.parametrize("form", ["numbers", "column", "rows", "labels"])
def test_a_split_has_its_share_of_every_class(form, classes):
    X, y, X_test, y_test = classes
    X, y = np.vstack([X, X_test]), np.concatenate([y, y_test])
    trainer = classifier()
    given = {"numbers": y, "column": y[:, np.newaxis], "rows": np.eye(3)[y]}.get(form)
    if form == "labels":
        trainer, given, y = classifier(1, "binary_cross_entropy"), y == 2, (y == 2) * 1
    held_out = split_rows(trainer, X, given, 0.2)
    np.testing.assert_array_equal(np.bincount(held_out.reshape(-1)), np.bincount(y) * 0.2)


def test_weights_are_split_with_their_rows(generator):
    X, y = generator.normal(size=(40, 4)), np.arange(40) / 16
    weights = generator.uniform(0.5, 2, 40)
    held_out = (split_rows(regression(), X, y, 0.25) * 16).astype(int)
    kept = np.setdiff1d(np.arange(len(y)), held_out)
    split, apart = regression(), regression()
    split.fit(X, y, sample_weight=weights, validation_split=0.25, progress=False)
    apart.fit(X[kept], y[kept], sample_weight=weights[kept], progress=False)
    np.testing.assert_allclose(split.network.params, apart.network.params, rtol=1e-4, atol=1e-6)
    expected = split.network.loss(X[held_out], y[held_out], weights[held_out])
    assert split.history.eval_loss[-1] == pytest.approx(expected)
    weights[held_out] = 0
    with pytest.raises(ValueError, match="sample_weight must be above 0 in some rows"):
        regression().fit(X, y, sample_weight=weights, validation_split=0.25, progress=False)


def test_class_weights_and_smoothing_are_of_the_rows_that_are_trained_on(classes):
    X, y, *_ = classes
    trainer = classifier(class_weight="balanced", label_smoothing=0.1)
    history = trainer.fit(X, y, epochs=1, validation_split=0.2, progress=False)
    plain = classifier().fit(X, y, epochs=1, validation_split=0.2, progress=False)
    assert history.train_loss != plain.train_loss
    assert history.eval_loss[0] == pytest.approx(plain.eval_loss[0], rel=0.2)  # without smoothing


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0, "validation_split must be a number above 0 to below 1, got 0"),
        (1.0, "validation_split must be a number above 0 to below 1, got 1.0"),
        (12, "validation_split must be a number above 0 to below 1, got 12"),
        ("0.1", "validation_split must be a number"),
        (True, "validation_split must be a number"),
    ],
)
def test_shares_that_cannot_be_are_refused(share, message, classes):
    with pytest.raises(ValueError, match=message):
        classifier().fit(*classes[:2], validation_split=share, progress=False)


def test_a_split_needs_two_rows_and_no_eval_set(classes):
    X, y, *_ = classes
    with pytest.raises(ValueError, match=r"validation_split=0.1 cannot be taken: .*2 rows, got 1"):
        classifier().fit(X[:1], y[:1], validation_split=0.1, progress=False)
    with pytest.raises(ValueError, match="validation_split must be None if there is an eval_set"):
        classifier().fit(X, y, validation_split=0.1, eval_set=(X, y), progress=False)


def test_callbacks_may_watch_a_split(classes):
    stop = callbacks.EarlyStopping(patience=1, min_delta=1e9)
    history = classifier().fit(*classes[:2], validation_split=0.2, callbacks=stop, progress=False)
    assert len(history) == 2


# Text -------------------------------------------------------------------------------------------


def test_nothing_is_printed_by_default(classes, capsys):
    for verbose in (None, False, 0):
        classifier().fit(*classes[:2], epochs=2, verbose=verbose)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [1, 2, True, np.int64(1)])
def test_verbose_prints_a_line_per_epoch(verbose, classes, capsys):
    X, y, X_test, y_test = classes
    history = classifier().fit(
        X, y, epochs=3, eval_set=(X_test, y_test), metrics="f1", verbose=verbose
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines == str(history).splitlines()
    assert [line[:11] for line in lines] == ["epoch   1  ", "epoch   2  ", "epoch   3  "]
    assert f"  f1 {history['f1'][0]:.4f}  " in lines[0]


@pytest.mark.parametrize("verbose", ["yes", 3, -1, 1.0])
def test_other_verbosities_are_refused(verbose, classes):
    with pytest.raises(ValueError, match="verbose must be an integer"):
        classifier().fit(*classes[:2], verbose=verbose)


def test_a_fit_that_is_stopped_says_where_and_which_epoch_was_best(classes, capsys):
    X, y, X_test, y_test = classes
    trainer = classifier()
    stop = callbacks.EarlyStopping("accuracy", patience=3)
    history = trainer.fit(
        X, y, epochs=200, eval_set=(X_test, y_test), callbacks=[stop], verbose=1, progress=False
    )
    assert len(history) < 200
    assert history.best_epoch == stop.best_epoch == len(history) - 3
    text = f"stopped at epoch {len(history)}, best {stop.best_epoch}"
    assert capsys.readouterr().out.splitlines()[-1] == text
    assert trainer.summary().splitlines()[-1] == text
    trainer.fit(X, y, epochs=1, progress=False)
    assert "stopped" not in trainer.summary()
    assert capsys.readouterr().out == ""


def test_a_trainer_saved_after_early_stopping_has_its_best_epoch(classes, tmp_path):
    """Also in the same epoch, and when it goes on only to stop at once."""
    X, y, X_test, y_test = classes
    trainer, stop = classifier(), callbacks.EarlyStopping("accuracy", patience=3)
    seen = []

    def save(trainer):
        fastbp.save(trainer, tmp_path / "model")
        seen.append((trainer.history.best_epoch, stop.best_epoch))

    options = {"epochs": 200, "eval_set": (X_test, y_test), "progress": False}
    trainer.fit(X, y, callbacks=[stop, save], **options)
    assert all(chosen == best > 0 for chosen, best in seen)
    loaded = fastbp.load(tmp_path / "model")
    assert loaded.history.best_epoch == trainer.history.best_epoch
    loaded.fit(X, y, callbacks=callbacks.EarlyStopping("accuracy", patience=3), **options)
    assert len(loaded.history) == len(trainer.history)
    assert loaded.summary().splitlines()[-1] == trainer.summary().splitlines()[-1]


def test_a_fit_that_ran_to_its_end_did_not_stop(classes, capsys):
    trainer = classifier()
    trainer.fit(*classes[:2], epochs=2, verbose=1, progress=False)
    assert "stopped" not in capsys.readouterr().out + trainer.summary()


# History ----------------------------------------------------------------------------------------


def of_losses(train, evaluated=()):
    history = History()
    for i, loss in enumerate(train):
        history.append({"train_loss": loss, "eval_loss": (*evaluated, *[None] * len(train))[i]})
    return history


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"), (0.81234, "0.8123"), (-0.5, "-0.5000"), (999.99, "999.9900"),
        (45_231.4, "45,231"), (1.234e-5, "1.234e-05"), (1.5e12, "1.500e+12"), (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)  # fmt: skip
def test_numbers_of_any_size_are_shown_in_a_few_digits(value, text):
    history = of_losses([1.0])
    history["train_loss"][0] = value
    assert history.figures(0) == [f"train loss {text}"]


def test_the_best_epoch_has_the_least_loss():
    assert History().best_epoch == 0
    assert of_losses([3, 1, 2]).best_epoch == 2
    assert of_losses([3, 1, 2], [5, 6, 4]).best_epoch == 3
    assert of_losses([3, 1, 2], [5, 4, 4]).best_epoch == 2
    assert of_losses([3, 1, 2], [math.nan, 4]).best_epoch == 2
    assert of_losses([math.nan]).best_epoch == 0
    history = of_losses([3, 1, 2])
    history.chosen_epoch = 1
    assert history.best_epoch == 1


def test_a_column_by_its_name():
    history = of_losses([3, 1])
    assert history["train_loss"] is history.train_loss
    assert "train_loss" in history
    assert "r2" not in history
    with pytest.raises(KeyError, match=r"no column 'trainloss' \(did you mean 'train_loss'\?\)"):
        history["trainloss"]


def test_a_frame_has_a_row_per_epoch(numbers):
    pandas = pytest.importorskip("pandas")
    X, y, *_ = numbers
    history = regression().fit(X, y, epochs=3, validation_split=0.2, metrics="r2", progress=False)
    frame = history.to_frame()
    assert list(frame.columns) == list(vars(history))
    assert list(frame.index) == [1, 2, 3]
    assert frame.index.name == "epoch"
    assert frame["r2"].tolist() == history["r2"]
    pandas.testing.assert_frame_equal(pandas.DataFrame(vars(history)), frame.reset_index(drop=True))


def test_without_pandas_there_is_no_frame(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_frame needs pandas \(pip install pandas\)"):
        of_losses([1]).to_frame()


def test_columns_of_metrics_are_saved_with_a_trainer(classes, tmp_path):
    X, y, X_test, y_test = classes
    trainer = classifier()
    sets = [(X, y), (X_test, y_test)]
    stop = callbacks.EarlyStopping(patience=2)
    trainer.fit(X, y, epochs=5, eval_set=sets, metrics="f1", callbacks=stop, progress=False)
    trainer.fit(X, y, epochs=1, progress=False)
    trainer.history.chosen_epoch = 2
    fastbp.save(trainer, tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model")
    assert vars(loaded.history) == vars(trainer.history)
    assert loaded.history.best_epoch == 2
    for each in (trainer, loaded):
        each.fit(X, y, epochs=1, eval_set=sets, metrics="f1", progress=False)
    assert loaded.history["f1_1"] == trainer.history["f1_1"]
    np.testing.assert_array_equal(loaded.network.params, trainer.network.params)


def test_a_history_without_metrics_is_described_as_ever():
    """So that files without them can be read by earlier versions."""
    assert list(of_losses([1]).described()) == list(vars(History()))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("metrics", [], "metrics must be a dict"),
        ("metrics", {"r2": 3}, r"history.metrics.'r2' must be a list"),
        ("metrics", {"r2": ["high", 1.0]}, r"'r2'\[0\] must be a number"),
        ("metrics", {"r2": [0.5]}, "the columns of the history differ in length"),
        ("metrics", {"seconds": [0.5, 0.5]}, "seconds is a column of the history already"),
        ("metrics", {"row": [0.5, 0.5]}, "must not be called 'row'"),
        ("chosen_epoch", 3, "chosen_epoch is none of its 2 epochs"),
        ("chosen_epoch", -1, "chosen_epoch must be an integer"),
        ("chosen_epoch", "1", "chosen_epoch must be an integer"),
    ],
)
def test_a_damaged_history_is_refused(field, value, message, classes, tmp_path, monkeypatch):
    trainer = classifier()
    trainer.fit(*classes[:2], epochs=2, progress=False)
    described = trainer.history.described() | {field: value}
    monkeypatch.setattr(History, "described", lambda history: json.loads(json.dumps(described)))
    with pytest.raises(ValueError, match=message):
        fastbp.load(fastbp.save(trainer, tmp_path / "model") or tmp_path / "model")


# Evaluation -------------------------------------------------------------------------------------


def test_evaluate_gives_the_usual_figures(classes, numbers):
    X, y, X_test, y_test = classes
    trainer = classifier()
    trainer.fit(X, y, progress=False)
    figures = trainer.evaluate(X_test, y_test)
    expected = metrics.figures(y_test, trainer.predict_proba(X_test), "classification")
    assert figures == {"loss": trainer.network.loss(X_test, y_test)} | expected
    assert trainer.score(X_test, y_test) == figures["accuracy"]
    np.testing.assert_array_equal(trainer.predict(X_test), trainer.network.predict(X_test))
    X, y, X_test, y_test = numbers
    trainer = regression()
    trainer.fit(X, y, progress=False)
    figures = trainer.evaluate(X_test, y_test)
    expected = metrics.figures(y_test, trainer.predict(X_test), "regression")
    assert figures == {"loss": trainer.network.loss(X_test, y_test)} | expected
    assert trainer.score(X_test, y_test) == sklearn.metrics.r2_score(
        y_test, trainer.predict(X_test).astype(float)
    )


def test_evaluate_takes_metrics_weights_and_what_is_no_array(numbers):
    pandas = pytest.importorskip("pandas")
    X, y, *_ = numbers
    trainer = regression()
    weights = np.linspace(0, 1, 60)
    figures = trainer.evaluate(
        pandas.DataFrame(X), pandas.Series(y), metrics=["mse", bias], sample_weight=weights
    )
    assert list(figures) == ["loss", "mse", "bias"]
    assert figures["loss"] == trainer.network.loss(X, y, weights)
    assert trainer.evaluate(X, y, metrics=()) == {"loss": trainer.network.loss(X, y)}
    assert trainer.evaluate(sparse.csr_array(X), y)["r2"] == pytest.approx(trainer.score(X, y))


def test_evaluate_refuses_outputs_that_are_not_finite(numbers):
    X, y, *_ = numbers
    with pytest.raises(ValueError, match="outputs must be finite"):
        regression().evaluate(X * 1e38, y)
    with pytest.raises(ValueError, match="X must be finite"):
        regression().evaluate(np.where(X > 0, X, np.nan), y)


def test_thousands_of_short_chunks_have_lengths_that_are_numbers():
    """Each is shorter than the machine could take, for penalties are sampled between them."""
    lengths = [stop - start for start, stop in pacing.paced(3000, 1, pieces=3000)]
    assert lengths == [1] * 3000
