"""Model files: what of a network or a trainer goes into one, and comes out again."""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from fastbp import container, files, optimizers, schedules, schema, validation
from fastbp.callbacks import CallbackState
from fastbp.history import History
from fastbp.network import Network
from fastbp.trainer import Trainer
from fastbp.validation import FloatArray


def save(
    network_or_trainer: Network | Trainer,
    path: str | os.PathLike[str],
    *,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write a network, or a trainer with its network, to a safetensors file.

    The file is written under a temporary name, synced and renamed: a crash leaves the old file or
    the new one, never half of one. What a killed save left behind, the next one of that path
    removes.

    Parameters
    ----------
    network_or_trainer : Network or Trainer
        A trainer is saved with its options, history, the optimizer's state and that of its random
        order, so that a loaded one goes on bit for bit; and if it is saved by a callback, with the
        state of the callbacks (`Callback.state`).
    path : path-like
        By convention ``*.safetensors``. Tensors are named ``layers.0.weight`` (n_out, n_in) and
        ``layers.0.bias`` (n_out,), as torch.nn stores them.
    extra : dict, optional
        Anything JSON can hold, such as class names; `read_header` returns it as ``"extra"``.

    Raises
    ------
    ValueError
        If `load` would refuse the file: the object is neither, ``extra`` is not a dict of what JSON
        can hold, a parameter or a moment is not finite; or the path is a folder or a device.
    OSError
        If the file cannot be written.
    """
    trainer = network_or_trainer if isinstance(network_or_trainer, Trainer) else None
    network = trainer.network if trainer else network_or_trainer
    if not isinstance(network, Network):
        raise ValueError(
            f"save takes a fastbp.Network or fastbp.Trainer, got {type(network).__name__}."
        )
    try:
        header: dict[str, Any] = {
            "format": schema.FORMAT,
            "sizes": network.sizes,
            "activations": network.activations,
            "loss": network.loss_name,
            "inits": network.inits,
            "dtype": network.dtype.name,
            "extra": {} if extra is None else extra,
        }
        vectors = [("", network.params)]
        squares: tuple[str, ...] = ()
        if trainer:
            optimizer, header["trainer"], moments = _description(trainer, network)
            vectors += zip(_prefixes(optimizer), moments, strict=True)
            header["trainer"] |= _callbacks(trainer, vectors)
            squares = _prefixes(optimizer, of_squares=True)
        plain = {name: _in_json(name, value) for name, value in header.items()}
        schema.HEADER("", plain)
        tensors = [
            each for prefix, vector in vectors for each in _named(prefix, *network.views(vector))
        ]
        with files.replaced(path) as file:
            check = functools.partial(_check_values, squares)
            container.write(file, json.dumps(plain), tensors, check)
    except ValueError as error:
        what = "trainer" if trainer else "network"
        raise ValueError(f"The {what} cannot be saved: {_words(error)}.") from None


def _words(error: ValueError) -> str:
    """What an error says, within another sentence; a file's part of it may be of any length."""
    words = str(error).rstrip(".")
    return words if len(words) < 500 else f"{words[:500]} …"


def _in_json(name: str, value: Any) -> Any:
    """What JSON makes of a value, such as lists of tuples."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} must hold what JSON can hold: {error}") from None


def _description(
    trainer: Trainer, network: Network
) -> tuple[optimizers.Optimizer, dict[str, Any], FloatArray]:
    """The optimizer, the trainer's part of the header, and the optimizer's moments, a row each."""
    options = trainer._checked_options()
    if callable(options["shuffle"]):
        raise ValueError(
            "shuffle must be True or False to be saved, got a function; set trainer.shuffle first"
        )
    optimizer = options["optimizer"]
    rule = trainer._current_rule(network, optimizer)
    described = {
        "optimizer": optimizers.describe(optimizer),
        "learning_rate": schedules.describe(options["learning_rate"]),
    }
    part = {
        "options": options | described,
        "history": vars(trainer.history),
        "generator": trainer._generator.bit_generator.state,
        "key": trainer._key,
        "counts": rule.counts.tolist(),
    }
    return optimizer, part, rule.moments.reshape(-1, rule.n_params)


def _callbacks(trainer: Trainer, vectors: list[tuple[str, FloatArray]]) -> dict[str, Any]:
    """The field of what is kept of callbacks, if any is; arrays are added to the vectors."""
    kept = []
    for k, (callback, epochs_seen, values) in enumerate(trainer.callback_states()):
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        for name, array in arrays.items():
            if array.shape != trainer.network.params.shape or array.dtype != trainer.network.dtype:
                raise ValueError(
                    f"{name} of the callback {callback} must be a vector laid out as "
                    f"network.params, got {array.dtype} of shape {array.shape}"
                )
            vectors.append((_callback_prefix(k, name), array))
        kept.append(
            {
                "callback": callback,
                "epochs_seen": epochs_seen,
                "values": {k: v for k, v in values.items() if k not in arrays},
                "vectors": list(arrays),
            }
        )
    return {"callbacks": kept} if kept else {}


def _callback_prefix(k: int, name: str) -> str:
    return f"callbacks.{k}.{name}."


def _prefixes(optimizer: optimizers.Optimizer, *, of_squares: bool = False) -> tuple[str, ...]:
    """Prefixes of the names of an optimizer's moments, or of those that are never negative."""
    moments = range(optimizer.n_moments)
    return tuple(f"moments.{k}." for k in moments if not of_squares or k in optimizer.squares)


def _named(prefix: str, weights: Iterable[Any], biases: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """What belongs to each tensor, by its name in the file."""
    for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
        yield f"{prefix}layers.{i}.weight", W
        yield f"{prefix}layers.{i}.bias", b


def _check_values(squares: Sequence[str], name: str, values: FloatArray) -> None:
    """Refuse what no parameter and no moment can be, in a file and in what is to be saved."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinity")
    if name.startswith(tuple(squares)) and values.min() < 0:
        raise ValueError(f"{name} holds numbers below 0, and is a mean or a sum of squares")


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Header of a model file: architecture, format, ``"extra"``, and the trainer's part if any.

    The whole file is read once, for its digest.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a model file, is damaged, or is of a later format.
    """
    with files.opened(path) as file:
        return _read(path, file)[1]


def _read(path: str | os.PathLike[str], file: BinaryIO) -> tuple[container.Reader, dict[str, Any]]:
    """The file's header, after its fields and the file's digest have been checked."""
    try:
        reader = container.Reader(file)
    except ValueError as error:
        raise ValueError(f"{path} is not a safetensors file of ours: {_words(error)}.") from None
    if not isinstance(reader.text, str):
        raise ValueError(f"{path} is a safetensors file, but fastbp did not write it.")
    try:
        header = container.parsed(reader.text)
        version = header.get("format") if isinstance(header, dict) else None
        is_later = type(version) is int and version > schema.FORMAT
        if not is_later:
            schema.HEADER("", header)
            reader.verify()
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {_words(error)}.") from None
    if is_later:
        raise ValueError(
            f"{path} has format {version}, and this fastbp reads up to {schema.FORMAT}: upgrade."
        )
    return reader, header


def load(path: str | os.PathLike[str]) -> Network | Trainer:
    """Read what `save` wrote: a Network, or a Trainer if a trainer was saved.

    The whole header is checked before memory is asked for, and a digest tells whether a bit of the
    file has changed; files of the first fastbp have none. Parameters and moments take at most
    16 times their bytes in the file, for rows are padded; the header's objects some 60 times its
    bytes; and reading needs a few megabytes besides.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a model file, is damaged, or is of a later format.
    """
    with files.opened(path) as file:
        reader, header = _read(path, file)
        try:
            return _restored(reader, header)
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {_words(error)}.") from None


def _restored(reader: container.Reader, header: dict[str, Any]) -> Network | Trainer:
    network = object.__new__(Network)
    network._describe(
        header["sizes"],
        header["activations"][:-1],
        header["loss"],
        header["activations"][-1] if header["activations"] else "",
        header["inits"],
        validation.choice("dtype", header["dtype"], ("float32", "float64")),
    )
    prefixes, squares = [""], tuple[str, ...]()
    trainer = None
    if "trainer" in header:
        trainer = _restored_trainer(network, header["trainer"])
        prefixes += _prefixes(trainer.optimizer)
        kept = header["trainer"].get("callbacks", [])
        vectors_kept = [(k, name) for k, each in enumerate(kept) for name in each["vectors"]]
        prefixes += (_callback_prefix(k, name) for k, name in vectors_kept)
        squares = _prefixes(trainer.optimizer, of_squares=True)
    sizes = list(itertools.pairwise(network.sizes))
    shapes = [(n_out, n_in) for n_in, n_out in sizes], [(n_out,) for _, n_out in sizes]
    reader.expect((each for p in prefixes for each in _named(p, *shapes)), network.dtype)
    # The file is what it says: only now is memory asked for, and filled.
    network._allocate()
    vectors = [network.params]
    if trainer:
        rule = trainer._current_rule(network, trainer.optimizer)
        rule.counts[:] = header["trainer"].get("counts", _NO_COUNTS)
        vectors.extend(rule.moments.reshape(-1, rule.n_params))
        for k, name in vectors_kept:
            vectors.append(np.zeros_like(network.params))
            kept[k]["values"][name] = vectors[-1]
        trainer.resume_callbacks(
            CallbackState(each["callback"], each["epochs_seen"], each["values"]) for each in kept
        )
    check = functools.partial(_check_values, squares)
    for prefix, vector in zip(prefixes, vectors, strict=True):
        for name, view in _named(prefix, *network.views(vector)):
            reader.read(name, view, check)
    return trainer or network


# Of files of version 0.1, which had no optimizer but plain SGD.
_NO_COUNTS = (0, 0, 0)


def _restored_trainer(network: Network, part: dict[str, Any]) -> Trainer:
    """A trainer as its part of the header says, of a network that has no parameters yet."""
    options = dict(part["options"])
    trainer = Trainer(network, optimizers.restore(options.pop("optimizer", "sgd")))
    if unknown := options.keys() - trainer._checked_options().keys():
        raise ValueError(f"trainer.options has no field {min(unknown)!r}")
    if "learning_rate" in options:
        options["learning_rate"] = schedules.restore(options["learning_rate"])
    for name, value in options.items():
        setattr(trainer, name, value)
    n = len(part["history"]["seconds"])
    once = {"method": ["sequential"] * n, "learning_rate": [trainer.learning_rate] * n}
    trainer.history = History(**(once | part["history"]))
    trainer._checked_options()  # as they are for its next epoch
    if not isinstance(trainer.optimizer, optimizers.NAdam) and part.get("counts", _NO_COUNTS)[1]:
        raise ValueError("trainer.counts[1] must be 0 for any optimizer but nadam")
    trainer._generator.bit_generator.state = part["generator"]
    trainer._key = tuple(part.get("key", trainer._key))
    return trainer
