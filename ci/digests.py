"""What a few fits end with, a digest each: releases of numba are compared by it.

Usage: python ci/digests.py > digests.txt, in each environment; then compare the files.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fastbp import Network, Trainer, optimizers

SIZES = (30, 21, 11, 3)
WIDE = (300, 256, 3)
NARROW = (20, 32, 5)
FITS: dict[str, tuple[dict, dict]] = {
    "sequential": ({}, {"method": "sequential"}),
    "deferred": ({}, {"method": "deferred", "block_size": 16}),
    "zero-skipping": ({}, {"method": "zero-skipping"}),
    "decay": ({"activation": "leaky_relu"}, {"weight_decay": 1e-3, "l1": 1e-4}),
    "dropout": ({"activation": "tanh"}, {"dropout": 0.3, "seed": 1}),
    "batches": ({"activation": "gelu"}, {"batch_size": 7}),
    "clipped": ({"activation": "silu"}, {"batch_size": 5, "clip_norm": 0.1, "max_norm": 1.5}),
    "momentum": ({"activation": "elu"}, {"optimizer": optimizers.SGD(momentum=0.9)}),
    "adam": ({"activation": "softplus"}, {"optimizer": "adam", "batch_size": 16}),
    "nadam": ({"activation": "sigmoid"}, {"optimizer": "nadam", "batch_size": 3}),
    "rmsprop": ({"activation": "gelu_tanh"}, {"optimizer": "rmsprop", "batch_size": 8}),
    "adagrad": ({"loss": "binary_cross_entropy"}, {"optimizer": "adagrad"}),
    "adadelta": ({"loss": "poisson"}, {"optimizer": "adadelta", "batch_size": 9}),
    "huber": ({"loss": "huber", "activation": "identity"}, {"class_weight": None}),
    "smoothed": ({}, {"batch_size": 20, "label_smoothing": 0.1}),
    "narrow": ({"sizes": NARROW}, {"batch_size": 64, "label_smoothing": 0.1}),
    "narrow gradients": ({"sizes": NARROW, "loss": "huber"}, {"batch_size": 40}),
    "weighted": ({}, {"batch_size": 32, "class_weight": "balanced", "reduction": "batch"}),
    "lagging": ({"sizes": WIDE}, {"optimizer": optimizers.SGD(momentum=0.9, nesterov=True)}),
    "threads": ({"sizes": WIDE}, {"n_threads": 2}),
    "batches on threads": ({"sizes": WIDE}, {"n_threads": 2, "batch_size": 32}),
}


def rows(sizes: tuple[int, ...], loss: str) -> tuple[NDArray, NDArray]:
    """Rows of which half are zeros, and targets that suit the loss."""
    generator = np.random.default_rng(0)
    X = np.maximum(generator.normal(size=(200, sizes[0])), 0)
    labels = generator.integers(0, sizes[-1], 200)
    return X, labels if loss == "cross_entropy" else np.eye(sizes[-1])[labels]


def digest(*arrays: NDArray) -> str:
    """Of their bytes, short enough to be read."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def digests() -> Iterator[tuple[str, str]]:
    """Names of fits and what they end with: parameters, predictions, losses, a gradient."""
    for dtype in ("float32", "float64"):
        for name, (of_network, of_trainer) in FITS.items():
            sizes = of_network.get("sizes", SIZES)
            network = Network(**{"sizes": sizes, "seed": 0, "dtype": dtype} | of_network)
            X, y = rows(sizes, of_network.get("loss", "cross_entropy"))
            losses = [
                Trainer(network, **{"seed": 0} | of_trainer)
                .fit(given, y, epochs=2, progress=False)
                .train_loss
                for given in (X, csr_array(X))
            ]
            loss, gradient = network.value_and_grad(X, y)
            arrays = [array for per_layer in gradient for array in per_layer]
            ends = network.params, network.predict(X), np.array([loss, *np.ravel(losses)])
            outcome = digest(*ends, *arrays)
            yield f"{dtype} {name}", outcome


if __name__ == "__main__":
    for name, value in digests():
        print(f"{value}  {name}", flush=True)
