"""What an installed wheel must do with its core dependencies alone."""

import importlib.util
from importlib.metadata import files
from pathlib import Path

import numpy as np

import fastbp
from fastbp.cli import main

installed = {str(path) for path in files("fastbp")}
for needed in (
    "fastbp/py.typed",
    "fastbp/cli/train.py",
    "fastbp/kernels/sequential.py",
    "fastbp/kernels/_jit.py",
):
    assert needed in installed, f"the wheel lacks {needed}"
assert "site-packages" in fastbp.__file__, fastbp.__file__
assert importlib.util.find_spec("kernels") is None, "a top-level package called kernels"

generator = np.random.default_rng(0)
labels = generator.integers(0, 3, 300)
X = generator.normal(size=(300, 4)) + 4 * np.eye(3)[labels] @ np.eye(3, 4)
for dtype in ("float32", "float64"):
    network = fastbp.Network((4, 16, 3), dtype=dtype, seed=0)
    trainer = fastbp.Trainer(network, seed=0)
    history = trainer.fit(X, labels, epochs=5, eval_set=(X, labels), progress=False)
    assert history.accuracy[-1] > 0.9, history
    fastbp.save(trainer, "model.safetensors")
    loaded = fastbp.load("model.safetensors")
    assert np.array_equal(loaded.network.predict(X), network.predict(X))
    assert network.check_gradients(X[:4], labels[:4]).ok
    network.predict_one(X[0])
    trainer.learn_one(X[0], labels[0])
    fastbp.Trainer(network, "adam").partial_fit(X, labels)
    fastbp.Ensemble((4, 16, 3), 20, dtype=dtype, seeds=0).fit(X, labels, epochs=1)
    checkpoint = fastbp.callbacks.Checkpoint("model.safetensors")
    for options in ({}, {"optimizer": "adam", "batch_size": 32}):
        wide = fastbp.Network((4, 512, 512, 3), dtype=dtype, seed=0)
        shared = fastbp.Trainer(wide, n_threads=2, seed=0, **options)
        shared.fit(X, labels, epochs=1, callbacks=[checkpoint], progress=False)

# The command line, too.
np.savez("data.npz", X=X, y=labels)
assert main(["train", "data.npz", "--epochs", "3", "--save", "model.safetensors"]) == 0
assert main(["evaluate", "model.safetensors", "data.npz"]) == 0
for name in ("model.safetensors", "data.npz"):
    Path(name).unlink()
print(f"fastbp {fastbp.__version__} works from {Path(fastbp.__file__).parent}")
