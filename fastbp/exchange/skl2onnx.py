"""Converters of skl2onnx for the estimators of `fastbp.sklearn` (the ``onnx`` extra)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.exchange import graph as graphs
from fastbp.exchange.graph import Graph
from fastbp.exchange.models import reduced
from fastbp.exchange.onnx import attributes_of, tensor, type_of
from fastbp.extras import missing


def register(classifier: type, regressor: type) -> None:
    """Tell skl2onnx how these are converted; `fastbp.sklearn.register_onnx` says more."""
    try:
        import skl2onnx
        from skl2onnx.common import data_types, shape_calculator
    except ImportError as error:
        raise missing("register_onnx needs skl2onnx", "onnx") from error

    def set_types(operator: Any) -> None:
        shape_calculator.calculate_linear_classifier_output_shapes(operator)
        if operator.raw_operator.target_type_ == "multilabel-indicator":
            operator.outputs[0].set_type(data_types.Int64TensorType(_shape(operator)))

    def set_type(operator: Any) -> None:
        shape_calculator.calculate_linear_regressor_output_shapes(operator)
        operator.outputs[0].type.shape = _shape(operator)

    skl2onnx.update_registered_converter(
        classifier,
        "FastbpMLPClassifier",
        set_types,
        _convert_classifier,
        options={
            "zipmap": [True, False, "columns"],
            "output_class_labels": [False, True],
            "nocl": [True, False],
        },
    )
    skl2onnx.update_registered_converter(
        regressor, "FastbpMLPRegressor", set_type, _convert_regressor
    )


def _shape(operator: Any) -> list[int | None]:
    """Shape of an array with a column for each output; the number of rows may be free."""
    n: int | None = operator.inputs[0].get_first_dimension()
    return [n, operator.raw_operator.network_.sizes[-1]]


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    model, graph = reduced(operator.raw_operator), Graph()
    a = _outputs(graph, model.network, operator)
    label, probabilities = graphs.decided(graph, model, a)
    if model.labels is None or model.labels.dtype.kind != "U":
        label = graph.op("Cast", label, to=np.dtype(np.int64))  # as skl2onnx has declared it
    probabilities = graph.op("Cast", probabilities, to=_real(operator))
    _add(graph, scope, operator, container, [label, probabilities])


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    network, graph = reduced(operator.raw_operator).network, Graph()
    a = _outputs(graph, network, operator)
    _add(graph, scope, operator, container, [graph.op("Cast", a, to=_real(operator))])


def _outputs(graph: Graph, network: Any, operator: Any) -> str:
    """The network's outputs, computed in its own dtype."""
    x = graph.op("Cast", operator.inputs[0].full_name, to=network.dtype)
    return graphs.layers(graph, network, x)


def _real(operator: Any) -> np.dtype[Any]:
    """The dtype of numbers that skl2onnx expects: double of double, otherwise float."""
    is_double = type(operator.inputs[0].type).__name__ == "DoubleTensorType"
    return np.dtype(np.float64 if is_double else np.float32)


def _add(graph: Graph, scope: Any, operator: Any, container: Any, outputs: list[str]) -> None:
    """Add a graph to that of skl2onnx, under names that are new there."""
    given = {each.full_name for each in operator.inputs}
    for made, output in zip(outputs, operator.outputs, strict=True):
        graph.output(made, output.full_name)
        given.add(output.full_name)
    names: dict[str, str] = {name: name for name in given}
    for name, value in graph.constants.items():
        names[name] = scope.get_unique_variable_name(name)
        content = tensor(value, "")
        if value.dtype.kind == "U":  # of tensors, skl2onnx takes numbers alone
            content = list(content.string_data)
        container.add_initializer(names[name], type_of(value.dtype), value.shape, content)
    for node in graph.nodes:
        if node.output not in names:
            names[node.output] = scope.get_unique_variable_name(node.output)
        container.add_node(
            node.kind,
            [names[each] for each in node.inputs],
            [names[node.output]],
            op_domain=node.domain,
            name=scope.get_unique_operator_name(node.kind),
            **attributes_of(node),
        )
