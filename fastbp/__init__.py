"""Exact SGD training of multi-layer perceptrons on a CPU, fast.

>>> import fastbp
>>> network = fastbp.Network((64, 64, 10), seed=0)
>>> trainer = fastbp.Trainer(network, seed=0)

Then ``trainer.fit(X, y)``, ``network.predict(X)`` and ``fastbp.save(network, path)``. From a raw
table to a network and its figures, in one call: `fastbp.experiment.run`.
"""

from fastbp import callbacks, experiment, jit, kernels, metrics, optimizers, schedules, streams
from fastbp.c_library import c_library
from fastbp.c_source import to_c
from fastbp.datasets import Dataset, load_dataset
from fastbp.divergence import DivergenceError
from fastbp.ensemble import Ensemble
from fastbp.exchange import (
    from_keras,
    from_sklearn,
    from_torch,
    to_keras,
    to_onnx,
    to_sklearn,
    to_torch,
    torch_loss,
)
from fastbp.gradient_check import GradientReport
from fastbp.history import History
from fastbp.network import Network
from fastbp.parameters import Evaluation, Gradients
from fastbp.preparation import Preparation, ScaleWarning
from fastbp.running import Stream
from fastbp.storage import load, read_header, save
from fastbp.tables import read_table
from fastbp.trainer import Trainer
from fastbp.warming import warmup

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "DivergenceError",
    "Ensemble",
    "Evaluation",
    "GradientReport",
    "Gradients",
    "History",
    "Network",
    "Preparation",
    "ScaleWarning",
    "Stream",
    "Trainer",
    "c_library",
    "callbacks",
    "experiment",
    "from_keras",
    "from_sklearn",
    "from_torch",
    "jit",
    "kernels",
    "load",
    "load_dataset",
    "metrics",
    "optimizers",
    "read_header",
    "read_table",
    "save",
    "schedules",
    "streams",
    "to_c",
    "to_keras",
    "to_onnx",
    "to_sklearn",
    "to_torch",
    "torch_loss",
    "warmup",
]
