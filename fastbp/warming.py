"""Compiling ahead of time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fastbp import checks, kernels


def everything(
    dtypes: str | Sequence[str] = ("float32", "float64"),
) -> list[kernels.Ahead | kernels.CFunctions]:
    """What `warmup` loads or compiles, one after the other."""
    return [item for dtype in checks.dtypes(dtypes) for item in kernels.everything(dtype)]


def warmup(dtypes: str | Sequence[str] = ("float32", "float64"), parallel: bool = False) -> float:
    """Load every kernel, or compile it, so that the first fit does not wait.

    One compiled function serves every architecture. What has come with a wheel or is in the cache
    is loaded in a fraction of a second.

    Parameters
    ----------
    dtypes : {"float32", "float64"} or a sequence of them
        Of the networks to come.
    parallel : bool, default False
        Changes nothing: kernels are the same for any number of threads.

    Returns
    -------
    float
        Seconds it took.

    Raises
    ------
    ValueError
        If a dtype is not one of those allowed, or if ``parallel`` is no bool.
    """
    began = time.perf_counter()
    checks.flag("parallel", parallel)
    for item in everything(dtypes):
        item.load()
    return time.perf_counter() - began
