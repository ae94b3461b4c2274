"""Some of the samples, or several sets of samples as one, whatever they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels
from fastbp.splitting import Rows


def taken(samples: kernels.Samples, rows: Rows) -> kernels.Samples:
    """Some of the rows, copied."""
    return _like(samples, inputs_of(samples.inputs, rows), lambda array: array[rows])


def cut(samples: kernels.Samples, start: int, stop: int) -> kernels.Samples:
    """Rows from ``start`` to below ``stop``, not copied."""
    inputs = samples.inputs
    if inputs.is_sparse:
        indptr = inputs.indptr[start : stop + 1]
        first, last = int(indptr[0]), int(indptr[-1])
        data, indices = inputs.data[first:last], inputs.indices[first:last]
        inputs = inputs._replace(
            data=data, indices=indices, indptr=kernels.read_only(indptr - first)
        )
    else:
        inputs = inputs._replace(X=inputs.X[start:stop])
    return _like(samples, inputs, lambda array: array[start:stop])


def joined(parts: Sequence[kernels.Samples]) -> kernels.Samples:
    """The rows of all parts, one after the other, copied."""
    first, inputs = parts[0], [part.inputs for part in parts]

    def all_of(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return kernels.read_only(np.concatenate(arrays))

    if first.inputs.is_sparse:
        ends = np.cumsum([len(each.data) for each in inputs])
        starts = [
            each.indptr[1:] + before
            for each, before in zip(inputs, (0, *ends.tolist()), strict=False)
        ]
        whole = first.inputs._replace(
            data=all_of([each.data for each in inputs]),
            indices=all_of([each.indices for each in inputs]),
            indptr=all_of([first.inputs.indptr[:1] * 0, *starts]),
        )
    else:
        whole = first.inputs._replace(X=all_of([each.X for each in inputs]))
    return first._replace(
        inputs=whole,
        labels=all_of([part.labels for part in parts]),
        targets=all_of([part.targets for part in parts]),
        weights=all_of([part.weights for part in parts]),
    )


def inputs_of(inputs: kernels.Inputs, rows: Rows) -> kernels.Inputs:
    """Some of the rows, copied."""
    if not inputs.is_sparse:
        return kernels.dense_inputs(kernels.read_only(inputs.X[rows]))
    lengths = np.diff(inputs.indptr)[rows]
    indptr = np.zeros(len(rows) + 1, inputs.indptr.dtype)
    np.cumsum(lengths, out=indptr[1:])
    places = np.arange(indptr[-1]) + np.repeat(inputs.indptr[rows] - indptr[:-1], lengths)
    return inputs._replace(
        data=kernels.read_only(inputs.data[places]),
        indices=kernels.read_only(inputs.indices[places]),
        indptr=kernels.read_only(indptr),
    )


def _like(samples: kernels.Samples, inputs: kernels.Inputs, of: Any) -> kernels.Samples:
    """Samples with these inputs, and with ``of`` each array beside them that has rows."""

    def part(array: NDArray[Any]) -> NDArray[Any]:
        return kernels.read_only(of(array)) if len(array) > 0 else array

    return samples._replace(
        inputs=inputs,
        labels=part(samples.labels),
        targets=part(samples.targets),
        weights=part(samples.weights),
    )
