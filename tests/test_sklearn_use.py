"""fastbp.sklearn where scikit-learn's estimators are used, and what it has beyond them."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import sklearn.neural_network as theirs
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # for its effect
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp
from fastbp import callbacks, optimizers, schedules
from fastbp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = load_digits(return_X_y=True)
X /= 16
HELD_OUT = X[:200], y[:200]
NAMES = [f"pixel {i}" for i in range(64)]


# As scikit-learn has its own checked.
@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def fitted(**settings):
    return MLPClassifier(**({"max_iter": 4, "random_state": 0} | settings)).fit(X, y)


def assert_same(one, other):
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


# In pipelines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_and_names(frame):
    named = frame(dict(zip(NAMES, X.T, strict=True)))
    # Before 1.9, scikit-learn does not see the names in frames of later versions of polars.
    sees = hasattr(StandardScaler().fit(named), "feature_names_in_")
    assert sees or frame is pl.DataFrame
    scaler = StandardScaler().set_output(transform="pandas")
    model = make_pipeline(scaler, MLPClassifier(max_iter=4, random_state=0)).fit(named, y)
    names = NAMES if sees else [f"x{i}" for i in range(64)]
    assert model[-1].feature_names_in_.tolist() == names
    assert model.score(named, y) > 0.5
    direct = MLPClassifier(max_iter=4, random_state=0).fit(named, pd.Series(y))
    np.testing.assert_array_equal(direct.predict_proba(named), fitted().predict_proba(X))
    assert hasattr(direct, "feature_names_in_") == sees
    if not sees:
        return
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        direct.predict(X)


def test_searches_in_processes_and_threads_leave_nothing_behind():
    model = MLPClassifier(max_iter=4, random_state=0)
    grid = {"alpha": [1e-4, 1.0], "optimizer": [None, "rmsprop"]}
    alone = GridSearchCV(model, grid, cv=2).fit(X, y)
    with joblib.parallel_config("threading"):
        threads = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(X, y)
    processes = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(X, y)
    for search in (threads, processes):
        for name in ("mean_test_score", "std_test_score"):
            np.testing.assert_array_equal(search.cv_results_[name], alone.cv_results_[name])
    halving = HalvingGridSearchCV(
        model, {"alpha": [1e-4, 1.0, 10.0]}, cv=2, n_jobs=2, resource="max_iter", max_resources=9
    )
    assert halving.fit(X, y).best_params_["alpha"] < 10


def test_calibration_stacking_and_predictions_of_folds():
    model = MLPClassifier(max_iter=4, random_state=0)
    assert CalibratedClassifierCV(model, cv=2).fit(X, y).score(X, y) > 0.5
    stack = StackingClassifier(
        [("a", model), ("b", clone(model).set_params(activation="tanh"))],
        LogisticRegression(max_iter=1000),
        cv=2,
    )
    assert stack.fit(X, y).score(X, y) > 0.5
    assert cross_val_predict(model, X, y, cv=2, method="predict_proba").shape == (1797, 10)


FORKED = """
import os, sys
import numpy as np
from fastbp.sklearn import MLPRegressor
X = np.random.default_rng(0).normal(size=(2000, 200))
model = MLPRegressor(hidden_layer_sizes=200, max_iter=2, n_jobs=2, random_state=0)
model.fit(X, X[:, 0])
child = os.fork()
if child == 0:
    os._exit(0 if np.isfinite(model.fit(X, X[:, 0]).predict(X)).all() else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_goes_on_training():
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_NUM_THREADS": "2"}, timeout=300, check=False
    )
    assert done.returncode == 0


def test_threads_change_no_bit_and_are_one_beside_others(monkeypatch):
    seen = []
    spied = fastbp.plan.batch_threads

    def spy(layout, batch_size, n_threads, *others):
        seen.append(n_threads)
        return spied(layout, batch_size, n_threads, *others)

    monkeypatch.setattr("fastbp.plan.batch_threads", spy)
    models = [fitted(n_jobs=1), fitted(n_jobs=2), fitted()]
    with joblib.parallel_config("threading"):
        models += joblib.Parallel(n_jobs=2)(joblib.delayed(fitted)() for _ in range(2))
    for model in models[1:]:
        assert_same(models[0], model)
    assert seen[0] == 1
    assert 2 in seen
    assert None in seen
    assert seen[-1] == 1


# Kept and taken elsewhere ------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_copies_go_on_bit_for_bit(solver, tmp_path):
    model = fitted(solver=solver)
    joblib.dump(model, tmp_path / "model.joblib")
    others = [
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        joblib.load(tmp_path / "model.joblib", mmap_mode="r"),
    ]
    model.partial_fit(X, y)
    for other in others:
        other.partial_fit(X, y)
        assert_same(model, other)
        other.coefs_[0][...] = 0  # still views of the network
        assert not other.trainer_.network.weights[0].any()


def test_memory_mapped_data(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_same(MLPClassifier(max_iter=4, random_state=0).fit(mapped, y), fitted())


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_from_and_to_scikit_learn(kind, solver):
    ours, reference = (
        getattr(module, kind)(max_iter=4, random_state=0, solver=solver, learning_rate="invscaling")
        for module in (fastbp.sklearn, theirs)
    )
    taken = type(ours).from_sklearn(reference.fit(X, y))
    np.testing.assert_allclose(taken.predict(X), reference.predict(X), rtol=1e-9)
    assert taken.get_params() == ours.get_params()
    assert taken.n_iter_ == reference.n_iter_
    given = ours.fit(X, y).to_sklearn()
    assert type(given) is type(reference)
    np.testing.assert_allclose(given.predict(X), ours.predict(X), rtol=1e-9)
    before = ours.predict(X)
    for model in (taken, given):
        if solver != "lbfgs":
            model.partial_fit(X, y)
        model.fit(X, y)
    np.testing.assert_array_equal(ours.predict(X), before)


def test_what_cannot_be_exchanged_is_refused():
    with pytest.raises(ValueError, match="estimator must be a sklearn"):
        MLPClassifier.from_sklearn(theirs.MLPRegressor())
    with pytest.raises(NotFittedError):
        MLPClassifier.from_sklearn(theirs.MLPClassifier())
    with pytest.raises(ValueError, match="activation must be one of scikit-learn's"):
        fitted(activation="gelu").to_sklearn()
    with pytest.raises(ValueError, match="loss must be one of scikit-learn's"):
        fitted(loss="huber").to_sklearn()


def test_parameters_that_are_assigned_count():
    model = fitted()
    model.coefs_ = [np.zeros_like(W) for W in model.coefs_]
    model.intercepts_ = [np.zeros_like(b) for b in model.intercepts_]
    np.testing.assert_allclose(model.predict_proba(X[:1]), 0.1)
    assert_same(model, pickle.loads(pickle.dumps(model)))
    model.coefs_[0] = np.ones((64, 100))
    assert model.predict_proba(X[:1]).shape == (1, 10)
    assert (model.trainer_.network.weights[0] == 1).all()


def test_the_trainer_is_given_out(tmp_path):
    model = fitted()
    assert len(model.trainer_.history) == model.n_iter_
    fastbp.save(model.trainer_, tmp_path / "model.safetensors")
    loaded = fastbp.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.network.predict_proba(X), model.predict_proba(X))
    model.trainer_.fit(X, y, epochs=1, progress=False)
    assert len(model.trainer_.history) == model.n_iter_ + 1


# Beyond scikit-learn -----------------------------------------------------------------------------


def test_eval_set_takes_the_place_of_a_share_of_the_rows():
    model = MLPClassifier(max_iter=8, random_state=0, early_stopping=True)
    model.fit(X, y, eval_set=HELD_OUT)
    assert model.t_ == 8 * len(X)
    assert model.best_validation_score_ == max(model.validation_scores_) == model.score(*HELD_OUT)
    plain = MLPClassifier(max_iter=8, random_state=0).fit(X, y, eval_set=HELD_OUT)
    assert plain.validation_scores_ == model.validation_scores_
    assert_same(plain, fitted(max_iter=8))


def test_the_best_weights_are_restored():
    settings = {"random_state": 0, "max_iter": 12, "learning_rate_init": 0.1}
    last = MLPClassifier(**settings).fit(X, y, eval_set=HELD_OUT)
    best = MLPClassifier(restore_best_weights=True, **settings).fit(X, y, eval_set=HELD_OUT)
    assert best.validation_scores_ == last.validation_scores_
    assert best.score(*HELD_OUT) == max(last.validation_scores_) > last.score(*HELD_OUT)
    settings |= {"max_iter": 25, "learning_rate_init": 0.2}
    by_loss = MLPClassifier(restore_best_weights=True, **settings).fit(X, y)
    n = int(np.argmin(by_loss.loss_curve_)) + 1
    assert n < 25
    assert_same(by_loss, MLPClassifier(**(settings | {"max_iter": n})).fit(X, y))


def test_partial_fit_stops_early():
    model = MLPClassifier(early_stopping=True, n_iter_no_change=2, random_state=0)
    for _ in range(100):
        model.partial_fit(X, y, classes=range(10), eval_set=HELD_OUT)
        if model.stopped_:
            break
    scores = model.validation_scores_
    assert 3 < len(scores) < 100
    assert model.score(*HELD_OUT) == max(scores)
    weights = model.coefs_[0].copy()
    model.partial_fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], weights)
    assert not model.set_params(tol=0.5).fit(X, y).stopped_  # but it has stopped before its end
    assert model.n_iter_ < model.max_iter
    for _ in range(2):
        assert not model.partial_fit(X, y).stopped_
    held_out = MLPRegressor(early_stopping=True, random_state=0).partial_fit(X, y)
    assert held_out.t_ == len(X) - 180
    assert len(held_out.validation_scores_) == 1


def test_class_weight_is_sample_weight():
    weights = {0: 5.0, 3: 0.5}
    each = np.array([weights.get(label, 1.0) for label in y])
    by_sample = MLPClassifier(max_iter=4, random_state=0).fit(X, y, each)
    assert_same(fitted(class_weight=weights), by_sample)
    odd = np.where(y == 0, "zero", "other")
    plain, balanced = (
        MLPClassifier(max_iter=2, random_state=0, class_weight=w).fit(X, odd)
        for w in (None, "balanced")
    )
    assert (balanced.predict(X) == "zero").sum() > (plain.predict(X) == "zero").sum()


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "squared_error", "huber"])
def test_losses_of_separate_classes(loss):
    model = fitted(loss=loss, max_iter=30, learning_rate_init=0.01)
    assert model.score(X, y) > 0.9
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert model.trainer_.network.loss_name == loss


def test_other_engines():
    assert fitted(activation=["gelu"]).trainer_.network.activations[0] == "gelu"
    assert fitted(dtype="float32").coefs_[0].dtype == np.float32
    with pytest.raises(ValueError, match="dtype must be one of float32, float64"):
        fitted(dtype="float16")
    schedule = schedules.Cosine(0.01, epochs=4)
    for optimizer in (None, "rmsprop", optimizers.AdamW()):
        model = fitted(learning_rate=schedule, optimizer=optimizer)
        assert model.trainer_.history.learning_rate == [schedule(i) for i in range(4)]
        assert model.score(X, y) > 0.8
    one, other = (fitted(dropout=0.5) for _ in range(2))
    assert_same(one, other)
    assert one.loss_ > fitted().loss_
    huber = MLPRegressor("huber", max_iter=50, random_state=0, learning_rate_init=0.01).fit(X, y)
    assert huber.score(X, y) > 0.8


def test_callbacks_see_the_trainer_and_may_stop():
    seen = []
    stopping = callbacks.EarlyStopping(patience=1, min_delta=1e9)
    model = MLPClassifier(max_iter=9, random_state=0, callbacks=[seen.append, stopping])
    model.fit(X, y, eval_set=HELD_OUT)
    assert seen == [model.trainer_] * 2
    assert model.n_iter_ == 2
    assert model.trainer_.history.eval_loss[0] > 0
    assert clone(model).get_params()["callbacks"] is not None


def test_metadata_is_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPClassifier(max_iter=3, random_state=0).set_fit_request(eval_set=True)
        pipeline = make_pipeline(StandardScaler(), model).fit(X, y, eval_set=HELD_OUT)
    assert len(pipeline[-1].validation_scores_) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (X, "eval_set must be a pair"),
        ((X[:, :3], y), "X has 3 features"),
        ((X[:3], [0, 1, 99]), "eval_set has classes not in `self.classes_`"),
        ((X, y[:3]), "inconsistent numbers of samples"),
    ],
)
def test_eval_sets_that_do_not_fit(given, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(max_iter=1).fit(X, y, eval_set=given)


INTERRUPTED = """
import sys, warnings
import numpy as np
from fastbp.sklearn import MLPRegressor
X = np.random.default_rng(0).normal(size=(2000, 50))
model = MLPRegressor(max_iter=10**7, tol=0, n_iter_no_change=np.inf, random_state=0)
model.set_params(callbacks=[lambda trainer: len(trainer.history) == 5 and print("go", flush=True)])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(X, X[:, 0])
assert [str(w.message) for w in caught] == ["Training interrupted by user."], caught
assert model.n_iter_ == len(model.loss_curve_) >= 5
assert np.isfinite(model.predict(X)).all()
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to another process on Windows")
def test_ctrl_c_leaves_a_fitted_model():
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE) as program:
        program.stdout.readline()
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=300) == 0


def test_scikit_learn_is_asked_for_by_name():
    code = "import sys; sys.modules['sklearn'] = None; import fastbp; import fastbp.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install -e '.[sklearn]'" in done.stderr


def test_warnings_are_scikit_learns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning, match=r"Maximum iterations \(4\) reached"):
            fitted()


@pytest.mark.parametrize("kind", ["float64", "float32", "list", "fortran"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_refused_in_scikit_learns_words(kind, value):
    given = X[:300].copy()
    given[270, 5] = value
    given = {
        "float64": given,
        "float32": given.astype(np.float32),
        "list": given.tolist(),
        "fortran": np.asfortranarray(given),
    }[kind]
    refusals = []
    for module in (theirs, fastbp.sklearn):
        mlp = module.MLPClassifier(max_iter=1, random_state=0).fit(X[:100], y[:100])
        with pytest.raises(ValueError, match="Input X contains") as refusal:
            mlp.predict(given)
        refusals.append(str(refusal.value))
    assert refusals[0] == refusals[1]


def test_assume_finite_holds_for_predictions():
    given = X[:5].copy()
    given[2, 5] = np.nan
    mlp = fitted()
    with sklearn.config_context(assume_finite=True):
        proba = mlp.predict_proba(given)
    assert np.isnan(proba).all(axis=1).tolist() == [False, False, True, False, False]


def test_names_are_warned_of_once():
    mlp = MLPClassifier(max_iter=1).fit(pd.DataFrame(X[:100], columns=NAMES), y[:100])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="contains NaN"):
            mlp.predict(np.full((1, 64), np.nan))
    assert len(caught) == 1


def test_filters_by_module_hold():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
        MLPClassifier(max_iter=1).fit(X[:100], y[:100])


def test_the_best_weights_are_those_of_the_fit_alone():
    mlp = fitted(restore_best_weights=True, warm_start=True, max_iter=20)
    before = mlp.coefs_[0].copy()
    mlp.fit(X, (y + 1) % 10)  # whose losses are larger
    assert not np.array_equal(mlp.coefs_[0], before)
    again = MLPClassifier(restore_best_weights=True, n_iter_no_change=1, random_state=0)
    for _ in range(5):
        again.partial_fit(X, y, classes=range(10))
    for _ in range(5):
        before = again.coefs_[0].copy()
        again.partial_fit(X, (y + 1) % 10)
        assert not np.array_equal(again.coefs_[0], before)
        assert not again.stopped_


@pytest.mark.parametrize(
    "settings", [{"dropout": 0.1}, {"callbacks": print}, {"optimizer": "adam"}]
)
def test_lbfgs_refuses_what_it_would_ignore(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must .*; use the solver sgd"):
        MLPClassifier(solver="lbfgs", **settings).fit(X, y)
    with pytest.raises(ValueError, match="eval_set must not be given"):
        MLPClassifier(solver="lbfgs").fit(X, y, eval_set=HELD_OUT)


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match="sample_weight must be at least 0 everywhere, got -1"):
        MLPClassifier().fit(X, y, np.full(len(y), -1.0))
