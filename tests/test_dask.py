"""Dask: the bits of one machine, whatever the workers do; a few partitions at a time."""

import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import fastbp
from fastbp import Network, Preparation, Trainer, sklearn, splitting, streams, threads
from fastbp.preparation import Prepared

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402
import dask.dataframe as dd  # noqa: E402

import fastbp.dask  # noqa: E402

GENERATOR = np.random.default_rng(0)
N = 2000
X = GENERATOR.normal(size=(N, 5)).astype(np.float32)
y = GENERATOR.integers(0, 3, N)
WEIGHT = GENERATOR.uniform(0.5, 2, N)
FRAME = pd.DataFrame(
    {"a": X[:, 0], "b": X[:, 1], "city": np.array(["Rome", "Oslo", "Bern"])[y], "y": y}
)
# Of 20 partitions, in windows that are shorter.
DASK_X, DASK_Y = da.from_array(X, chunks=(100, 2)), da.from_array(y, chunks=170)
OPTIONS = {"epochs": 2, "window": 256}


@pytest.fixture(scope="module")
def connected():
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def client(connected):
    wait_for_two_workers(connected)
    with connected.as_current():
        yield connected


def trainer_of(network=None, **options):
    network = network or Network((5, 7, 3), seed=1)
    return Trainer(network, **({"seed": 0, "learning_rate": 0.01} | options))


def local(X=X, y=y, *weight, network=None, epochs=2, **options):
    trainer = trainer_of(network, **options)
    trainer.fit_stream(streams.arrays(X, y, *weight, rows=333), **(OPTIONS | {"epochs": epochs}))
    return trainer


def assert_same(one, other):
    np.testing.assert_array_equal(one.network.params, other.network.params)
    np.testing.assert_array_equal(one.optimizer_state.moments, other.optimizer_state.moments)
    assert one.history.train_loss == other.history.train_loss


def workers(client):
    return sorted(client.nthreads())


def is_first(folder, name):
    """Whether it is the first call with this name, in any process."""
    try:
        (folder / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def disturbed(X, number, disturb, *arguments):
    """The same array, one of whose chunks makes trouble first."""

    def with_trouble(rows, block_info=None):
        if block_info and block_info[0]["chunk-location"][0] == number:
            disturb(*arguments)
        return rows

    return X.map_blocks(with_trouble, meta=X._meta)


# Streams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", [False, True, "named"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_partitions_are_learned_with_the_bits_of_one_machine(client, worker, optimizer):
    trainer = trainer_of(optimizer=optimizer, batch_size=3)
    network, params = trainer.network, trainer.network.params
    where = workers(client)[0] if worker == "named" else worker
    history = fastbp.dask.fit_stream(trainer, DASK_X, DASK_Y, worker=where, **OPTIONS)
    assert_same(trainer, local(optimizer=optimizer, batch_size=3))
    assert history is trainer.history
    assert trainer.network is network
    np.testing.assert_array_equal(params, network.params)  # views of it hold what was learned
    assert trainer.n_threads is None
    assert trainer.unfinished == 0


@pytest.mark.parametrize("worker", [False, True])
def test_a_second_fit_goes_on_from_the_first(client, worker):
    trainer = trainer_of(optimizer="adam")
    for _ in range(2):
        fastbp.dask.fit_stream(trainer, DASK_X, DASK_Y, worker=worker, epochs=1, window=256)
    assert_same(trainer, local(optimizer="adam"))


def test_weights_frames_and_bags_are_taken(client):
    expected = local(X, y, WEIGHT)
    trainer = trainer_of()
    weight = da.from_array(WEIGHT, chunks=100)
    fastbp.dask.fit_stream(trainer, DASK_X, DASK_Y, weight, **OPTIONS)
    assert_same(trainer, expected)
    trainer = trainer_of()
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abcde")).assign(y=y, w=WEIGHT), 7)
    fastbp.dask.fit_stream(trainer, frame[list("abcde")], frame["y"], frame["w"], **OPTIONS)
    assert_same(trainer, expected)
    trainer = trainer_of()
    bag = db.from_sequence(list(zip(X, y, WEIGHT, strict=True)), npartitions=6)
    fastbp.dask.fit_stream(trainer, bag, **OPTIONS)
    assert_same(trainer, expected)


def test_arrays_of_unknown_lengths_are_taken_and_partitions_may_be_empty(client):
    kept = DASK_X[:, 0] > -0.5
    trainer = trainer_of()
    rows = DASK_X.rechunk({1: -1})[kept]
    fastbp.dask.fit_stream(trainer, rows, DASK_Y.rechunk(100)[kept], **OPTIONS)
    kept = X[:, 0] > -0.5
    assert_same(trainer, local(X[kept], y[kept]))
    frame = dd.from_pandas(FRAME.sort_values("a", ignore_index=True), 8)
    frame = frame[frame["a"] > 0]  # the first half of the partitions has no rows
    lengths = [len(labels) for _, labels in fastbp.dask.source(frame[["a"]], frame["y"])]
    assert lengths[0] == 0
    assert sum(lengths) == (FRAME["a"] > 0).sum()


def test_arrays_that_come_from_each_other_are_made_once():
    made = []

    def noted(rows, block_info=None):
        if block_info:
            made.append(block_info[0]["chunk-location"][0])
        return rows

    x = DASK_X.rechunk({1: -1}).map_blocks(noted, meta=DASK_X._meta)
    labels = (x[:, 0] > 0).astype("int64")
    assert len(list(fastbp.dask.source(x, labels))) == 20
    assert made == list(range(20))


def test_without_a_client_the_bits_are_the_same():
    trainer = trainer_of()
    fastbp.dask.fit_stream(trainer, DASK_X, DASK_Y, **OPTIONS)
    assert_same(trainer, local())
    with pytest.raises(ValueError, match=r"worker needs a distributed\.Client.*got True"):
        fastbp.dask.fit_stream(trainer, DASK_X, DASK_Y, worker=True)


@pytest.mark.parametrize("worker", [False, True])
def test_workers_prepare_rows(client, worker):
    raw = FRAME[["a", "b", "city"]]
    preparation = Preparation().fit(raw)
    network = Network((preparation.n_inputs, 7, 3), preparation=preparation, seed=1)
    expected = local(raw, FRAME["y"], network=network.copy())
    frame = dd.from_pandas(FRAME, 9)
    given = frame[["a", "b", "city"]], frame["y"]
    prepared = next(iter(fastbp.dask.source(*given, network=network)))[0]
    assert type(prepared) is Prepared
    assert prepared.shape[1] == preparation.n_inputs > 3
    trainer = trainer_of(network)
    fastbp.dask.fit_stream(trainer, *given, worker=worker, **OPTIONS)
    assert_same(trainer, expected)


def test_classes_with_labels_come_back_from_the_worker(client):
    names = np.array(["no", "yes", "perhaps"])[y]
    trainer = trainer_of()
    named = da.from_array(names, chunks=500)
    fastbp.dask.fit_stream(trainer, DASK_X, named, worker=True, **OPTIONS)
    assert_same(trainer, local(X, names))
    assert set(trainer.network.predict(X[:100])) <= set(names)


class Noting(fastbp.callbacks.Callback):
    """Writes down on how many threads, and in which process, a trainer works."""

    def __init__(self, path):
        self.path = path

    def on_epoch(self, trainer):
        self.path.write_text(f"{threads.available()} {os.getpid()}")


@pytest.mark.parametrize(("given", "used"), [(None, 1), (2, min(2, threads.available()))])
def test_on_a_worker_a_trainer_is_one_thread_of_its_share(client, tmp_path, given, used):
    trainer = trainer_of(n_threads=given)
    options = OPTIONS | {"callbacks": [Noting(tmp_path / "noted")]}
    fastbp.dask.fit_stream(trainer, DASK_X, DASK_Y, worker=True, **options)
    n_threads, process = (tmp_path / "noted").read_text().split()
    assert int(n_threads) == used
    assert int(process) != os.getpid()
    assert trainer.n_threads == given


class Counting:
    """Predicts how many threads there are."""

    def predict(self, X):
        return np.full(len(X), threads.available())


def test_predictions_are_one_thread_of_a_workers_share(client):
    assert set(fastbp.dask.predict(Counting(), DASK_X).compute()) == {1}


def test_workers_hold_no_more_partitions_than_asked_for(client, tmp_path):
    def noted(rows, block_info=None):
        if block_info:
            (tmp_path / str(block_info[0]["chunk-location"][0])).touch()
        return rows

    x = DASK_X.rechunk({1: -1}).map_blocks(noted, meta=DASK_X._meta)
    pieces = iter(fastbp.dask.source(x, DASK_Y, ahead=3))
    for taken in range(6):
        if taken > 0:
            next(pieces)
        wanted = {str(k) for k in range(taken + 3)} if taken > 0 else set()
        for _ in range(1200):
            if {path.name for path in tmp_path.iterdir()} >= wanted:
                break
            time.sleep(0.05)
        time.sleep(0.1)  # time enough to make too many
        assert {path.name for path in tmp_path.iterdir()} == wanted
    pieces.close()
    for _ in range(200):
        if not client.who_has():
            break
        time.sleep(0.05)
    assert not client.who_has()  # nothing is kept that nobody will use


# Faults -------------------------------------------------------------------------------------------


def kill_once(folder):
    if is_first(folder, "killed"):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("worker", [False, True])
def test_a_killed_worker_costs_no_bit(client, tmp_path, worker):
    x = disturbed(DASK_X.rechunk({1: -1}), 11, kill_once, tmp_path)
    trainer = trainer_of(optimizer="adam")
    fastbp.dask.fit_stream(trainer, x, DASK_Y, worker=worker, **OPTIONS)
    assert (tmp_path / "killed").exists()
    assert_same(trainer, local(optimizer="adam"))


def wait_for_two_workers(client):
    """On a busy machine a nanny may give up the worker that it was to start again."""
    try:
        client.wait_for_workers(2, timeout=30)
    except TimeoutError:
        client.cluster.scale(0)
        for _ in range(600):
            if not client.nthreads():
                break
            time.sleep(0.1)
        client.cluster.scale(2)
        client.wait_for_workers(2, timeout=120)


class Killing(fastbp.callbacks.Callback):
    """Kills the process after the first epoch, once."""

    def __init__(self, folder):
        self.folder = folder

    def on_epoch(self, trainer):
        kill_once(self.folder)


def test_a_network_that_learned_on_a_killed_worker_begins_again_on_another(client, tmp_path):
    trainer = trainer_of(optimizer="adam")
    options = OPTIONS | {"callbacks": [Killing(tmp_path)]}
    fastbp.dask.fit_stream(trainer, DASK_X, DASK_Y, worker=workers(client)[0], **options)
    assert (tmp_path / "killed").exists()
    assert_same(trainer, local(optimizer="adam"))


def fail(folder):
    if not (folder / "mended").exists():
        raise OSError("the disk is away")


@pytest.mark.parametrize("worker", [False, True])
def test_an_error_of_a_partition_is_named_and_the_fit_goes_on_after_it(client, tmp_path, worker):
    x = disturbed(DASK_X.rechunk({1: -1}), 11, fail, tmp_path)
    trainer = trainer_of(optimizer="adam", batch_size=3)
    with pytest.raises(OSError, match="the disk is away") as caught:
        fastbp.dask.fit_stream(trainer, x, DASK_Y, worker=worker, window=256)
    assert caught.value.__notes__ == [
        "source raised this for piece 11, which begins with row 1100."
    ]
    assert 500 < trainer.unfinished <= 1100
    assert np.isfinite(trainer.network.params).all()
    (tmp_path / "mended").touch()
    start = trainer.unfinished
    fastbp.dask.fit_stream(trainer, x, DASK_Y, worker=worker, window=256, start=start)
    assert_same(trainer, local(optimizer="adam", batch_size=3, epochs=1))


def test_a_value_that_is_refused_is_placed(client):
    bad = X.copy()
    bad[1234, 2] = np.nan
    with pytest.raises(ValueError, match="piece 12 of source, from row 1200 on: X must"):
        fastbp.dask.fit_stream(trainer_of(), da.from_array(bad, chunks=(100, 5)), DASK_Y)


def interrupt_once(folder, process):
    if is_first(folder, "interrupted"):
        os.kill(process, signal.SIGINT)
        time.sleep(2)  # until it has been heard


@pytest.mark.parametrize("worker", [False, True])
def test_after_ctrl_c_the_fit_goes_on(client, tmp_path, worker):
    x = disturbed(DASK_X.rechunk({1: -1}), 11, interrupt_once, tmp_path, os.getpid())
    trainer = trainer_of(optimizer="adam", batch_size=3)
    options = {"worker": worker, "window": 256, "ahead": 1, "prefetch": 1}
    with pytest.raises(KeyboardInterrupt):
        fastbp.dask.fit_stream(trainer, x, DASK_Y, **options)
    assert len(trainer.history) == 0
    assert np.isfinite(trainer.network.params).all()
    fastbp.dask.fit_stream(trainer, x, DASK_Y, start=trainer.unfinished, **options)
    assert_same(trainer, local(optimizer="adam", batch_size=3, epochs=1))


def test_data_that_are_lost_with_a_worker_are_one_clear_error(client):
    address = workers(client)[0]
    [held] = client.scatter([X], workers=[address])
    pieces = fastbp.dask.source(da.from_delayed(held, X.shape, X.dtype), DASK_Y.rechunk(N))
    process = client.run(os.getpid, workers=[address])[address]
    os.kill(process, signal.SIGKILL)
    trainer = trainer_of()
    before = trainer.network.params.copy()
    with pytest.raises(RuntimeError, match="the cluster has lost a partition and cannot make it"):
        trainer.fit_stream(pieces)
    np.testing.assert_array_equal(trainer.network.params, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, DASK_Y), "X must be a dask array or frame, or X a bag .*; got ndarray"),
        ((DASK_X, y), "y must be a dask array or frame.*; got ndarray"),
        ((DASK_X,), "y must be a dask array or frame.*; got NoneType"),
        ((DASK_X, DASK_Y[:-1]), "y must have one entry per row of X, 2,000; got 1,999"),
        ((dd.from_pandas(FRAME, 3), dd.from_pandas(FRAME, 2)["y"]), "partitions of X, 3; got 2"),
    ],
)
def test_what_is_no_collection_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fastbp.dask.fit_stream(trainer_of(), *arguments)


def test_ahead_must_be_positive():
    with pytest.raises(ValueError, match="ahead must be an integer of at least 1, got 0"):
        fastbp.dask.source(DASK_X, DASK_Y, ahead=0)


# Predictions and estimators -----------------------------------------------------------------------


def test_predictions_are_made_when_they_are_asked_for(client):
    network = local().network
    made = fastbp.dask.predict(network, DASK_X)
    np.testing.assert_array_equal(made.compute(), network.predict(X))
    assert (made.shape, made.dtype, made.chunks) == ((N,), np.int64, (DASK_X.chunks[0],))
    made = fastbp.dask.predict(network, DASK_X, "predict_proba")
    np.testing.assert_array_equal(made.compute(), network.predict_proba(X))
    assert (made.shape, made.dtype) == ((N, 3), np.float32)
    nothing = DASK_X.rechunk({1: -1})[DASK_X[:, 0] > 100]  # partitions without rows
    assert fastbp.dask.predict(network, nothing).compute().shape == (0,)
    assert fastbp.dask.predict(network, nothing, "predict_proba").compute().shape == (0, 3)


def test_predictions_for_frames_have_their_index(client):
    raw = FRAME[["a", "b", "city"]]
    preparation = Preparation().fit(raw)
    network = Network((preparation.n_inputs, 7, 3), preparation=preparation, seed=1)
    made = fastbp.dask.predict(network, dd.from_pandas(raw, 9))
    assert isinstance(made, dd.Series)
    pd.testing.assert_series_equal(made.compute(), pd.Series(network.predict(raw)))
    some = dd.from_pandas(raw, 9)
    some = some[some["a"] > 2.5]
    made = fastbp.dask.predict(network, some, "predict_proba").compute()
    assert list(made.index) == list(raw.index[raw["a"] > 2.5])
    np.testing.assert_array_equal(made, network.predict_proba(raw[raw["a"] > 2.5]))


def test_what_cannot_predict_is_refused():
    network = Network((5, 3), seed=0)
    with pytest.raises(ValueError, match="X must be a dask array or frame, got ndarray"):
        fastbp.dask.predict(network, X)
    with pytest.raises(ValueError, match=r"method must be one of Network's.* got 'guess'"):
        fastbp.dask.predict(network, DASK_X, "guess")


SETTINGS = {
    "random_state": 3,
    "max_iter": 4,
    "hidden_layer_sizes": (6,),
    "learning_rate_init": 0.01,
}
NAMES = np.array(["no", "yes", "perhaps"])


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("labels", [NAMES[y], y % 2, np.eye(3, dtype=int)[y]])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_classifier_in_the_order_given_has_the_bits_of_one_in_memory(client, labels, solver):
    settings = SETTINGS | {"shuffle": False, "solver": solver}
    expected = sklearn.MLPClassifier(**settings).fit(X, labels)
    mlp = fastbp.dask.MLPClassifier(**settings).fit(DASK_X, da.from_array(labels, chunks=170))
    for coefs, others in zip(mlp.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(coefs, others)
    assert mlp.loss_curve_ == pytest.approx(expected.loss_curve_)
    assert mlp.n_iter_ == 4
    np.testing.assert_array_equal(mlp.classes_, expected.classes_)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        made = getattr(mlp, method)(DASK_X)
        assert isinstance(made, da.Array)
        np.testing.assert_array_equal(made.compute(), getattr(expected, method)(X))
    np.testing.assert_array_equal(mlp.predict(X), expected.predict(X))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("targets", [X[:, 0] + 2 * X[:, 1], X[:, :2] ** 2])
def test_a_regressor_likewise(client, targets):
    settings = SETTINGS | {"shuffle": False}
    expected = sklearn.MLPRegressor(**settings).fit(X, targets)
    mlp = fastbp.dask.MLPRegressor(**settings).fit(DASK_X, da.from_array(targets, chunks=170))
    for coefs, others in zip(mlp.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(coefs, others)
    np.testing.assert_array_equal(mlp.predict(DASK_X).compute(), expected.predict(X))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_shuffle_by_their_seed_and_take_frames_and_weights(client):
    columns = dd.from_pandas(FRAME.assign(w=WEIGHT), 7)
    given = columns[["a", "b"]], columns["city"], columns["w"]
    fits = [
        fastbp.dask.MLPClassifier(**(SETTINGS | {"random_state": seed})).fit(*given)
        for seed in (3, 3, 4)
    ]
    params = [mlp.network_.params.tobytes() for mlp in fits]
    assert params[0] == params[1] != params[2]
    assert list(fits[0].feature_names_in_) == ["a", "b"]
    assert list(fits[0].classes_) == ["Bern", "Oslo", "Rome"]
    made = fits[0].predict(given[0])
    assert isinstance(made, dd.Series)
    assert list(made.compute()) == list(fits[0].predict(FRAME[["a", "b"]]))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_weights_count_as_in_memory(client):
    settings = SETTINGS | {"shuffle": False, "dtype": "float64"}
    expected = sklearn.MLPClassifier(**settings).fit(X, y, WEIGHT)
    weight = da.from_array(WEIGHT, chunks=100)
    mlp = fastbp.dask.MLPClassifier(**settings).fit(DASK_X, DASK_Y, weight)
    np.testing.assert_allclose(mlp.network_.params, expected.network_.params, rtol=1e-7, atol=1e-9)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_losses_do_not_depend_on_the_size_of_the_weights(client):
    curves = []
    for factor in (1, 1e-4):
        weight = da.from_array(factor * WEIGHT, chunks=100)
        mlp = fastbp.dask.MLPClassifier(**SETTINGS | {"alpha": 0}).fit(DASK_X, DASK_Y, weight)
        curves.append(mlp.loss_curve_)
    np.testing.assert_allclose(*curves, rtol=1e-5)
    with pytest.raises(ValueError, match="sample_weight must be above 0 somewhere"):
        fastbp.dask.MLPClassifier().fit(DASK_X, DASK_Y, da.zeros(N, chunks=100))


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # pandas' of Dask
def test_parquet_read_with_some_columns_keeps_its_partitions(client, tmp_path):
    frame = pd.DataFrame(X, columns=list("abcde")).assign(**{f"z{j}": 0.0 for j in range(9)}, y=y)
    dd.from_pandas(frame, npartitions=8).to_parquet(tmp_path)
    given = dd.read_parquet(tmp_path)
    trainer = trainer_of()
    fastbp.dask.fit_stream(trainer, given[list("abcde")].astype("float32"), given["y"], **OPTIONS)
    assert_same(trainer, local())


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_frames_of_nullable_numbers_are_fitted(client):
    frame = pd.DataFrame((X * 100).round(), columns=list("abcde")).astype("Int64")
    given = dd.from_pandas(frame, npartitions=3)
    mlp = fastbp.dask.MLPClassifier(**SETTINGS)
    mlp.fit(given, dd.from_pandas(pd.Series(y), npartitions=3))
    assert mlp.n_iter_ > 0


def test_predictions_are_those_of_the_model_when_they_were_asked_for(client):
    network = Network((5, 7, 3), seed=1)
    before, here = fastbp.dask.predict(network, DASK_X), network.predict(X)
    network.params[:] = 0
    np.testing.assert_array_equal(before.compute(), here)


def test_early_stopping_scores_an_eval_set(client):
    mlp = fastbp.dask.MLPClassifier(
        random_state=0, early_stopping=True, max_iter=50, n_iter_no_change=2, tol=0.5
    )
    mlp.fit(DASK_X, DASK_Y, eval_set=(X[:200], y[:200]))
    assert mlp.n_iter_ == len(mlp.validation_scores_) < 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "lbfgs"}, "solver must not be 'lbfgs' for Dask collections"),
        ({"early_stopping": True}, "early_stopping must not be True .* without an eval_set"),
        ({"warm_start": True}, "warm_start must not be True"),
        ({"class_weight": "balanced"}, "class_weight must be None .* give sample_weight"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        fastbp.dask.MLPClassifier(**settings).fit(DASK_X, DASK_Y)


def test_other_calls_that_a_stream_cannot_do_are_refused():
    with pytest.raises(ValueError, match="loss must not be 'poisson'"):
        fastbp.dask.MLPRegressor("poisson").fit(DASK_X, DASK_Y)
    with pytest.raises(ValueError, match="partial_fit takes arrays"):
        fastbp.dask.MLPRegressor().partial_fit(DASK_X, DASK_Y)


# Many networks ------------------------------------------------------------------------------------


def ensemble_of(n=21):
    return fastbp.Ensemble((5, 7, 3), n, seeds=0, learning_rate=[0.01 + k / 99 for k in range(n)])


def assert_same_ensembles(one, other):
    for network, its in zip(one, other, strict=True):
        np.testing.assert_array_equal(network.params, its.params)
    np.testing.assert_array_equal(one.train_loss, other.train_loss)


FITS = [
    {},
    {"groups": GENERATOR.integers(0, 21, N) % 20},  # the last one has no rows
    {"folds": GENERATOR.integers(0, 21, N), "sample_weight": WEIGHT},
]


@pytest.mark.parametrize("options", FITS)
@pytest.mark.parametrize("labels", [y, NAMES[y]])
def test_an_ensemble_learns_over_a_cluster_with_the_bits_of_one_machine(client, options, labels):
    here, there = ensemble_of(), ensemble_of()
    networks = list(there)
    for _ in range(2):
        expected = here.fit(X, labels, epochs=2, **options)
        losses = fastbp.dask.fit_many(there, X, labels, epochs=2, **options)
        np.testing.assert_array_equal(losses, expected)
    assert losses.shape == (2, 21)
    assert_same_ensembles(there, here)
    assert all(one is other for one, other in zip(networks, there, strict=True))
    np.testing.assert_array_equal(there.predict(X), here.predict(X))


def test_sizes_are_warned_of_where_the_fit_is_called(client):
    ensemble = fastbp.Ensemble((5, 1), 3, seeds=0, loss="squared_error", learning_rate=1e-9)
    with pytest.warns(fastbp.ScaleWarning) as caught:
        fastbp.dask.fit_many(ensemble, X * 1000, X[:, 0], epochs=1)
    assert [each.filename for each in caught] == [__file__]


def test_networks_that_diverge_are_named_as_on_one_machine(client):
    errors = []
    for fit in (fastbp.Ensemble.fit, fastbp.dask.fit_many):
        rates = [0.01, 1e30, 0.02]
        ensemble = fastbp.Ensemble((5, 4, 1), 3, seeds=0, loss="squared_error", learning_rate=rates)
        with pytest.raises(fastbp.DivergenceError) as caught:
            fit(ensemble, X, X[:, 0], epochs=2)
        errors.append((str(caught.value), *(network.params.tobytes() for network in ensemble)))
    assert errors[0] == errors[1]
    assert list(caught.value.errors) == [1]


def test_a_cluster_that_loses_a_worker_trains_the_same_networks(client, tmp_path):
    here, there = ensemble_of(), ensemble_of()
    for ensemble in (here, there):
        ensemble.learning_rate = KillingRate(tmp_path / "none" if ensemble is here else tmp_path)
    here.fit(X, y, epochs=2)
    fastbp.dask.fit_many(there, X, y, epochs=2)
    assert (tmp_path / "killed").exists()
    assert_same_ensembles(there, here)


class KillingRate:
    """A learning rate that kills the worker that asks for it, once."""

    def __init__(self, folder):
        self.folder, self.process = folder, os.getpid()

    def __call__(self, epoch):
        if self.folder.exists() and os.getpid() != self.process:
            kill_once(self.folder)
        return 0.01


def test_a_search_has_the_scores_of_trainers_on_one_machine(client):
    grid = {"sizes": [(5, 4, 3), (5, 3)], "learning_rate": [0.01, 0.1], "weight_decay": [0, 0.01]}
    found = fastbp.dask.search(grid, X, y, folds=3, epochs=2)
    assert len(found.candidates) == 8
    assert found.candidates[1] == {"sizes": (5, 4, 3), "learning_rate": 0.01, "weight_decay": 0.01}
    parts = splitting.folds(N, 3, labels=y, validation=0)
    expected = []
    for sizes in grid["sizes"]:
        pairs = [(rate, decay) for rate in grid["learning_rate"] for decay in grid["weight_decay"]]
        ensemble = fastbp.Ensemble(
            sizes, 12, seeds=[0] * 12,
            learning_rate=[rate for rate, _ in pairs for _ in range(3)],
            weight_decay=[decay for _, decay in pairs for _ in range(3)],
        )  # fmt: skip
        ensemble.fit(X, y, epochs=2, folds=[part.train for part in parts] * 4)
        expected += [
            network.evaluate(X[part.test], y[part.test]).accuracy
            for network, part in zip(ensemble, parts * 4, strict=True)
        ]
    np.testing.assert_array_equal(found.scores.ravel(), expected)
    assert found.best == found.candidates[int(found.scores.mean(axis=1).argmax())]


def test_a_search_without_a_client_has_the_same_scores_and_marks_divergence(connected):
    candidates = [
        {"sizes": (5, 4, 1), "loss": "squared_error", "learning_rate": rate, "seed": seed}
        for rate, seed in ((0.01, 0), (1e30, 1), (0.01, 2))
    ]
    rows = np.arange(N)
    folds = [(rows[::2], rows[1::2]), (rows[1::2], rows[::2])]
    found = fastbp.dask.search(candidates, X, X[:, 0], folds=folds, epochs=2)
    with connected.as_current():
        other = fastbp.dask.search(candidates, X, X[:, 0], folds=folds, epochs=2)
    np.testing.assert_array_equal(found.scores, other.scores)
    np.testing.assert_array_equal(np.isnan(found.scores).all(axis=1), [False, True, False])
    assert (found.scores[[0, 2]] < 0).all()
    assert found.best["learning_rate"] == 0.01


@pytest.mark.parametrize(
    ("candidates", "folds", "message"),
    [
        ([], 3, "candidates must be at least one, got none"),
        ([{"loss": "huber"}], 3, "candidates must have sizes"),
        ([{"sizes": (5, 3), "learning_rate": -1}], 3, "learning_rate must be"),
        ([{"sizes": (5, 3)}], 1, "the number of folds must be an integer of at least 2, got 1"),
        ([{"sizes": (5, 3)}], [[1]], "folds must be a number, or pairs of rows"),
    ],
)
def test_what_cannot_be_searched_is_refused(candidates, folds, message):
    with pytest.raises(ValueError, match=message):
        fastbp.dask.search(candidates, X, y, folds=folds)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_searches_of_scikit_learn_go_over_a_cluster_by_joblib(client, backend):
    joblib = pytest.importorskip("joblib")
    if backend == "ray":
        pytest.importorskip("ray.util.joblib").register_ray()
    search = GridSearchCV(
        sklearn.MLPClassifier(random_state=0, max_iter=3), {"alpha": [0.1, 1], "solver": ["sgd"]},
        cv=2,
    )  # fmt: skip
    expected = clone(search).fit(X, y).cv_results_["mean_test_score"]
    with joblib.parallel_config(backend=backend):
        search.fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected)
