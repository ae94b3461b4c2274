"""ONNX: a model as a graph that runs wherever onnxruntime does (the ``onnx`` extra)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import files
from fastbp.exchange import graph as graphs
from fastbp.exchange.graph import Graph, Node
from fastbp.exchange.models import reduced
from fastbp.extras import missing

# The intermediate representation that came with opset 17.
_IR = 8
# Files of protocol buffers end here.
_LARGEST = 2**31 - 1


def to_onnx(model: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """A model as an ONNX graph of opset 17, from raw rows to labels and probabilities or numbers.

    Arithmetic is in the network's dtype, and agrees with fastbp's to rounding. The number of rows
    is free.

    Parameters
    ----------
    model : Network, Trainer, fitted estimator of `fastbp.sklearn`, or path of a model file
    path : path-like, optional
        Where to write it, by convention ``*.onnx``.

    Returns
    -------
    onnx.ModelProto
        Its input is ``X``, (N, n_inputs) of the network's dtype. If the network has a
        `Preparation`, X holds raw rows, (N, n_columns) of float64, NaN where a number is missing;
        and if that takes text, each column is an input of its own, (N, 1), by its name: float64, or
        strings, "" where one is missing. Outputs are ``label`` and ``probabilities``, which hold
        what `predict` and `predict_proba` give; of a regression ``outputs``, what `predict` gives.

    Raises
    ------
    ValueError
        If the model is none of these or has a parameter that is not finite; if a column is hashed
        or cannot be an input by its name; or if there are more than 2 GiB of parameters.
    OSError
        If a file cannot be read or written.
    ImportError
        If the ``onnx`` extra is not installed.

    Notes
    -----
    Nothing is checked when the graph runs: what `predict` refuses, such as a number that overflows,
    gives infinity or NaN. A text that training did not have counts as none, as in `predict`.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.to_onnx(fastbp.Network((8, 16, 4), seed=0)).graph.output[1].name
    'probabilities'
    """
    found = reduced(model)
    network, graph = found.network, Graph()
    numbers = found.decision == "numbers"
    names = ("outputs",) if numbers else ("label", "probabilities")
    inputs, x = graphs.prepared(graph, network, names)
    a = graphs.layers(graph, network, x)
    outputs = [("outputs", network.dtype)]
    if numbers:
        graph.output(graphs.restored(graph, network, a), "outputs")
        if network.preparation is not None and network.preparation.scales_targets:
            outputs = [("outputs", np.dtype(np.float64))]
    else:
        label, probabilities = graphs.decided(graph, found, a)
        graph.output(label, "label")
        graph.output(probabilities, "probabilities")
        kind = np.dtype(np.int64) if found.labels is None else found.labels.dtype
        outputs = [("label", kind), ("probabilities", network.dtype)]
    shapes = {"label": 2 if found.decision == "labels" else 1, "probabilities": 2}
    shapes["outputs"] = 1 if network.sizes[-1] == 1 else 2
    columns = 2 if found.columns == "both" else network.sizes[-1]
    proto = _proto(graph, inputs, [(n, kind, (columns,) * (shapes[n] - 1)) for n, kind in outputs])
    if path is not None:
        with files.replaced(path) as file:
            file.write(proto.SerializeToString())
    return proto


def library() -> Any:
    """The onnx library; ImportError if it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise missing("ONNX files need onnx", "onnx") from error
    return onnx


def _proto(
    graph: Graph,
    inputs: list[graphs.Input],
    outputs: list[tuple[str, np.dtype[Any], tuple[int, ...]]],
) -> Any:
    """The graph as onnx has it, checked by onnx."""
    onnx = library()
    if sum(value.nbytes for value in graph.constants.values()) > _LARGEST:
        raise ValueError("the network must have at most 2 GiB of parameters for an ONNX file.")
    described = [(each.name, each.dtype, (each.width,)) for each in inputs]
    ins, outs = (
        [
            onnx.helper.make_tensor_value_info(name, type_of(kind), ["N", *shape])
            for name, kind, shape in each
        ]
        for each in (described, outputs)
    )
    nodes = [
        onnx.helper.make_node(
            node.kind, node.inputs, [node.output], domain=node.domain, **attributes_of(node)
        )
        for node in graph.nodes
    ]
    constants = [tensor(value, name) for name, value in graph.constants.items()]
    domains = {node.domain for node in graph.nodes}
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "fastbp", ins, outs, constants),
        opset_imports=[
            onnx.helper.make_opsetid(domain, version)
            for domain, version in graphs.OPSETS.items()
            if domain in domains
        ],
        ir_version=_IR,
        producer_name="fastbp",
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def type_of(dtype: np.dtype[Any]) -> int:
    """Number that ONNX has for a dtype."""
    onnx = library()
    if dtype.kind == "U":
        return int(onnx.TensorProto.STRING)
    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype))


def attributes_of(node: Node) -> dict[str, Any]:
    """A node's attributes as onnx takes them."""
    return {
        name: type_of(value) if isinstance(value, np.dtype) else value
        for name, value in node.attributes.items()
    }


def tensor(value: NDArray[Any], name: str) -> Any:
    """An array as onnx has it."""
    return library().numpy_helper.from_array(
        value.astype(object) if value.dtype.kind == "U" else np.ascontiguousarray(value), name
    )
