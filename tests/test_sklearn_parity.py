"""fastbp.sklearn against scikit-learn's own estimators: the same models, records, words."""

import contextlib
import functools
import io
import sys
import warnings

import numpy as np
import pytest
import sklearn.neural_network as theirs
from scipy.sparse import csc_matrix, csr_array
from sklearn import datasets
from sklearn.datasets import load_breast_cancer, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

import fastbp.sklearn as ours

RECORDS = ["loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"]
RECORDS += ["n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"]
RECORDS += ["classes_"]
DIGITS = load_digits(return_X_y=True)
X, y = DIGITS[0][:330] / 16, DIGITS[1][:330]
CANCER = load_breast_cancer(return_X_y=True)
BINARY = (CANCER[0] - CANCER[0].mean(axis=0)) / CANCER[0].std(axis=0), CANCER[1]
MULTILABEL = make_multilabel_classification(250, 12, n_classes=4, random_state=0)
GENERATOR = np.random.default_rng(0)
REGRESSION = X, X @ GENERATOR.normal(size=(64, 2)) + GENERATOR.normal(size=(330, 2))
COUNTS = X, GENERATOR.poisson(np.exp(X[:, :20].mean(axis=1)))
WEIGHTS = GENERATOR.uniform(0.1, 2, 600)


def outcome(estimator, fit):
    """What comes of a fit: the estimator, what it warned of and printed, or its error."""
    printed = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        try:
            fit(estimator)
        except Exception as error:  # whatever it is, both must raise the same
            return None, (type(error), str(error))
    return estimator, [(w.category, str(w.message)) for w in caught], printed.getvalue()


def assert_same_model(mine, reference, rtol=1e-7):
    pairs = zip(
        mine.coefs_ + mine.intercepts_, reference.coefs_ + reference.intercepts_, strict=True
    )
    for a, b in pairs:
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-300)


def assert_same(kind, fit, rtol=1e-7, loss_rtol=1e-9, **parameters):
    """The same fit, by both."""
    parameters = {"random_state": 1, "max_iter": 5} | parameters
    mine, *mine_said = outcome(getattr(ours, kind)(**parameters), fit)
    reference, *reference_said = outcome(getattr(theirs, kind)(**parameters), fit)
    assert mine_said == reference_said
    if reference is None:
        assert mine is None
        return
    assert_same_model(mine, reference, rtol)
    for name in RECORDS:
        assert hasattr(mine, name) == hasattr(reference, name), name
        a, b = getattr(mine, name, None), getattr(reference, name, None)
        if b is None or isinstance(b, str):
            assert a == b, name
        elif name == "classes_":
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=loss_rtol, err_msg=name)


RULES = [
    {"solver": "adam"},
    {"solver": "adam", "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-4},
    *(
        {"solver": "sgd", "learning_rate": schedule, "learning_rate_init": 0.01, **momentum}
        for schedule in ("constant", "invscaling", "adaptive")
        for momentum in (
            {"momentum": 0},
            {"momentum": 0.5, "nesterovs_momentum": False},
            {"momentum": 0.9},
        )
    ),
]


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
def test_every_rule_batch_size_and_alpha(rule, activation):
    """Without shuffling; the last batch of a pass is smaller, and has a penalty of its own."""
    # Ten times n_iter_no_change is never reached: adaptive rates fall.
    falls = {"tol": 0.5, "n_iter_no_change": 1} if rule.get("learning_rate") == "adaptive" else {}
    for batch_size, rows in (("auto", 330), (37, 330), (1, 40)):
        for alpha in (0, 1e-4, 1.0):
            # The penalties of as many steps as samples are sampled.
            loss_rtol = 0.05 if batch_size == 1 else 1e-9
            assert_same(
                "MLPClassifier",
                lambda e, rows=rows: e.fit(X[:rows], y[:rows]),
                loss_rtol=loss_rtol,
                hidden_layer_sizes=(20, 11),
                activation=activation,
                batch_size=batch_size,
                alpha=alpha,
                shuffle=False,
                **rule,
                **falls,
            )


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("form", [csr_array, csc_matrix, np.asfortranarray])
def test_sparse_and_dense(solver, form):
    for batch_size in (64, 1):
        assert_same(
            "MLPClassifier",
            lambda e: e.fit(form(X[:130]), y[:130]),
            loss_rtol=1e-3 if batch_size == 1 else 1e-9,
            solver=solver,
            batch_size=batch_size,
        )


def test_loss_curve_of_single_samples_is_close():
    assert_same("MLPClassifier", lambda e: e.fit(X, y), loss_rtol=1e-3, batch_size=1, alpha=0.01)


PROBLEMS = {
    "classes": ("MLPClassifier", (X, y)),
    "binary": ("MLPClassifier", BINARY),
    "text": ("MLPClassifier", (BINARY[0], np.array(["no", "yes"])[BINARY[1]])),
    "labels": ("MLPClassifier", MULTILABEL),
    "regression": ("MLPRegressor", (X, REGRESSION[1][:, 0])),
    "column": ("MLPRegressor", (X, REGRESSION[1][:, :1])),
    "outputs": ("MLPRegressor", REGRESSION),
    "counts": ("MLPRegressor", COUNTS),
}


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_shuffled_weighted_stopped(problem, solver):
    kind, (data, target) = PROBLEMS[problem]
    weights = WEIGHTS[: len(data)]
    settings = {"solver": solver} | ({"loss": "poisson"} if problem == "counts" else {})
    assert_same(kind, lambda e: e.fit(data, target), verbose=True, **settings)
    assert_same(kind, lambda e: e.fit(data, target, weights), **settings)
    stops = {"tol": 0.9, "n_iter_no_change": 2, "max_iter": 20, "verbose": True}
    early = settings | stops | {"early_stopping": True}
    assert_same(kind, lambda e: e.fit(data, target), **early)
    assert_same(kind, lambda e: e.fit(data, target), **(settings | stops | {"tol": 1e4}))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_lbfgs(problem):
    kind, (data, target) = PROBLEMS[problem]
    settings = {"loss": "poisson"} if problem == "counts" else {}
    weights = WEIGHTS[: len(data)]
    for fit in (lambda e: e.fit(data, target), lambda e: e.fit(data, target, weights)):
        # Few iterations: searches along a line magnify rounding.
        assert_same(kind, fit, rtol=1e-2, loss_rtol=1e-6, solver="lbfgs", **settings)


def test_lbfgs_minimises_what_its_gradient_belongs_to():
    """scikit-learn's loss of several outputs does not (its issue 8349)."""
    reports = []
    for module in (ours, theirs):
        model = module.MLPRegressor(
            hidden_layer_sizes=20,
            activation="tanh",
            solver="lbfgs",
            random_state=0,
            max_iter=1000,
            tol=1e-6,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(*REGRESSION)
        reports.append(model.loss_)
    assert reports[0] <= reports[1]


def by_parts(classes=None):
    def fit(estimator):
        for start in (0, 100, 200):
            rows = slice(start, start + 130)
            named = {"classes": classes} if classes is not None and start == 0 else {}
            estimator.partial_fit(X[rows], y[rows], **named)

    return fit


def after_fit(estimator):
    estimator.fit(X, y).set_params(alpha=1.0)
    estimator.partial_fit(X[:50], y[:50]).partial_fit(X[:250], y[:250])


def twice(estimator):
    estimator.fit(X, y).set_params(max_iter=2, learning_rate_init=0.1).fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_calls_in_a_row(solver):
    kind = "MLPClassifier"
    assert_same(kind, by_parts(range(10)), solver=solver)
    assert_same(kind, after_fit, solver=solver, learning_rate="invscaling")
    assert_same(kind, twice, solver=solver)
    assert_same(kind, twice, solver=solver, warm_start=True)
    assert_same("MLPRegressor", by_parts(), solver=solver)


STRAIGHT = {
    "int64": lambda y: y,
    "int8": lambda y: y.astype(np.int8),
    "uint16": lambda y: y.astype(np.uint16),
    "float": lambda y: y.astype(float),
    "texts": lambda y: y.astype(str),
    "longer texts": lambda y: np.array([f"a class {label}" for label in y]),
    "objects": lambda y: y.astype(str).astype(object),
    "list": list,
    "column": lambda y: y.reshape(-1, 1),
    "strided": lambda y: np.repeat(y, 2)[::2],
    "two classes": lambda y: y % 2,
    "truth values": lambda y: y % 2 == 1,
    "two numbers": lambda y: np.where(y % 2 == 1, 7, -3),
    "two texts": lambda y: np.where(y % 2 == 1, "yes", "no"),
    "one class": lambda y: y * 0,
}


@pytest.mark.parametrize("labels", STRAIGHT)
@pytest.mark.parametrize("later", STRAIGHT)
@pytest.mark.filterwarnings("ignore:.*elementwise comparison.*")
def test_labels_of_every_kind_go_on(labels, later):
    """With labels of the same kind, or of another one that may be refused."""

    def fit(estimator):
        first, then = STRAIGHT[labels](y[:40]), STRAIGHT[later](y[40:60])
        estimator.fit(X[:40], first)
        for rows in (slice(1), slice(1, 2), slice(2, 20)):
            estimator.partial_fit(X[40:60][rows], then[rows])

    assert_same("MLPClassifier", fit, hidden_layer_sizes=(4,))


def infinite(X):
    X = X.copy()
    X[0, 0] = np.inf
    return X


ODD_ROWS = {
    "as it is": lambda X, y: (X, y),
    "another class": lambda X, y: (X, y + 5),
    "no class": lambda X, y: (X, y - 1),
    "a row too many": lambda X, y: (X, y[:-1]),
    "a label too many": lambda X, y: (X[:-1], y),
    "no rows": lambda X, y: (X[:0], y[:0]),
    "columns": lambda X, y: (X[:, :-1], y),
    "a vector": lambda X, y: (X[0], y[:1]),
    "NaN": lambda X, y: (X * np.nan, y),
    "infinity": lambda X, y: (infinite(X), y),
    "numbers of no class": lambda X, y: (X, y + 0.5),
    "NaN as labels": lambda X, y: (X, y * np.nan),
    "integers": lambda X, y: ((X * 16).astype(int), y),
    "lists": lambda X, y: (X.tolist(), y.tolist()),
    "sparse": lambda X, y: (csr_array(X), y),
    "reversed bytes": lambda X, y: (X.astype(X.dtype.newbyteorder()), y.astype(">i4")),
    "Fortran": lambda X, y: (np.asfortranarray(X), y),
    "every second": lambda X, y: (np.repeat(X, 2, axis=0)[::2], y),
    "a cube": lambda X, y: (X[np.newaxis], y),
    "None": lambda X, y: (X, None),
    "a matrix": lambda X, y: (np.ma.array(X), np.ma.array(y)),
    "complex": lambda X, y: (X, y + 1j),
}
ODD_LABELS = {
    "rows of targets": lambda X, y: (X, np.eye(3, dtype=int)[y]),
    "dates": lambda X, y: (X, y.astype("datetime64[s]")),
    "texts": lambda X, y: (X, y.astype(str)),
}
CASES = [
    *(("MLPRegressor", odd) for odd in ODD_ROWS),
    *(("MLPClassifier", odd) for odd in ODD_ROWS | ODD_LABELS),
]


@pytest.mark.parametrize(("kind", "odd"), CASES)
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("n", [1, 30])
def test_odd_rows_go_on_or_are_refused(kind, odd, warm_start, n):
    def fit(estimator):
        estimator.fit(X[:40], y[:40] % 3)
        estimator.partial_fit(*(ODD_ROWS | ODD_LABELS)[odd](X[:n], y[:n] % 3))

    assert_same(kind, fit, hidden_layer_sizes=(4,), warm_start=warm_start)


@pytest.mark.parametrize("second", [0, 3, np.int64(3), True, None, "a generator"])
@pytest.mark.parametrize("first", [1, "a generator"])
def test_random_states_of_calls_in_a_row(first, second):
    """A generator of the caller's goes on where it was, and an integer begins anew."""
    generators = []

    def fit(estimator):
        np.random.seed(5)  # noqa: NPY002  # what random_state=None draws from
        shared = np.random.RandomState(7)
        generators.append(shared)
        states = [shared if given == "a generator" else given for given in (first, second, first)]
        for state in states:
            estimator.set_params(random_state=state)
            estimator.partial_fit(X[:60], y[:60], classes=range(10))

    assert_same("MLPClassifier", fit, batch_size=7, hidden_layer_sizes=(4,))
    mine, reference = (shared.uniform() for shared in generators)
    assert mine == reference


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_out_of_range_are_refused_in_the_same_words(seed):
    def fit(estimator):
        estimator.fit(X[:9], y[:9]).set_params(random_state=seed).partial_fit(X[:9], y[:9])

    assert_same("MLPClassifier", fit)


def calls_of_scikit_learn(work):
    """How many of its functions are called."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        count += event == "call" and package == "sklearn"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("call", ["partial_fit", "predict"])
@pytest.mark.parametrize("labels", [y[:40], (y[:40] % 2).astype(str)])
def test_what_has_been_checked_once_is_not_checked_again(labels, call):
    """One row takes few of scikit-learn's checks, which take longer than the network."""
    counts = []
    for module in (ours, theirs):
        model = module.MLPClassifier(hidden_layer_sizes=(4,), random_state=0)
        model.partial_fit(X[:40], labels, classes=np.unique(labels))
        arguments = (X[:1], labels[:1]) if call == "partial_fit" else (X[:1],)
        step = functools.partial(getattr(model, call), *arguments)
        step()
        counts.append(calls_of_scikit_learn(step))
    assert counts[0] < counts[1] / 4


@pytest.mark.parametrize("labels", [*STRAIGHT, "rows of targets"])
def test_predictions_are_labels_of_every_kind(labels):
    given = (STRAIGHT | {"rows of targets": lambda y: np.eye(10, dtype=int)[y]})[labels](y)
    models = [
        module.MLPClassifier(hidden_layer_sizes=(9,), solver="lbfgs", max_iter=60, random_state=0)
        for module in (ours, theirs)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        mine, reference = (model.fit(X, given).predict(X) for model in models)
    assert mine.dtype == reference.dtype
    assert mine.shape == reference.shape
    assert (mine == reference).mean() > 0.97
    assert models[0].score(X, given) > 0.8
    few, alone = mine[:3], models[0].predict(X[:1])
    np.testing.assert_array_equal(models[0].predict(X[:3]), few)
    np.testing.assert_array_equal(alone, few[:1])


UNWANTED = [
    lambda e: by_parts()(e),  # no classes
    lambda e: e.fit(X, y).partial_fit(X, y + 1),
    lambda e: e.fit(X[:5], y[:5]),
    lambda e: e.fit(X, y).fit(X[y < 5], y[y < 5]),
    lambda e: e.fit(X, y).predict(X[:, :3]),
    lambda e: e.predict(X),
    lambda e: e.fit(X, np.zeros(330)).predict(X),
    lambda e: e.fit(X, y, WEIGHTS),
    lambda e: e.fit(np.where(X > 0.9, np.nan, X), y),
    lambda e: e.set_params(alpha=-1).fit(X, y),
    lambda e: e.set_params(solver="newton").fit(X, y),
    lambda e: e.set_params(hidden_layer_sizes=(3, 0)).fit(X, y),
    lambda e: e.set_params(hidden_layer_sizes=()).fit(X, y),
    lambda e: e.set_params(batch_size=1000).fit(X, y),
    lambda e: e.set_params(solver="lbfgs").partial_fit(X, y, classes=range(10)),
    lambda e: e.set_params(early_stopping=True, validation_fraction=0.001).fit(X, y),
    lambda e: e.set_params(alpha=1e4, n_iter_no_change=np.inf).fit(X, y),
    lambda e: e.set_params(solver="sgd", momentum=1).fit(X, y),
    lambda e: e.set_params(random_state=np.random.RandomState(3)).fit(X, y),
]


@pytest.mark.parametrize("fit", UNWANTED)
@pytest.mark.parametrize("warm_start", [False, True])
def test_errors_warnings_and_borders(fit, warm_start):
    assert_same("MLPClassifier", fit, warm_start=warm_start)


def test_divergence_is_told_in_their_words():
    def fit(estimator):
        estimator.fit(REGRESSION[0] * 1e10, REGRESSION[1] * 1e200)

    words = [outcome(m.MLPRegressor(solver="sgd"), fit)[1] for m in (ours, theirs)]
    assert words[0] == words[1]
    assert words[0][0] is ValueError


def test_float32_stays_float32():
    model = ours.MLPClassifier(max_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X.astype(np.float32), y)
    assert model.coefs_[0].dtype == model.predict_proba(X).dtype == np.float32
    assert_same("MLPClassifier", lambda e: e.fit(X.astype(np.float32), y), rtol=0.1, loss_rtol=1e-4)


# Unscaled data, to the stop -----------------------------------------------------------------------

SETS = {name: getattr(datasets, f"load_{name}")(return_X_y=True) for name in (
    "iris", "wine", "digits", "breast_cancer", "diabetes", "linnerud"
)}  # fmt: skip
WHOLE_FITS = [
    {},
    {"solver": "sgd"},
    {"solver": "sgd", "momentum": 0, "learning_rate": "adaptive"},
    {"early_stopping": True},
]


def both_fitted(kind, data, target, **parameters):
    """Scikit-learn's and ours; of scikit-learn's threads, more would wait for each other."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return [
            getattr(module, kind)(random_state=0, **parameters).fit(data, target)
            for module in (theirs, ours)
        ]


def of_set(name, dtype):
    data, target = SETS[name]
    if name in ("diabetes", "linnerud"):
        return "MLPRegressor", data.astype(dtype), target.astype(dtype)
    return "MLPClassifier", data.astype(dtype), target


@pytest.mark.parametrize("settings", WHOLE_FITS, ids=str)
@pytest.mark.parametrize("name", SETS)
def test_unscaled_data_to_the_stop(name, settings):
    """With losses of probabilities that are 0 and 1."""
    reference, mine = both_fitted(*of_set(name, np.float64), **settings)
    assert mine.n_iter_ == reference.n_iter_
    assert type(mine.loss_) is type(reference.loss_)
    for record in ("loss_curve_", "validation_scores_", "best_loss_", "best_validation_score_"):
        a, b = getattr(mine, record), getattr(reference, record)
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-9, err_msg=record)


@pytest.mark.parametrize("settings", WHOLE_FITS, ids=str)
@pytest.mark.parametrize("name", SETS)
def test_unscaled_float32_begins_alike(name, settings):
    """Later, rounding parts them: a pair of epochs within tol may count once more or less."""
    reference, mine = both_fitted(*of_set(name, np.float32), **settings)
    assert type(mine.loss_) is type(reference.loss_)
    assert mine.loss_curve_[0] == pytest.approx(reference.loss_curve_[0], rel=1e-5)
    np.testing.assert_allclose(mine.loss_curve_[:10], reference.loss_curve_[:10], rtol=1e-3)
    assert mine.n_iter_ == pytest.approx(reference.n_iter_, rel=0.1)


@pytest.mark.parametrize("name", [name for name in SETS if name != "linnerud"])
def test_lbfgs_of_unscaled_data(name):
    """But for several outputs: `test_lbfgs_minimises_what_its_gradient_belongs_to`."""
    reference, mine = both_fitted(*of_set(name, np.float64), solver="lbfgs", max_iter=15)
    assert mine.n_iter_ == reference.n_iter_
    assert mine.loss_ == pytest.approx(reference.loss_, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_probabilities_that_are_0(dtype):
    kind, data, target = of_set("wine", dtype)
    huge = np.c_[data, np.full(len(data), 1e6, dtype)]
    for given in (data, huge):
        reference, mine = both_fitted(kind, given, target)
        assert mine.n_iter_ == reference.n_iter_
        np.testing.assert_allclose(mine.loss_curve_[:12], reference.loss_curve_[:12], rtol=1e-4)
    assert mine.n_iter_ == 12
    two_of_three = target < 2  # one logistic output
    reference, mine = both_fitted(kind, huge[two_of_three], target[two_of_three])
    assert mine.n_iter_ == reference.n_iter_
    np.testing.assert_allclose(mine.loss_curve_[:12], reference.loss_curve_[:12], rtol=1e-4)


def test_losses_in_float32_stop_as_theirs():
    """Their steps from one number to the next are larger than tol."""
    data = X.astype(np.float32)
    target = (1e4 * REGRESSION[1][:, 0]).astype(np.float32)
    reference, mine = both_fitted("MLPRegressor", data, target, n_iter_no_change=2, max_iter=20)
    assert type(mine.loss_) is np.float32
    assert mine.n_iter_ == reference.n_iter_


def test_penalties_of_steps_that_turn_signs():
    """The factor 1 − learning_rate_init·alpha of the weights is 0, or below."""
    for momentum in (0, 0.9):
        for alpha in (100, 150):
            reference, mine = both_fitted(
                "MLPClassifier", X[:100], y[:100], solver="sgd", batch_size=1, momentum=momentum,
                alpha=alpha, learning_rate_init=0.01, max_iter=3, hidden_layer_sizes=7,
            )  # fmt: skip
            for a, b in zip(mine.coefs_, reference.coefs_, strict=True):  # all near 0
                np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-16)
            np.testing.assert_allclose(mine.loss_curve_, reference.loss_curve_, rtol=1e-9)
