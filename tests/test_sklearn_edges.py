"""fastbp.sklearn where data, weights and parameters are odd: what is right, and what is said."""

import contextlib
import copy
import pickle
import re
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network as theirs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score

import fastbp
import fastbp.sklearn as ours
from fastbp import callbacks
from fastbp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(200, 5))
y = GENERATOR.integers(0, 3, 200)
LABELS = GENERATOR.integers(0, 2, (200, 3))
REAL = X[:, 0]
SMALL = {"hidden_layer_sizes": (5,), "random_state": 0, "max_iter": 5}


def parameters_of(model):
    return np.concatenate([p.ravel() for p in (*model.coefs_, *model.intercepts_)])


# Scores that are not numbers ----------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"early_stopping": True}, {"restore_best_weights": True}])
@pytest.mark.parametrize(("kind", "target"), [(MLPRegressor, REAL), (MLPClassifier, y)])
@pytest.mark.parametrize("partial", [False, True])
def test_one_row_is_no_eval_set(kind, target, settings, partial):
    model = kind(**SMALL, **settings)
    named = {"classes": range(3)} if partial and kind is MLPClassifier else {}
    fit = model.partial_fit if partial else model.fit
    with pytest.raises(ValueError, match="eval_set must have at least 2 rows to be scored, got 1"):
        fit(X, target, eval_set=(X[:1], target[:1]), **named)


@pytest.mark.parametrize(
    ("kind", "target", "other", "message"),
    [
        (MLPRegressor, REAL, X[:, :2], "eval_set y must have 1 outputs as y has, got 2"),
        (MLPRegressor, X[:, :2], REAL, "eval_set y must have 2 outputs as y has, got 1"),
        (MLPRegressor, X[:, :2], X[:, :3], "eval_set y must have 2 outputs as y has, got 3"),
        (MLPClassifier, LABELS, LABELS[:, 0], "eval_set y must be of the kind of y, multilabel"),
        (MLPClassifier, y, LABELS, "eval_set y must be of the kind of y, multiclass"),
        (MLPClassifier, LABELS, LABELS[:, :2].repeat(2, axis=1), "eval_set has classes"),
    ],
)
def test_other_outputs_are_refused_before_the_first_epoch(kind, target, other, message):
    seen = []
    model = kind(**SMALL, early_stopping=True, callbacks=[seen.append])
    with pytest.raises(ValueError, match=message):
        model.fit(X, target, eval_set=(X, other))
    assert not seen


class NaNScores:
    """Scores of one epoch after the other, as if predictions had overflowed in some."""

    def __init__(self, scores):
        self.scores = iter(scores)

    def __call__(self, X, y, sample_weight=None):
        return next(self.scores)


@pytest.mark.parametrize("settings", [{"early_stopping": True}, {"restore_best_weights": True}])
def test_a_score_that_is_nan_is_never_the_best(settings):
    kept = []
    model = MLPRegressor(**SMALL, **settings)
    model.set_params(callbacks=[lambda _: kept.append(parameters_of(model))])
    model._score = NaNScores([0.1, 0.3, 0.2, np.nan, 0.9])
    with pytest.warns(ConvergenceWarning, match="diverged in epoch 4.*best epoch are restored"):
        model.fit(X, REAL, eval_set=(X, REAL))
    np.testing.assert_array_equal(parameters_of(model), kept[1])
    assert model.best_validation_score_ == 0.3
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_scores_) == 4
    model._score = NaNScores([np.nan])
    with pytest.raises(ValueError, match="Solver produced non-finite"):
        model.fit(X, REAL, eval_set=(X, REAL))
    plain = MLPRegressor(**SMALL)  # which gives nothing back
    plain._score = NaNScores([np.nan, 0.1, np.nan, 0.2, 0.1])
    plain.fit(X, REAL, eval_set=(X, REAL))
    assert plain.best_validation_score_ == 0.2


@pytest.mark.parametrize("settings", [{"early_stopping": True}, {"restore_best_weights": True}])
def test_scores_of_minus_infinity_leave_the_last_weights(settings):
    model = MLPRegressor(**SMALL, **settings)
    model._score = NaNScores([-np.inf] * 5)
    model.fit(X, REAL, eval_set=(X, REAL))
    np.testing.assert_array_equal(
        parameters_of(model), parameters_of(MLPRegressor(**SMALL).fit(X, REAL))
    )


# Divergence ---------------------------------------------------------------------------------------

DIVERGING = {
    "activation": "identity", "solver": "sgd", "learning_rate_init": 1, "random_state": 0,
    "max_iter": 40,
}  # fmt: skip


@pytest.mark.parametrize("settings", [{"early_stopping": True}, {"restore_best_weights": True}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit_that_diverges_gives_back_its_best_epoch(settings, dtype):
    model = MLPRegressor(**DIVERGING, **settings, dtype=dtype)
    with pytest.warns(ConvergenceWarning, match=r"diverged in epoch \d+.*are restored"):
        model.fit(10 * X, REAL, eval_set=(10 * X, REAL))
    n = model.n_iter_
    assert 1 < n < 40
    assert n == len(model.loss_curve_) == len(model.validation_scores_)
    assert np.isnan(model.validation_scores_[-1])
    assert model.best_validation_score_ == np.nanmax(model.validation_scores_)
    assert model.score(10 * X, REAL) == pytest.approx(model.best_validation_score_)


def test_a_divergence_that_a_callback_sees_to_is_recorded():
    stopping = callbacks.EarlyStopping(monitor="train_loss", restore_best=True)
    model = MLPRegressor(**DIVERGING, early_stopping=True, callbacks=[stopping])
    with pytest.warns(RuntimeWarning, match="Training diverged"):
        model.fit(10 * X, REAL)
    assert np.isnan(model.validation_scores_[-1])
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_scores_)


def test_a_pass_that_diverges_stops_early():
    model = MLPRegressor(**DIVERGING, early_stopping=True).set_params(learning_rate_init=1e-3)
    model.partial_fit(X, REAL)
    best = parameters_of(model)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model.partial_fit(X * 1e200, REAL, eval_set=(X, REAL))
    assert model.stopped_
    np.testing.assert_array_equal(parameters_of(model), best)


def test_divergence_is_an_error_where_no_epoch_is_finite():
    for settings in ({}, {"early_stopping": True}, {"restore_best_weights": True}):
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            MLPRegressor(**DIVERGING, **settings).fit(X * 1e200, REAL)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        MLPRegressor(**DIVERGING).partial_fit(X * 1e200, REAL)


# Class weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_class_weights_of_chunks_without_a_class(solver):
    weights = {2: 9.0, 0: 0.5}
    chunks = [y < 2, y != 0, y == 2, y == 1, y == 0]
    models = [MLPClassifier((5,), solver=solver, random_state=0, class_weight=w)
              for w in (weights, None)]  # fmt: skip
    for rows in chunks:
        each = np.array([weights.get(label, 1.0) for label in y[rows]])
        models[0].partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        models[1].partial_fit(X[rows], y[rows], each, classes=[0, 1, 2])
        np.testing.assert_array_equal(*map(parameters_of, models))


def test_class_weights_by_name_and_by_label():
    names = np.array(["a", "b", "c"])[y]
    by_name = MLPClassifier(**SMALL, class_weight={"c": 4.0})
    by_name.partial_fit(X, names, classes=["a", "b", "c"]).partial_fit(X[y == 0], names[y == 0])
    labels = MLPClassifier(**SMALL, class_weight=[{1: 3.0}, {0: 0.5, 1: 2.0}, {}])
    labels.partial_fit(X, LABELS, classes=range(3))
    zeros = np.zeros_like(LABELS[:3])
    labels.partial_fit(X[:3], zeros)  # no label there
    each = np.where(LABELS[:, 0], 3.0, 1.0) * np.where(LABELS[:, 1], 2.0, 0.5)
    same = MLPClassifier(**SMALL)
    same.partial_fit(X, LABELS, each, classes=range(3)).partial_fit(X[:3], zeros, [0.5] * 3)
    np.testing.assert_array_equal(parameters_of(labels), parameters_of(same))


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_no_weight_no_step(solver):
    model = MLPClassifier(**SMALL, solver=solver, class_weight={0: 0.0, 1: 0.0, 2: 0.0})
    with pytest.warns(UserWarning, match="weigh 0: no step is taken"):
        model.fit(X, y)
    initial = parameters_of(model)
    assert model.predict(X).shape == (200,)
    model.set_params(class_weight={0: 0.0})
    if solver != "lbfgs":
        for rows in (y == 0, y == 0):
            before = parameters_of(model)
            model.partial_fit(X[rows], y[rows])
            np.testing.assert_array_equal(parameters_of(model), before)
    model.set_params(warm_start=True).fit(X, y)
    assert not np.array_equal(parameters_of(model), initial)


def test_the_parts_of_early_stopping_may_weigh_nothing():
    initial = parameters_of(MLPRegressor(**SMALL, learning_rate_init=1e-300).fit(X, REAL))
    seen = set()
    for row in range(40):  # in the part that trains, or the one that is held out
        weights = np.zeros(200)
        weights[row] = 1
        model = MLPRegressor(**SMALL, early_stopping=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, REAL, weights)
        has_stepped = not np.array_equal(parameters_of(model), initial)
        assert len(model.validation_scores_) == model.n_iter_ == 5 * has_stepped
        seen.add((has_stepped, str(caught[-1].message)[:30]))
    assert seen == {
        (True, "Stochastic Optimizer: Maximum "),
        (False, "All rows to train on weigh 0: "),
    }
    stream = MLPClassifier(**SMALL, early_stopping=True, class_weight={0: 0.0})
    for rows in (y == 0, y < 3, y == 0):
        stream.partial_fit(X[rows], y[rows], classes=range(3))
    assert len(stream.validation_scores_) == 1


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ([1, 2], r"class_weight must be a mapping from classes to weights.*got \[1, 2\]"),
        ([{0: 1.0}], "class_weight must be a mapping from classes"),
        ([], "class_weight must be a mapping from classes"),
        ({0: np.nan}, r"class_weight\[0\] must be a finite float64 number of at least 0, got nan"),
        ({1: np.inf}, r"class_weight\[1\] must be a finite"),
        ({1: -1.0}, r"class_weight\[1\] must be a finite"),
        ({1: "heavy"}, r"class_weight\[1\] must be a finite"),
        ({1: None}, r"class_weight\[1\] must be a finite"),
        ({7: 1.0}, r"class_weight must name classes among \[0, 1, 2\], got 7"),
        ({"0": 1.0}, r"class_weight must name classes among \[0, 1, 2\], got '0'"),
        (b"abc", "The 'class_weight' parameter of MLPClassifier must be"),
        ("heavy", "The 'class_weight' parameter of MLPClassifier must be"),
        ({0: 5e-324, 1: 5e-324, 2: 5e-324}, "alpha divided by the mean weight must be a finite"),
    ],
)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_class_weights_that_are_none(class_weight, message, solver):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL, solver=solver, class_weight=class_weight).fit(X, y)


UNFIT = [{0: 1.0}, [{0: 1.0}], [{}, {}, {2: 1.0, 0: 1.0}], [1, 2, 3]]


@pytest.mark.parametrize("class_weight", UNFIT)
def test_class_weights_of_labels_that_are_none(class_weight):
    with pytest.raises(ValueError, match="class_weight must"):
        MLPClassifier(**SMALL, class_weight=class_weight).fit(X, LABELS)


@pytest.mark.parametrize("scale", [1e-300, 5e-324, 1e-30, 1e300])
def test_only_ratios_of_weights_matter_without_alpha(scale):
    weights = GENERATOR.integers(1, 4, 200).astype(float)
    for solver in ("adam", "sgd", "lbfgs"):
        one, other = (
            MLPClassifier(**SMALL, solver=solver, alpha=0).fit(X, y, w)
            for w in (weights, weights * scale)
        )
        np.testing.assert_allclose(parameters_of(other), parameters_of(one), rtol=1e-9)


# Rates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power_t", [100, 200, 200.0, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_rate_that_underflows_is_0(power_t, dtype):
    settings = SMALL | {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0}
    model = MLPRegressor(**settings, power_t=power_t).fit(X.astype(dtype), REAL)
    assert model.n_iter_ == 5
    assert max(model.trainer_.history.learning_rate[1:]) < 1e-37
    once = MLPRegressor(**(settings | {"max_iter": 1})).fit(X.astype(dtype), REAL)
    np.testing.assert_allclose(parameters_of(model), parameters_of(once), rtol=1e-6)
    pickle.loads(pickle.dumps(model)).partial_fit(X, REAL)


def test_settings_that_underflow_in_float32(tmp_path):
    data = X.astype(np.float32)
    model = MLPClassifier(**SMALL, learning_rate_init=1e-60, alpha=1e-60).fit(data, y)
    fastbp.save(model.trainer_, tmp_path / "model")
    MLPClassifier(**SMALL, learning_rate=lambda epoch: 0.1**epoch * 1e-44).fit(data, y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate_init": 1e39}, "learning_rate_init must be a finite float32 number"),
        ({"alpha": 1e39}, "alpha divided by the mean weight must be a finite float32 number"),
        ({"learning_rate": lambda e: 10.0 ** (38 + e)}, r"learning_rate\(1\) must be a finite"),
    ],
)
def test_settings_that_overflow_in_float32(settings, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL, **settings).fit(X.astype(np.float32) * 1e-30, y)


# Parameters that are set on a fitted model --------------------------------------------------------

OTHERS = [
    {"loss": "poisson"}, {"loss": "huber"}, {"activation": "tanh"}, {"activation": ["gelu"]},
    {"hidden_layer_sizes": 7}, {"hidden_layer_sizes": (5, 5)}, {"hidden_layer_sizes": ()},
    {"dtype": "float32"}, {"solver": "lbfgs"}, {"optimizer": "rmsprop"}, {"dropout": 0.5},
    {"learning_rate_init": 1.0}, {"early_stopping": True}, {"batch_size": 3},
    {"activation": "none of them"},
]  # fmt: skip


@pytest.mark.parametrize("others", OTHERS, ids=str)
def test_a_fitted_model_stays_as_it_was_fitted(others):
    model = MLPRegressor(**SMALL).fit(X, REAL)
    trainer, before = model.trainer_, model.predict(X)
    moments = trainer.optimizer_state.moments.copy()
    model.set_params(**others)
    for one in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(one.predict(X), before)
        assert len(one.trainer_.history) == 5
        np.testing.assert_array_equal(one.trainer_.optimizer_state.moments, moments)
    np.testing.assert_allclose(model.to_sklearn().predict(X), before, rtol=1e-9)
    assert model.trainer_ is trainer


@pytest.mark.parametrize("fit", ["partial_fit", "warm_start"])
@pytest.mark.parametrize(
    ("others", "old", "new"),
    [
        ({"hidden_layer_sizes": 7}, "(5,)", "(7,)"),
        ({"hidden_layer_sizes": [5, 6]}, "(5,)", "(5, 6)"),
        ({"hidden_layer_sizes": ()}, "(5,)", "()"),
        ({"activation": "tanh"}, "('relu',)", "('tanh',)"),
        ({"activation": ["logistic"]}, "('relu',)", "('sigmoid',)"),
        ({"loss": "poisson"}, "squared_error", "poisson"),
        ({"loss": "huber"}, "squared_error", "huber"),
        ({"dtype": "float32"}, "float64", "float32"),
    ],
)
def test_another_network_cannot_go_on(fit, others, old, new):
    model = MLPRegressor(**SMALL).fit(X, REAL)
    before = parameters_of(model)
    again = model.partial_fit if fit == "partial_fit" else model.fit
    model.set_params(**others, warm_start=True)
    message = f"{next(iter(others))} must be {old} again where warm_start or partial_fit goes on"
    with pytest.raises(ValueError, match=f"{re.escape(message)}.*got {re.escape(new)}"):
        again(X, REAL)
    np.testing.assert_array_equal(parameters_of(model), before)
    model.set_params(warm_start=False).fit(X, np.abs(REAL))  # anew, they count
    assert new in (
        str(model.trainer_.network.sizes[1:-1]), str(model.trainer_.network.activations[:-1]),
        model.trainer_.network.loss_name, str(model.trainer_.network.dtype),
    )  # fmt: skip


def test_other_outputs_cannot_go_on():
    model = MLPRegressor(**SMALL).fit(X, REAL)
    with pytest.raises(ValueError, match=r"y.shape\[1\] must be 1 again"):
        model.partial_fit(X, X[:, :2])
    assert model.n_outputs_ == 1
    model.partial_fit(X, np.sign(REAL).astype(int))


def test_a_list_of_activations_is_looked_at_before_weights_are_drawn():
    model = MLPClassifier(**SMALL).fit(X, y)
    before = parameters_of(model)
    for activation in (["none"], ["relu", "relu"], [3]):
        with pytest.raises(ValueError, match="activation"):
            model.set_params(activation=activation).fit(X, y)
        np.testing.assert_array_equal(parameters_of(model), before)


def test_what_is_the_same_in_other_words_goes_on():
    model = MLPClassifier(**SMALL, activation="logistic").fit(X, y)
    for others in ({"activation": ["sigmoid"]}, {"hidden_layer_sizes": np.array([5])},
                   {"hidden_layer_sizes": 5, "dtype": np.float64}):  # fmt: skip
        model.set_params(**others).partial_fit(X, y)


def test_assigned_parameters_of_other_shapes_keep_the_kind():
    model = MLPClassifier(**SMALL, activation="tanh").fit(X, y).set_params(activation="relu")
    model.coefs_ = [GENERATOR.normal(size=(5, 9)), GENERATOR.normal(size=(9, 3))]
    model.intercepts_ = [np.zeros(9), np.zeros(3)]
    hidden = np.tanh(X @ model.coefs_[0])
    np.testing.assert_array_equal(model.predict(X), np.argmax(hidden @ model.coefs_[1], axis=1))
    with pytest.raises(ValueError, match=r"hidden_layer_sizes must be \(9,\) again"):
        model.partial_fit(X, y)


# Arguments ----------------------------------------------------------------------------------------


def test_activations_in_an_array():
    names = ["relu", "tanh"]
    models = [
        MLPClassifier((5, 4), activation=given, random_state=0, max_iter=3).fit(X, y)
        for given in (names, tuple(names), np.array(names), np.array(names, object))
    ]
    for model in models:
        model.partial_fit(X, y).set_params(warm_start=True).fit(X, y)
        np.testing.assert_array_equal(model.predict_proba(X), models[0].predict_proba(X))
        pickle.loads(pickle.dumps(model))
        repr(model)


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": {0.1}}, {"dropout": {0.1: 0}}, {"dropout": b"a"}, {"hidden_layer_sizes": {5}},
        {"hidden_layer_sizes": {5: 1}}, {"hidden_layer_sizes": b"ab"}, {"activation": {"relu"}},
        {"activation": {"relu": 1}}, {"activation": b"relu"},
    ],
    ids=str,
)  # fmt: skip
def test_sets_mappings_and_bytes_are_refused(settings):
    name = next(iter(settings))
    with pytest.raises(ValueError, match=f"The '{name}' parameter of MLPClassifier must be"):
        MLPClassifier(**(SMALL | settings)).fit(X, y)


@pytest.mark.parametrize(
    "sizes", [(2.5,), ("5",), (True,), np.array([[5, 5]]), np.array(5), [[5]], [None]]
)
def test_sizes_that_are_no_integers_are_refused(sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes must hold integers, got"):
        MLPClassifier(sizes).fit(X, y)


@pytest.mark.parametrize(
    "name", [np.array("tanh"), np.array(["tanh"]), np.array(["tanh"], object), np.str_("tanh")]
)
def test_an_activation_may_be_an_array(name):
    model = MLPClassifier(**SMALL, activation=name).fit(X, y)
    assert model.trainer_.network.activations == ("tanh", "softmax")


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("scale", [1e-310, 1e-300, 1e-160, 1e-30, 1, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpys_error_settings_change_nothing(solver, scale, dtype):
    with np.errstate(all="ignore"):
        data = (X * scale).astype(dtype)
    for settings in (
        {},
        {"early_stopping": True},
        {"batch_size": 1, "max_iter": 1},
        {"dtype": "float32"},
    ):
        for kind, target in ((MLPClassifier, y), (MLPRegressor, REAL)):
            models = []
            for state in ({}, {"all": "raise"}):
                with np.errstate(**state), contextlib.suppress(ValueError):
                    model = kind(**(SMALL | settings), solver=solver).fit(data, target)
                    model.predict(data)
                    if solver != "lbfgs":
                        model.partial_fit(data, target)
                    models.append(parameters_of(model))
            assert len(models) != 1
            for one in models[1:]:
                np.testing.assert_array_equal(one, models[0])


# Damaged data -------------------------------------------------------------------------------------


def damaged(form, place, number):
    matrix = scipy.sparse.random_array((200, 5), density=0.5, format=form, rng=0)
    if place == "rows of lists":
        matrix.rows[3] = [number] * len(matrix.rows[3])
    else:
        numbers = matrix.coords[1 - (place == "row")] if form == "coo" else getattr(matrix, place)
        numbers[7] = number
    return matrix


class Convertible:
    """Not SciPy's, and wrong."""

    shape, ndim, format, nnz, dtype = (200, 5), 2, "csr", 3, np.dtype(float)

    def tocsr(self):
        return damaged("csr", "indices", 10**8)


@pytest.mark.parametrize(
    "given",
    [
        *(damaged(form, place, number)
          for form, place in (("coo", "row"), ("coo", "col"), ("csr", "indices"),
                              ("csc", "indices"), ("lil", "rows of lists"))
          for number in (10**8, 205, -5)),
        Convertible(),
    ],
)  # fmt: skip
def test_damaged_sparse_matrices_are_refused(given):
    good = scipy.sparse.csr_array(X)
    model = MLPClassifier(**SMALL).fit(good, y)
    for use in (
        lambda: model.predict(given),
        lambda: model.predict_proba(given),
        lambda: MLPClassifier(**SMALL).fit(given, y),
        lambda: MLPClassifier(**SMALL, solver="lbfgs").fit(given, y),
        lambda: MLPClassifier(**SMALL, early_stopping=True).fit(given, y),
        lambda: model.partial_fit(given, y),
        lambda: model.fit(good, y, eval_set=(given, y)),
    ):
        with pytest.raises(ValueError, match="X must be a valid sparse matrix"):
            use()


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
def test_sparse_matrices_of_every_format(form):
    data = np.where(np.abs(X) > 1, X, 0)
    given = scipy.sparse.csr_array(data).asformat(form)
    models = [MLPClassifier(**SMALL).fit(one, y) for one in (data, given)]
    np.testing.assert_allclose(models[1].predict_proba(given), models[0].predict_proba(data))


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_outputs_that_are_nan_are_no_predictions(kind):
    target = y if kind == "MLPClassifier" else REAL
    data = X.astype(np.float32)
    model = getattr(ours, kind)(**SMALL, activation="identity").fit(data, target)
    huge = data.copy()
    # Terms of both signs that overflow.
    huge[[3, 7]] = 3e38 * np.sign(model.coefs_[0][:, 0])
    model.coefs_[0][:, 1] = -1e3 * np.sign(model.coefs_[0][:, 0])
    model.coefs_[0][:, 0] = 1e3 * np.sign(model.coefs_[0][:, 0])
    model.coefs_[1][:2] = 1
    for use in (model.predict, lambda X: model.score(X, target),
                *([model.predict_proba] if kind == "MLPClassifier" else [])):  # fmt: skip
        with pytest.raises(ValueError, match="outputs must be finite, got nan for row 3 of X"):
            use(huge)
    model.predict(data)
    model.coefs_[1][...] = np.nan
    with pytest.raises(ValueError, match="must be finite, got NaN or infinity in layer 2"):
        model.predict(data)
    assert np.isnan(model._score(data, target))


def test_scikit_learn_fits_what_ours_does_with_a_large_alpha():
    settings = SMALL | {"solver": "sgd", "batch_size": 1, "alpha": 100, "learning_rate_init": 0.01}
    for module in (ours, theirs):
        module.MLPClassifier(**settings).fit(X, y)


@pytest.mark.parametrize("kind", ["two", "text", "labels"])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_score_of_an_epoch_is_scikit_learns_accuracy(kind, is_weighted):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(90, 4))
    y = {
        "two": np.repeat([3, 5], 45),
        "text": np.repeat(["a", "bb", "c"], 30),
        "labels": generator.integers(0, 2, (90, 3)),
    }[kind]
    weights = generator.random(90) if is_weighted else None
    model = MLPClassifier((4,), random_state=0, max_iter=2).fit(X, y)
    score = model._score(X, y, weights)
    assert score == accuracy_score(y, model.predict(X), sample_weight=weights)
    assert type(score) is float
