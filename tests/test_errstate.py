"""Whatever NumPy is told to do about underflow and overflow, nothing raises but our own errors."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from fastbp import DivergenceError, Network, Trainer

# Sizes are odd on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::fastbp.ScaleWarning")

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.array([0, 1, 0, 1, 1, 0])
TINY = (1e-300, 1e-42, 5e-324, 1e-38)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tiny", TINY)
def test_numbers_that_underflow_raise_nothing_whatever_numpy_is_told(tiny, dtype):
    rows, targets = X.astype(float) * tiny, np.abs(X[:, :2].astype(float)) * tiny
    weights = np.array([tiny, 1, 1, 1, 1, 1])
    with np.errstate(all="ignore"):
        forms = rows, csr_array(rows), rows.astype(dtype)

    def use(given, network, y, **options):
        trainer = Trainer(network, seed=0, learning_rate=1e-30, **options)
        trainer.fit(given, y, sample_weight=weights, eval_set=(given, y), progress=False, epochs=2)
        trainer.partial_fit(given, y, sample_weight=weights)
        network.predict(given)
        network.evaluate(given, y, weights)
        network.check_gradients(given, y)
        f = network.objective(given, y, sample_weight=weights, weight_decay=1e-30)
        with np.errstate(all="ignore"):
            start = network.params.astype(np.float64) * tiny
        f(start)
        f(network.params)
        network.copy("float64").copy("float32")
        network.value_and_grad(given, y)
        return network.params

    def results():
        for given in forms:
            for options in (
                {"weight_decay": 1e-30},
                {"optimizer": "adam", "batch_size": 2, "weight_decay": 1e-30, "l1": 1e-30},
                {"optimizer": "nadam", "batch_size": 2, "clip_norm": 1e-30},
                {"optimizer": "adadelta", "max_norm": 1e-30, "reduction": "batch", "batch_size": 4},
                {"dropout": 1e-30, "class_weight": {0: 1e-30}, "label_smoothing": 1e-30},
            ):
                network = Network((3, 4, 2), dtype=dtype, seed=0)
                with np.errstate(all="ignore"):
                    network.weights[0][...] *= tiny if dtype == "float64" else 1e-30
                yield use(given, network, Y, **options)
            for loss in ("squared_error", "huber", "absolute_error", "poisson"):
                yield use(given, Network((3, 4, 2), loss=loss, dtype=dtype, seed=0), targets)

    with np.errstate(all="ignore"):
        expected = list(results())
    with np.errstate(all="raise"):
        actual = list(results())
    for mine, plain in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(mine, plain)


def test_numbers_that_overflow_are_errors_of_ours_whatever_numpy_is_told():
    network = Network((3, 4, 2), loss="squared_error", seed=0)
    with np.errstate(all="raise"):
        for bad, message in (
            (X.astype(float) * 1e300, "X must be finite in float32"),
            (np.where(X > 0, np.nan, X), "X must be finite, got nan"),
        ):
            with pytest.raises(ValueError, match=message):
                network.predict(bad)
            with pytest.raises(ValueError, match=message):
                Trainer(network).fit(bad, X[:, :2])
        with pytest.raises(ValueError, match="outputs must be finite"):
            network.predict(np.full((2, 3), 3e38, np.float32) * [[1, 1, 0]])
        with pytest.raises(DivergenceError):
            Trainer(network, learning_rate=1e30).fit(X * 1e10, X[:, :2], progress=False)
