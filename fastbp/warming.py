"""Compiling ahead of time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fastbp import checks
from fastbp.network import Network
from fastbp.trainer import Trainer


def warmup(dtypes: str | Sequence[str] = ("float32", "float64")) -> float:
    """Compile every kernel, or load it from the cache, so that the first fit does not wait.

    One compiled function serves every architecture. Parallel loops are compiled by the first fit
    that is long enough for it, or that asks for several threads by ``n_threads``.

    Parameters
    ----------
    dtypes : {"float32", "float64"} or a sequence of them
        Of the networks to come.

    Returns
    -------
    float
        Seconds it took.

    Raises
    ------
    ValueError
        If a dtype is not one of those allowed.
    """
    began = time.perf_counter()
    X, y = [[0.0]], [0]
    for dtype in checks.dtypes(dtypes):
        network = Network((1, 2), dtype=dtype, seed=0)
        for method in ("sequential", "deferred"):
            trainer = Trainer(network, method=method, seed=0)
            trainer.fit(X, y, epochs=1, eval_set=(X, y), progress=False)
        Trainer(network, "adam").partial_fit(X, y)  # mini-batches, of any size and optimizer
    return time.perf_counter() - began
