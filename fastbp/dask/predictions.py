"""Predictions of Dask collections, made by the workers when they are asked for."""

from __future__ import annotations

import copy
from typing import Any

import dask
import numpy as np
import pandas as pd
from dask.dataframe.utils import make_meta, meta_nonempty

from fastbp import checks, threads
from fastbp.dask.partitions import in_rows, is_array, is_rows


def predict(model: Any, X: Any, method: str = "predict") -> Any:
    """Predictions for a Dask collection, partition by partition, which nothing computes as yet.

    A partition is one thread's work. Each worker gets the model once.

    Parameters
    ----------
    model : Network, or fitted estimator
        Whatever has the method.
    X : dask array or data frame of shape (n_samples, n_inputs)
        Rows as the model takes them; all columns must be numbers in an array.
    method : str, default "predict"
        Such as ``"predict_proba"``.

    Returns
    -------
    dask array, series or data frame
        For an array, an array. For a frame, a series or a frame of the same index.

    Raises
    ------
    ValueError
        If X is no such collection, or the model has no such method; when predictions are computed,
        as the method.
    """
    if not is_rows(X):
        raise ValueError(f"X must be a dask array or frame, got {type(X).__name__}.")
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions, a row for each sample; got {X.ndim}.")
    if not callable(getattr(model, method, None)):
        raise ValueError(
            f"method must be one of {type(model).__name__}'s, such as 'predict'; got "
            f"{checks.shown(method)}."
        )
    # A copy: predictions are those of the model as it is now.
    sent = dask.delayed(copy.deepcopy(model), pure=False, traverse=False)
    if not is_array(X):
        return X.map_partitions(
            _of_frame, sent, method, meta=_of_frame(make_meta(X), model, method)
        )
    X = in_rows(X)
    sample = _of_array(np.zeros((1, X.shape[1]), X.dtype), model, method)[:0]
    return X.map_blocks(
        _of_array,
        sent,
        method,
        dtype=sample.dtype,
        meta=sample,
        chunks=(X.chunks[0], *((width,) for width in sample.shape[1:])),
        drop_axis=[1] if sample.ndim == 1 else None,
    )


def _of_array(X: Any, model: Any, method: str) -> Any:
    """Predictions for a partition; none for no rows, which models refuse."""
    if X.shape[0] == 0:
        return _of_array(np.zeros((1, X.shape[1])), model, method)[:0]
    with threads.at_most(1):
        return getattr(model, method)(X)


def _of_frame(X: Any, model: Any, method: str) -> Any:
    """The same with the index of a frame."""
    is_empty = len(X) == 0
    made = _of_array(meta_nonempty(X) if is_empty else X, model, method)
    kind = pd.Series if made.ndim == 1 else pd.DataFrame
    return kind(made[:0] if is_empty else made, index=X.index)
