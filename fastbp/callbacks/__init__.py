"""Callbacks: what is done between chunks and epochs of training.

>>> import fastbp
>>> network = fastbp.Network((2, 8, 2), seed=0)
>>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
>>> trainer = fastbp.Trainer(network, learning_rate=0.1, seed=0)
>>> stops = [fastbp.callbacks.Target("train_loss", 0.1), fastbp.callbacks.TimeLimit(60)]
>>> len(trainer.fit(X, y, epochs=10_000, callbacks=stops)) < 10_000
True

A plain function of the trainer is called after every epoch. For anything else, derive from
`Callback`. `Trainer.stop` ends the fit; an exception ends it too, and leaves the network as the
last chunk made it.
"""

from fastbp.callbacks.base import (
    Callback,
    CallbackState,
    listeners_of,
    resume,
    state_of,
)
from fastbp.callbacks.rates import ReduceOnPlateau
from fastbp.callbacks.records import Checkpoint, CSVLogger, TensorBoard
from fastbp.callbacks.stopping import EarlyStopping, Target, TimeLimit

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackState",
    "Checkpoint",
    "EarlyStopping",
    "ReduceOnPlateau",
    "Target",
    "TensorBoard",
    "TimeLimit",
    "listeners_of",
    "resume",
    "state_of",
]

# Model files name a callback by its class, which users know by this module.
for _kind in (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    ReduceOnPlateau,
    Target,
    TensorBoard,
    TimeLimit,
):
    _kind.__module__ = __name__
