"""A network as C source: one header that predicts and, if wanted, learns."""

from __future__ import annotations

import os
import re
import string
import textwrap
from collections.abc import Iterable
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import c_templates as c
from fastbp import checks, files
from fastbp.network import Network
from fastbp.preparation import Column


def to_c(
    network: Network,
    path: str | os.PathLike[str] | None = None,
    *,
    training: bool = False,
    name: str = "net",
) -> str:
    """A network as one C header, which needs nothing but ``<math.h>``.

    It is C99 and C++, allocates nothing and has no state of its own: parameters are a struct that
    the caller passes. Arithmetic is in the network's dtype.

    Parameters
    ----------
    network : Network
        If it has a `Preparation`, the functions take raw rows of double, NaN where a number is
        missing, and targets in their own unit.
    path : path-like, optional
        Where to write the header, by convention ``*.h``.
    training : bool, default False
        Whether it can learn: one step of plain SGD for one sample, as of ``Trainer``.
    name : str, default "net"
        Prefix of everything that the header defines. Headers of different names go together in one
        source file.

    Returns
    -------
    str
        Text of the header. With the name "net" it defines ``net_parameters``, a struct, and
        ``net_exported``, the constant one that holds this network's; ``net_predict``, for a
        classifier ``net_predict_class`` or ``net_predict_labels``; with ``training``,
        ``net_learn`` and, for classes, ``net_learn_class``; and ``net_classes`` if the network has
        labels. The text itself says what each takes.

    Raises
    ------
    ValueError
        If an argument is not allowed, if a parameter is not finite, or if the preparation takes
        text.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import fastbp
    >>> text = fastbp.to_c(fastbp.Network((8, 16, 4), seed=0))
    >>> "int net_predict_class(const net_parameters *p, const float x[8])" in text
    True
    """
    if not isinstance(network, Network):
        raise ValueError(f"to_c takes a fastbp.Network, got {type(network).__name__}.")
    checks.flag("training", training)
    if not isinstance(name, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(
            "name must be a C identifier, of letters, digits and underscores after a first "
            f"letter, got {checks.shown(name)}."
        )
    network.parameters.check_finite()
    text = _header(network, name, training)
    if path is not None:
        with files.replaced(path) as file:
            file.write(text.encode("ascii"))
    return text


def _header(network: Network, name: str, training: bool) -> str:
    """The header's parts, in their order."""
    columns = _columns(network)
    words = _words(network, columns)
    functions = [_forward(network)]
    if columns is not None:
        functions.append(c.PREPARE)
    functions += [c.PREDICT, *_decision(network)]
    if training:
        functions += _training(network)
    code = "".join(Template(each).substitute(words) for each in functions)
    for helper, its in reversed(c.HELPERS.items()):  # a helper's own ones come before it
        if f"{helper}(" in code:
            code = its + code
    beginning = c.BEGINNING + Template(c.PARAMETERS).substitute(words, fields=_fields(network))
    return "".join(
        [
            _comment(network, name),
            _own(beginning, network, name),
            _constants(network, columns, name),
            _own(code, network, name),
            f"\nstatic const {name}_parameters {name}_exported = {{\n{_values(network)}\n}};\n",
            "\n#endif\n",
        ]
    )


def _own(text: str, network: Network, name: str) -> str:
    """Templates in the dtype and with the prefix; constants and functions of math.h are float's."""
    kind = "double"
    if network.dtype == np.float32:
        kind = "float"
        text = re.sub(r"\b(\d+\.\d+)\b", r"\1f", text)
        text = re.sub(r"\b(exp|expm1|log|log1p|tanh|erf|fabs)\(", r"\1f(", text)
    return re.sub(r"\breal\b", kind, text).replace("own_", f"{name}_")


def _comment(network: Network, name: str) -> str:
    sizes = "-".join(map(str, network.sizes))
    layers = ", ".join(network.activations)
    return f"/* {name}: {sizes}, {layers}; loss {network.loss_name}. Written by fastbp. */\n"


def _words(network: Network, columns: list[Column] | None) -> dict[str, Any]:
    """What all templates of functions have in common."""
    sizes, L = network.sizes, len(network.activations)
    words = {
        "L": L,
        "n": sizes[-1],
        "n_x": sizes[0],
        "x": "x",
        "x_type": "real",
        "prepare": "",
        "y": "y",
        "y_type": "real",
        "prepare_target": "",
        "output": f"u.a{L}[k]",
    }
    if columns is not None:
        prepare = Template(c.PREPARED).substitute(n=sizes[0])
        words |= {"n_x": len(columns), "x": "prepared", "x_type": "double", "prepare": prepare}
    if _target(network) is not None:
        words |= {
            "y": "scaled",
            "y_type": "double",
            "prepare_target": Template(c.PREPARED_TARGET).substitute(n=sizes[-1]),
            "output": f"(double)u.a{L}[k] * own_target_scale[k] + own_target_mean[k]",
        }
    return words


# Layers -----------------------------------------------------------------------------------------


def _layers(network: Network) -> list[dict[str, Any]]:
    """Words of each layer's templates."""
    sizes = network.sizes
    return [
        {
            "l": l,
            "n_in": sizes[l - 1],
            "n_out": sizes[l],
            # The first layer's inputs are named where the function is filled in.
            "below": "$x" if l == 1 else f"u->a{l - 1}",
            "above": l + 1,
            "n_above": (*sizes, 0)[l + 1],
        }
        for l in range(1, len(sizes))
    ]


def _fields(network: Network) -> str:
    """Members of the struct of parameters."""
    return "".join(Template(c.PARAMETERS_OF_LAYER).substitute(words) for words in _layers(network))


def _forward(network: Network) -> str:
    layers, units = "", ""
    for words, activation in zip(_layers(network), network.activations, strict=True):
        template = c.SOFTMAX if activation == "softmax" else c.UNITS
        value = c.ACTIVATIONS.get(activation, ("",))[0]
        units += Template(c.UNITS_OF_LAYER).substitute(words)
        layers += Template(c.SUMS + template).substitute(words, value=value)
    layers = Template(layers).substitute(x="x")
    return Template(c.FORWARD).substitute(units=units, layers=layers)


def _decision(network: Network) -> list[str]:
    """What a classifier predicts besides probabilities."""
    if network.loss_name == "cross_entropy":
        return [c.PREDICT_CLASS]
    if network.is_classifier:
        return [c.PREDICT_TRUTH if network.sizes[-1] == 1 else c.PREDICT_LABELS]
    return []


def _training(network: Network) -> list[str]:
    """The functions that learn, in which the words of `_words` are still to be filled in."""
    loss, layers = network.loss_name, _layers(network)
    hidden = list(zip(layers[:-1], network.activations[:-1], strict=True))
    back = "".join(_back(words, activation) for words, activation in reversed(hidden))
    steps = "".join(Template(c.STEP).substitute(words) for words in layers)
    deltas = "".join(Template(c.DELTA_OF_LAYER).substitute(words) for words in layers)
    targets = c.TARGETS.get(loss, "any numbers")
    learn = Template(c.LEARN).safe_substitute(
        back=back, steps=steps, deltas=deltas, targets=targets
    )
    parts = [c.PREPARE_TARGET] if _target(network) is not None else []
    parts += [_loss(network), learn]
    if loss == "cross_entropy":
        mark = "y[label] = 1.0;"
        parts.append(Template(c.LEARN_CLASS).safe_substitute(n_classes="$n", mark=mark))
    elif loss == "binary_cross_entropy" and network.sizes[-1] == 1:
        mark = "y[0] = (real)label;"
        parts.append(Template(c.LEARN_CLASS).safe_substitute(n_classes=2, mark=mark))
    return parts


def _loss(network: Network) -> str:
    """The loss of a sample, and δ of the outputs: by the chain rule, unless the loss has it."""
    loss, L = network.loss_name, len(network.activations)
    value, derivative = c.LOSSES[loss]
    delta = derivative if loss in c.BY_Z else c.ACTIVATIONS[network.activations[-1]][1]
    meanings = {"y": "y_of[k]", "z": f"u->z{L}[k]", "a": f"u->a{L}[k]", "e": "a - y"}
    declared = _declared(f"{value} {delta}", meanings | {"d": derivative})
    prelude = c.OF_SOFTMAX if loss == "cross_entropy" else ""
    return Template(c.LOSS).safe_substitute(
        declared=declared, value=value, delta=delta, prelude=prelude
    )


def _back(words: dict[str, Any], activation: str) -> str:
    times = c.ACTIVATIONS[activation][1]
    l = words["l"]
    declared = _declared(times, {"z": f"u->z{l}[k]", "a": f"u->a{l}[k]"})
    return Template(c.BACK).substitute(words, declared=declared, times=times)


def _declared(expression: str, meanings: dict[str, str]) -> str:
    """Declarations, a line each, of the names that an expression needs, each by those before it."""
    lines = ""
    for name, meaning in reversed(meanings.items()):
        if re.search(rf"\b{name}\b", expression):
            lines = f"        const real {name} = {meaning};\n{lines}"
            expression += f" {meaning}"
    return lines


# Numbers ----------------------------------------------------------------------------------------


def _number(value: Any, dtype: np.dtype[Any]) -> str:
    """With so many digits that a compiler reads the same bits."""
    is_float = dtype == np.float32
    text = f"{float(value):.{9 if is_float else 17}g}"
    if text.lstrip("-").isdigit():
        text += ".0"
    return text + "f" * is_float


def _braced(items: Iterable[str], indent: str) -> str:
    """An initialiser, in lines of at most 100 characters: C99 ends at 4,095."""
    text = textwrap.fill(
        ", ".join(items), 100, initial_indent=f"{indent}{{", subsequent_indent=f"{indent} ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return text + "}"


def _numbers(values: NDArray[Any], indent: str) -> str:
    """Initialiser of an array."""
    if values.ndim == 1:
        return _braced((_number(each, values.dtype) for each in values.tolist()), indent)
    rows = ",\n".join(_numbers(row, indent + " ") for row in values)
    return f"{indent}{{\n{rows}\n{indent}}}"


def _values(network: Network) -> str:
    """Initialiser of the parameters' struct, without its braces."""
    pairs = zip(network.weights, network.biases, strict=True)
    return ",\n".join(_numbers(each, "    ") for W, b in pairs for each in (W.T, b))


def _constants(network: Network, columns: list[Column] | None, name: str) -> str:
    """Labels of the classes, and the numbers of the preparation."""
    constants: list[tuple[str, str, list[str]]] = []
    if network.classes is not None:
        constants.append(_labels(network.classes))
    if columns is not None:
        for what in ("mean", "scale", "fill"):
            numbers = [_double(getattr(column, what)) for column in columns]
            constants.append(("double ", what, numbers))
        constants.append(("int ", "is_marked", [str(int(column.missing)) for column in columns]))
    for what, values in (_target(network) or {}).items():
        constants.append(("double ", f"target_{what}", [_double(each) for each in values]))
    return "".join(
        f"\nstatic const {kind}{name}_{what}[{len(items)}] = {{\n    {_lines(items)}\n}};\n"
        for kind, what, items in constants
    )


def _lines(items: list[str]) -> str:
    """One for each, as a text may hold what lines are broken at."""
    return ",\n    ".join(items)


def _double(value: float) -> str:
    return _number(value, np.dtype(np.float64))


# Labels and preparation -------------------------------------------------------------------------


def _labels(classes: tuple[Any, ...]) -> tuple[str, str, list[str]]:
    """Type, name and values of the constant that has the labels of the classes."""
    if isinstance(classes[0], str):
        return "char *const ", "classes", [_quoted(label) for label in classes]
    if all(isinstance(label, int) and abs(label) < 2**63 for label in classes):
        return "long long ", "classes", [str(int(label)) for label in classes]
    return "double ", "classes", [_double(label) for label in classes]


def _quoted(text: str) -> str:
    """A text in C: bytes of UTF-8, in octal unless they are plain; ? might begin a trigraph."""
    plain = set(string.ascii_letters + string.digits + " !#$%&'()*+,-./:;<=>@[]^_`{|}~")
    escaped = (
        chr(b) if chr(b) in plain else f"\\{b:03o}" for b in text.encode("utf-8", "surrogatepass")
    )
    return f'"{"".join(escaped)}"'


def _columns(network: Network) -> list[Column] | None:
    """Columns of the preparation, all of them numbers or truth values; None without one."""
    if network.preparation is None:
        return None
    if texts := network.preparation.text_columns:
        raise ValueError(
            "preparation must take only numbers and truth values to be written in C, and it takes "
            f"text in {checks.shown(', '.join(texts))}; train a network on numbers, such as "
            "preparation.transform(X), and export that."
        )
    return [Column(**fields) for fields in network.preparation.described()["columns"]]


def _target(network: Network) -> dict[str, list[float]] | None:
    """Means and scales of targets, if the preparation scales them."""
    if network.preparation is None:
        return None
    target: dict[str, list[float]] | None = network.preparation.described()["target"]
    return target
