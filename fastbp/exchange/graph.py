"""The graph of a model in the operators of ONNX, as plain values: no library is needed for it.

Operators are those of opset 17 and of version 3 of ai.onnx.ml. Attributes of ONNX are float32, so
numbers are constants of the network's dtype. Where onnxruntime lacks an operator in float64, it
is composed of others.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.exchange.models import Model
from fastbp.network import Network
from fastbp.preparation import Column, Preparation

OPSETS = {"": 17, "ai.onnx.ml": 3}

_SIMPLE = {
    "identity": "Identity",
    "relu": "Relu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "exp": "Exp",
}


class Node(NamedTuple):
    """An operator, with the names of what it takes and of what it gives."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    domain: str
    attributes: dict[str, Any]
    """A dtype stands for the number that ONNX has for it."""


class Graph:
    """Nodes and constants, in the order in which they are made."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._numbers = itertools.count()

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator; returns the name of what it gives."""
        output = f"fastbp.{next(self._numbers)}"
        self.nodes.append(Node(kind, inputs, output, domain, attributes))
        return output

    def constant(self, value: Any, dtype: Any = None, name: str | None = None) -> str:
        """Add a constant; returns its name."""
        name = name or f"fastbp.{next(self._numbers)}"
        self.constants[name] = np.array(value, dtype)
        return name

    def output(self, value: str, name: str) -> None:
        """Give a value the name of an output."""
        self.nodes.append(Node("Identity", (value,), name, "", {}))


# Layers -----------------------------------------------------------------------------------------


def layers(graph: Graph, network: Network, x: str) -> str:
    """The network's outputs, (N, n_outputs), for inputs x of its dtype."""
    for l, (W, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        weight = graph.constant(W, name=f"layers.{l}.weight")
        bias = graph.constant(b, name=f"layers.{l}.bias")
        z = graph.op("Gemm", x, weight, bias, transB=1)
        x = _activation(graph, network.activations[l], z, network.dtype)
    return x


def _activation(graph: Graph, name: str, z: str, dtype: np.dtype[Any]) -> str:
    op, c = graph.op, functools.partial(graph.constant, dtype=dtype)
    if name in _SIMPLE:
        return op(_SIMPLE[name], z)
    match name:
        case "softmax":
            return op("Softmax", z, axis=1)
        case "leaky_relu":
            return op("Max", z, op("Mul", z, c(0.01)))
        case "elu":
            # eᶻ − 1 = tanh(z/2) (eᶻ + 1), of which no digits cancel.
            low = op("Min", z, c(0))
            below = op("Mul", op("Tanh", op("Mul", low, c(0.5))), op("Add", op("Exp", low), c(1)))
            return op("Where", op("Greater", z, c(0)), z, below)
        case "softplus":
            # log(1 + u) = u log(w) / (w − 1) with w = 1 + u as it is rounded: the errors of w in
            # both cancel (Goldberg, *What every computer scientist should know*, theorem 4).
            u = op("Exp", op("Neg", op("Abs", z)))
            w = op("Add", u, c(1))
            rest = op("Div", op("Mul", u, op("Log", w)), op("Sub", w, c(1)))
            rest = op("Where", op("Equal", w, c(1)), u, rest)
            return op("Add", op("Max", z, c(0)), rest)
        case "silu":
            return op("Mul", z, op("Sigmoid", z))
        case "gelu" if dtype == np.float32:
            erf = op("Erf", op("Mul", z, c(math.sqrt(0.5))))
            return op("Mul", op("Mul", z, c(0.5)), op("Add", erf, c(1)))
        case "gelu":
            return op("Mul", z, _normal(graph, z))
        case "gelu_tanh":
            cube = op("Mul", op("Mul", op("Mul", z, c(0.044715)), z), z)
            t = op("Tanh", op("Mul", op("Add", z, cube), c(math.sqrt(2 / math.pi))))
            return op("Mul", op("Mul", z, c(0.5)), op("Add", t, c(1)))
    raise NotImplementedError(name)  # of a new activation, before it stands here


# Beyond this size, erfc is below the rounding of 1.
_FARTHEST, _DEGREE = 6.0, 26


@functools.cache
def _scaled_erfc() -> tuple[float, ...]:
    """Coefficients of ½ eᵘ² erfc(u), 0 ≤ u ≤ 6, as a polynomial in 2 t − 1, t = 1 / (1 + u/2)."""
    low, high = 1 / (1 + _FARTHEST / 2), 1.0

    def value(y: float) -> float:
        u = 2 * (2 / ((high - low) * y + high + low) - 1)
        return 0.5 * math.exp(u * u) * math.erfc(u)

    series = np.polynomial.Chebyshev.interpolate(np.vectorize(value), _DEGREE)
    return tuple(series.convert(kind=np.polynomial.Polynomial).coef.tolist())


def _normal(graph: Graph, z: str) -> str:
    """The standard normal distribution function in float64, to some 1e-15, without Erf.

    Φ(−z) = ½ erfc(z / √2) = e^(−u²) q(u) with u = z / √2, where q is smooth.
    """
    op, c = graph.op, functools.partial(graph.constant, dtype=np.float64)
    low, high = 1 / (1 + _FARTHEST / 2), 1.0
    far = op("Mul", op("Abs", z), c(math.sqrt(0.5)))
    u = op("Min", far, c(_FARTHEST))
    t = op("Div", c(1), op("Add", op("Mul", u, c(0.5)), c(1)))
    y = op("Div", op("Sub", op("Mul", t, c(2)), c(high + low)), c(high - low))
    highest, *others = reversed(_scaled_erfc())
    q = c(highest)
    for coefficient in others:
        q = op("Add", op("Mul", q, y), c(coefficient))
    tail = op("Mul", q, op("Exp", op("Neg", op("Mul", u, u))))
    tail = op("Where", op("Greater", far, c(_FARTHEST)), c(0), tail)
    return op("Where", op("Less", z, c(0)), tail, op("Sub", c(1), tail))


# Outputs ----------------------------------------------------------------------------------------


class Outputs(NamedTuple):
    """Values of a classifier, as `predict` and `predict_proba` have them."""

    label: str
    probabilities: str


def decided(graph: Graph, model: Model, a: str) -> Outputs:
    """What a classifier makes of the network's outputs."""
    op, dtype = graph.op, model.network.dtype
    if model.decision == "class":
        label = op("ArgMax", a, axis=1, keepdims=0)
    else:
        label = op("Cast", op("Greater", a, graph.constant(0.5, dtype)), to=np.dtype(np.int64))
    if model.decision == "truth":
        label = first_column(graph, label)
    if model.labels is not None:
        label = op("Gather", graph.constant(model.labels), label)
    if model.columns == "both":
        a = op("Concat", op("Sub", graph.constant(1, dtype), a), a, axis=1)
    elif model.columns == "shares":
        total = op("ReduceSum", a, graph.constant([1], np.int64), keepdims=1)
        a = op("Div", a, op("Max", total, graph.constant(np.finfo(dtype).tiny, dtype)))
    return Outputs(label, a)


def restored(graph: Graph, network: Network, a: str) -> str:
    """Numbers of a regression in the unit of its targets: (N,) of one output, as in `predict`."""
    target = network.preparation and network.preparation.described()["target"]
    if target:
        a = graph.op("Cast", a, to=np.dtype(np.float64))
        a = graph.op("Mul", a, graph.constant(target["scale"], np.float64))
        a = graph.op("Add", a, graph.constant(target["mean"], np.float64))
    return first_column(graph, a) if network.sizes[-1] == 1 else a


def first_column(graph: Graph, values: str) -> str:
    """(N,) of (N, 1), or what is the only one along the second axis."""
    return graph.op("Squeeze", values, graph.constant([1], np.int64))


# Preparation ------------------------------------------------------------------------------------


class Input(NamedTuple):
    """What a graph takes."""

    name: str
    dtype: np.dtype[Any]
    width: int


def prepared(graph: Graph, network: Network, outputs: Sequence[str]) -> tuple[list[Input], str]:
    """What raw rows are taken as, beside outputs of these names, and the inputs made of them.

    Rows are one matrix X, of float64 if there is a preparation. If some columns are text, each
    column is an input of its own, (N, 1), by its name.
    """
    preparation = network.preparation
    if preparation is None:
        return [Input("X", network.dtype, network.sizes[0])], "X"
    columns = [Column(**fields) for fields in preparation.described()["columns"]]
    if preparation.text_columns:
        inputs = _named_inputs(preparation, columns, outputs)
        numbers = [column.name for column in columns if column.kind != "text"]
        x = graph.op("Concat", *numbers, axis=1) if numbers else ""
    else:
        inputs, x = [Input("X", np.dtype(np.float64), len(columns))], "X"
    pieces, places = [], []
    starts = np.cumsum([0, *(column.width for column in columns)])
    plain = [(start, c) for start, c in zip(starts, columns, strict=False) if c.kind != "text"]
    if plain:
        value, marks = _numbers(graph, x, [column for _, column in plain], network.dtype)
        pieces, places = [value], [start for start, _ in plain]
        if marks:
            pieces.append(marks)
            places += [start + 1 for start, column in plain if column.missing]
    for start, column in zip(starts, columns, strict=False):
        if column.kind == "text":
            pieces += _one_hot(graph, column, network.dtype)
            places += range(start, start + column.width)
    joined = graph.op("Concat", *pieces, axis=1) if len(pieces) > 1 else pieces[0]
    order = np.argsort(places)
    if not np.array_equal(order, np.arange(len(order))):
        joined = graph.op("Gather", joined, graph.constant(order, np.int64), axis=1)
    return inputs, joined


def _named_inputs(
    preparation: Preparation, columns: Sequence[Column], outputs: Sequence[str]
) -> list[Input]:
    """An input for each column; ValueError if one of them cannot be."""
    for column in columns:
        if column.buckets:
            raise ValueError(
                "preparation must have no hashed columns to be written as ONNX, which has no such "
                f"hash, and {column.name!r} is one; leave it out of hashed."
            )
        if (
            column.name in outputs
            or not column.name
            or column.name.startswith(("fastbp.", "layers."))
        ):
            raise ValueError(
                f"columns must have names, and others than {' and '.join(outputs)}, those of "
                "outputs, or any that begin with 'fastbp.' or 'layers.', to be inputs of ONNX; got "
                f"{column.name!r}."
            )
    kinds = {"text": np.dtype(str)}
    return [Input(c.name, kinds.get(c.kind, np.dtype(np.float64)), 1) for c in columns]


def _numbers(
    graph: Graph, x: str, columns: Sequence[Column], dtype: np.dtype[Any]
) -> tuple[str, str]:
    """(x − mean) / scale in float64, rounded to the dtype; and what marks missing ones, or ""."""
    op = graph.op
    mean, scale, fill = (
        graph.constant([getattr(column, name) for column in columns], np.float64)
        for name in ("mean", "scale", "fill")
    )
    is_missing = op("IsNaN", x)
    filled = op("Where", is_missing, fill, x)
    value = op("Cast", op("Div", op("Sub", filled, mean), scale), to=dtype)
    marked = [j for j, column in enumerate(columns) if column.missing]
    if not marked:
        return value, ""
    marks = op("Cast", is_missing, to=dtype)
    return value, op("Gather", marks, graph.constant(marked, np.int64), axis=1)


def _one_hot(graph: Graph, column: Column, dtype: np.dtype[Any]) -> list[str]:
    """1 for a text's value, and whether there is one: an empty text is a missing one."""
    pieces = []
    if column.values:
        hot = graph.op("OneHotEncoder", column.name, domain="ai.onnx.ml",
                       cats_strings=list(column.values), zeros=1)  # fmt: skip
        hot = first_column(graph, hot)  # (N, n) of (N, 1, n)
        pieces.append(graph.op("Cast", hot, to=dtype))
    if column.missing:
        empty = graph.op("LabelEncoder", column.name, domain="ai.onnx.ml",
                         keys_strings=[""], values_floats=[float("" not in column.values)],
                         default_float=0.0)  # fmt: skip
        pieces.append(graph.op("Cast", empty, to=dtype))
    return pieces
