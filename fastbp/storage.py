"""Model files: safetensors, with a versioned JSON header."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import kernels, optimizers, schedules
from fastbp.history import History
from fastbp.network import Network
from fastbp.trainer import Trainer
from fastbp.validation import FloatArray

FORMAT = 1
_KEY = "fastbp"


def save(
    network_or_trainer: Network | Trainer,
    path: str | os.PathLike[str],
    *,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write a network, or a trainer with its network, to a safetensors file.

    The file is written under a temporary name, synced and renamed: a crash leaves the old file or
    the new one, never half of one.

    Parameters
    ----------
    network_or_trainer : Network or Trainer
        A trainer is saved with its options, history, the optimizer's state and that of its random
        order, so that a loaded one goes on bit for bit.
    path : path-like
        By convention ``*.safetensors``. Tensors are named ``layers.0.weight`` (n_out, n_in) and
        ``layers.0.bias`` (n_out,), as torch.nn stores them.
    extra : dict, optional
        Anything JSON can hold, such as class names; `read_header` returns it as ``"extra"``.

    Raises
    ------
    ValueError
        If the object is neither, ``extra`` is not JSON, or the path is a folder or a device.
    OSError
        If the file cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    trainer = network_or_trainer if isinstance(network_or_trainer, Trainer) else None
    network = trainer.network if trainer else network_or_trainer
    if not isinstance(network, Network):
        raise ValueError(
            f"save takes a fastbp.Network or fastbp.Trainer, got {type(network).__name__}."
        )
    try:
        json.dumps(extra)
    except TypeError as error:
        raise ValueError(f"extra must hold what JSON can hold: {error}.") from None
    header: dict[str, Any] = {
        "format": FORMAT,
        "sizes": network.sizes,
        "activations": network.activations,
        "loss": network.loss_name,
        "inits": network.inits,
        "dtype": network.dtype.name,
        "extra": extra or {},
    }
    tensors = dict(_named("", network.weights, network.biases))
    if trainer:
        options = trainer._checked_options()
        if callable(options["shuffle"]):
            raise ValueError(
                "shuffle must be True or False to be saved, got a function; set trainer.shuffle "
                "first."
            )
        rule = trainer._current_rule(network, options["optimizer"])
        header["trainer"] = {
            "options": options
            | {
                "optimizer": optimizers.describe(options["optimizer"]),
                "learning_rate": schedules.describe(options["learning_rate"]),
            },
            "history": vars(trainer.history),
            "generator": trainer._generator.bit_generator.state,
            "key": trainer._key,
            "counts": rule.counts.tolist(),
        }
        for k, moment in enumerate(rule.moments.reshape(-1, rule.n_params)):
            tensors |= _named(f"moments.{k}.", *kernels.layer_views(moment, network.layout))
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    _replace(Path(path), to_bytes(tensors, metadata={_KEY: json.dumps(header)}))


def _named(
    prefix: str, weights: Iterable[FloatArray], biases: Iterable[FloatArray]
) -> Iterator[tuple[str, FloatArray]]:
    """Names in the file, and the arrays."""
    for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
        yield f"{prefix}layers.{i}.weight", W
        yield f"{prefix}layers.{i}.bias", b


def _replace(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, all or nothing; a link is followed, a file's mode is kept."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a regular file; a model is written to a file of its own.")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.filename:  # the name that the caller knows
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the rename itself, where a directory can be synced
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Header of a model file: architecture, format, ``"extra"``, and the trainer's part if any.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a model file, or one of a later format.
    """
    return _read(path)[0]


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # the system's own words for a missing or forbidden file
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names} if _KEY in metadata else {}
    except (SafetensorError, TypeError) as error:  # TypeError: a dtype that numpy lacks
        raise ValueError(f"{path} is not a safetensors file of ours: {error}.") from None
    if _KEY not in metadata:
        raise ValueError(f"{path} is a safetensors file, but fastbp did not write it.")
    try:
        header = json.loads(metadata[_KEY])
        version = int(header["format"])
        if not isinstance(header["extra"], dict) or version < 1:
            raise TypeError("extra or format")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged: its header cannot be read: {error!r}.") from None
    if version > FORMAT:
        raise ValueError(
            f"{path} has format {version}, and this fastbp reads up to {FORMAT}: upgrade."
        )
    return header, tensors


def _check_tensors(header: dict[str, Any], tensors: dict[str, Any], prefix: str = "") -> None:
    """Shapes and dtypes, before a network of the header's sizes is allocated.

    And finiteness of parameters: of moments, squares may well overflow.
    """
    for i, (n_in, n_out) in enumerate(itertools.pairwise(header["sizes"])):
        for what, shape in (("weight", (n_out, n_in)), ("bias", (n_out,))):
            name = f"{prefix}layers.{i}.{what}"
            tensor = tensors[name]
            if tensor.shape != shape or tensor.dtype.name != header["dtype"]:
                raise ValueError(
                    f"{name} is {tensor.dtype} {tensor.shape}, the header says "
                    f"{header['dtype']} {shape}"
                )
            if not prefix and not np.isfinite(tensor).all():
                raise ValueError(f"{name} holds NaN or infinity")


def load(path: str | os.PathLike[str]) -> Network | Trainer:
    """Read what `save` wrote: a Network, or a Trainer if a trainer was saved.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a model file, is damaged, or is of a later format.
    """
    header, tensors = _read(path)
    try:
        _check_tensors(header, tensors)
        network = Network(
            header["sizes"],
            activation=header["activations"][:-1],
            loss=header["loss"],
            output=header["activations"][-1],
            init=header["inits"],
            dtype=header["dtype"],
            seed=0,
        )
        for name, view in _named("", network.weights, network.biases):
            view[...] = tensors[name]
        if "trainer" not in header:
            return network
        options = header["trainer"]["options"]
        optimizer = optimizers.restore(options.pop("optimizer", "sgd"))
        options["learning_rate"] = schedules.restore(options.get("learning_rate"))
        trainer = Trainer(network, optimizer, **options)
        columns = header["trainer"]["history"]
        # Files of version 0.1 had one method and one learning rate, and no columns for them.
        columns.setdefault("method", ["sequential"] * len(columns["seconds"]))
        columns.setdefault("learning_rate", [trainer.learning_rate] * len(columns["seconds"]))
        trainer.history = History(**columns)
        if len({len(column) for column in vars(trainer.history).values()}) > 1:
            raise ValueError("the columns of the history differ in length")
        trainer._generator.bit_generator.state = header["trainer"]["generator"]
        rule = trainer._current_rule(network, trainer.optimizer)
        for k, moment in enumerate(rule.moments.reshape(-1, rule.n_params)):
            _check_tensors(header, tensors, f"moments.{k}.")
            for name, view in _named(f"moments.{k}.", *kernels.layer_views(moment, network.layout)):
                view[...] = tensors[name]
        rule.counts[:] = header["trainer"].get("counts", [0.0] * len(rule.counts))
        if not (np.isfinite(rule.counts).all() and (rule.counts >= 0).all()):
            raise ValueError("the optimizer's counts are not numbers of at least 0")
        key = header["trainer"].get("key", trainer._key)
        if not (len(key) == 2 and all(isinstance(k, int) and 0 <= k < 2**32 for k in key)):
            raise ValueError("the key of dropout's masks is not two 32-bit numbers")
        trainer._key = tuple(key)
        return trainer
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
