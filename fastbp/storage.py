"""Model files: what is saved of a network or a trainer, and how it is restored."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import safetensors.numpy

from fastbp import checks, files, optimizers, schema
from fastbp.callbacks import CallbackState
from fastbp.fitting import Unfinished
from fastbp.history import History
from fastbp.network import Network
from fastbp.options import restored_options
from fastbp.preparation import Preparation
from fastbp.running import Stream
from fastbp.samples import FloatArray
from fastbp.trainer import Trainer

# Most bytes that safetensors readers accept for a file's header: all but the tensors.
LONGEST_HEADER = 100_000_000

_DTYPES = {"F32": "float32", "F64": "float64"}


def save(
    network_or_trainer: Network | Trainer,
    path: str | os.PathLike[str],
    *,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write a network, or a trainer with its network, to a safetensors file.

    The file is written under a temporary name, synced and renamed: a crash leaves the old file or
    the new one, never half of one. If a save is killed, the next one to the same path
    removes what it left behind. Saving takes twice the file's size in memory.

    Parameters
    ----------
    network_or_trainer : Network or Trainer
        A trainer is saved with its options, its history and the states of its optimizer and of its
        random order, so that a loaded trainer goes on bit for bit. If a callback saves it, the
        states of callbacks (`Callback.state`) are saved, too.
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
        contents = _contents(network, trainer, {} if extra is None else extra)
        with files.replaced(path) as file:
            file.write(contents)
    except (ValueError, safetensors.SafetensorError) as error:
        what = "trainer" if trainer else "network"
        raise ValueError(f"The {what} cannot be saved: {_words(error)}.") from None


def _contents(network: Network, trainer: Trainer | None, extra: Any) -> bytes:
    """Contents of a file: tensors, and in the metadata the header as a text in JSON."""
    header: dict[str, Any] = {
        "format": schema.FORMAT,
        "sizes": network.sizes,
        "activations": network.activations,
        "loss": network.loss_name,
        "inits": network.inits,
        "dtype": network.dtype.name,
        "extra": extra,
    }
    if network.classes is not None:
        header["classes"] = network.classes
    if network.preparation is not None:
        header["preparation"] = network.preparation.described()
    vectors = [("", network.params)]
    squares: tuple[str, ...] = ()
    if trainer:
        optimizer, header["trainer"], moments = _description(trainer, network)
        vectors += zip(_prefixes(optimizer), moments, strict=True)
        header["trainer"] |= _callbacks(trainer, vectors)
        squares = _prefixes(optimizer, of_squares=True)
    plain = {name: _in_json(name, value) for name, value in header.items()}
    schema.HEADER("", plain)
    tensors = {
        name: np.ascontiguousarray(view)
        for prefix, vector in vectors
        for name, view in _named(prefix, *network.views(vector))
    }
    for name, tensor in tensors.items():
        _check_values(squares, name, tensor)
    plain["sha256"] = _digest(json.dumps(plain | {"sha256": ""}), tensors.items())
    contents = safetensors.numpy.save(tensors, {"fastbp": json.dumps(plain)})
    length = int.from_bytes(contents[:8], "little")
    if length > LONGEST_HEADER:
        raise ValueError(
            f"its description, with extra and the history, takes {length:,} bytes, and a model "
            f"file has room for {LONGEST_HEADER:,}"
        )
    return contents


def _digest(text: str, tensors: Iterable[tuple[str, FloatArray]]) -> str:
    """Digest of a header, whose own digest is left blank, and of tensors in the model's order."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def _words(error: Exception) -> str:
    """An error's text, for use in another sentence; cut, as text from a file may be very long."""
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
    state = trainer.optimizer_state
    part = {
        "options": trainer.options.described(),
        "history": trainer.history.described(),
        **trainer.workings.orders.described(),
        "counts": state.counts.tolist(),
    }
    if trainer.stream.samples > 0:
        part["stream"] = trainer.stream.described()
    if trainer.unfinished > 0:
        part["unfinished"] = trainer.workings.unfinished._asdict()
    return state.optimizer, part, state.moments


def _callbacks(trainer: Trainer, vectors: list[tuple[str, FloatArray]]) -> dict[str, Any]:
    """The header's field of callbacks' states, if any; their arrays are added to ``vectors``."""
    kept = []
    for k, (callback, epochs_seen, values) in enumerate(trainer.workings.listening.states()):
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
    """Names of tensors in the file, each with its item of ``weights`` or ``biases``."""
    for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
        yield f"{prefix}layers.{i}.weight", W
        yield f"{prefix}layers.{i}.bias", b


def _check_values(squares: Sequence[str], name: str, values: FloatArray) -> None:
    """Refuse values that no parameter or moment can have, when saving and when loading."""
    lowest, highest = values.min(), values.max()  # each NaN where there is one
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ValueError(f"{name} holds NaN or infinity")
    if name.startswith(tuple(squares)) and lowest < 0:
        raise ValueError(f"{name} holds numbers below 0, and is a mean or a sum of squares")


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Header of a model file: architecture, format, ``"extra"``, and the trainer's part if any.

    The whole file is read and checked as by `load`, tensor by tensor.

    Parameters
    ----------
    path : path-like
        Of the file.

    Returns
    -------
    dict
        As JSON has it.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a model file, is damaged, or is of a later format.
    """
    return _read(path, of_header=True)[0]


def load(path: str | os.PathLike[str]) -> Network | Trainer:
    """Read what `save` wrote: a Network, or a Trainer if a trainer was saved.

    The whole header is checked before memory is allocated, and a digest (which files of the first
    fastbp do not have) shows whether a bit of the file has changed. Parameters and moments take at
    most 16 times their size in the file, because rows are padded; the header's objects take some 60
    times its size; and reading takes another copy of the largest tensor.

    Parameters
    ----------
    path : path-like
        Of the file.

    Returns
    -------
    Network or Trainer
        Whichever was saved.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a model file, is damaged, or is of a later format.
    """
    return _read(path)[1]


def _read(
    path: str | os.PathLike[str], *, of_header: bool = False
) -> tuple[dict[str, Any], Network | Trainer]:
    """The header of a file and its model, which has no parameters if only the header is wanted."""
    with files.opened(path):  # pipes and devices are refused here, without being opened
        try:
            # Not mapped into memory: if a mapped file is truncated, the process is killed.
            name = os.fsdecode(path)
            file: Any = safetensors.safe_open(name, framework="numpy", backend="pread")
        except safetensors.SafetensorError as error:
            message = f"{path} is not a safetensors file of ours: {_words(error)}."
            raise ValueError(message) from None
    metadata = file.metadata() or {}
    if "fastbp" not in metadata:
        raise ValueError(f"{path} is a safetensors file, but fastbp did not write it.")
    text = metadata.pop("fastbp")
    try:
        header = _parsed(text)
        version = header.get("format") if isinstance(header, dict) else None
        if type(version) is int and version > schema.FORMAT:
            raise _LaterFormat(version)
        if isinstance(header, dict) and "sha256" not in header and "sha256" in metadata:
            _check_whole(path, metadata.pop("sha256"))
        if metadata:
            raise ValueError(f"its metadata holds {reprlib.repr(min(metadata))} beside fastbp")
        schema.HEADER("", header)
        with file:
            return header, _restored(file, text, header, of_header)
    except _LaterFormat as later:
        raise ValueError(
            f"{path} has format {later}, and this fastbp reads up to {schema.FORMAT}: upgrade."
        ) from None
    except (ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} is damaged: {_words(error)}.") from None


class _LaterFormat(Exception):  # noqa: N818 - the number of a format that is to come
    """Raised before anything else of a file is looked at."""


_CHANGED = "its digest is of other contents; it was changed after it was saved"


def _check_whole(path: str | os.PathLike[str], given: str) -> None:
    """Check a digest of the second kind of files: of every byte, its own digits taken for zeros."""
    with files.opened(path) as file:
        first = file.read(8)
        header = file.read(int.from_bytes(first, "little"))
        digest = hashlib.sha256(first + header.replace(given.encode(), b"0" * 64, 1))
        while part := file.read(1 << 20):
            digest.update(part)
    if digest.hexdigest() != given:
        raise ValueError(_CHANGED)


def _parsed(text: str) -> Any:
    """Parse a text as JSON; ValueError if it is not."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"its header cannot be read: {error}") from None


def _restored(file: Any, text: str, header: dict[str, Any], of_header: bool) -> Network | Trainer:
    """The model that a header describes, whose JSON is ``text``; the whole file is checked."""
    given = header.pop("sha256", "")
    network = _restored_network(header)
    prefixes, squares = [""], tuple[str, ...]()
    trainer = None
    if "trainer" in header:
        trainer = _restored_trainer(network, header["trainer"])
        prefixes += _prefixes(trainer.optimizer)
        for k, each in enumerate(header["trainer"].get("callbacks", [])):
            prefixes += (_callback_prefix(k, name) for name in each["vectors"])
        squares = _prefixes(trainer.optimizer, of_squares=True)
    sizes = list(itertools.pairwise(network.sizes))
    shapes = [(n_out, n_in) for n_in, n_out in sizes], [(n_out,) for _, n_out in sizes]
    expected = (each for prefix in prefixes for each in _named(prefix, *shapes))
    names = _checked_names(file, expected, network.dtype.name)
    # The file is what it says: only now is memory asked for, and filled.
    views: dict[str, FloatArray] = {}
    if not of_header:
        vectors = _allocated(network, trainer, header)
        for prefix, vector in zip(prefixes, vectors, strict=True):
            views.update(_named(prefix, *network.views(vector)))

    def tensors() -> Iterator[tuple[str, FloatArray]]:
        for name in names:
            tensor = file.get_tensor(name)
            _check_values(squares, name, tensor)
            # The view holds zeros already; not writing them saves memory for tensors of zeros.
            if views and tensor.view(np.uint8).any():
                views[name][...] = tensor
            yield name, tensor

    found = _digest(text.replace(given, "", 1), tensors())
    if given and given != found:
        raise ValueError(_CHANGED)
    return trainer or network


def _checked_names(
    file: Any, expected: Iterable[tuple[str, tuple[int, ...]]], dtype: str
) -> list[str]:
    """Names of the expected tensors; the file must hold exactly these. Values are not read."""
    surplus, names = set(file.keys()), []
    for name, shape in expected:
        if name not in surplus:
            raise ValueError(f"{name} is missing")
        surplus.remove(name)
        names.append(name)
        part = file.get_slice(name)
        kind, given = part.get_dtype(), tuple(part.get_shape())
        kind = _DTYPES.get(kind, kind)
        if (kind, given) != (dtype, shape):
            raise ValueError(f"{name} is {kind} {given}, the header says {dtype} {shape}")
    if surplus:
        raise ValueError(f"{reprlib.repr(min(surplus))} is no tensor of this model")
    return names


def _allocated(
    network: Network, trainer: Trainer | None, header: dict[str, Any]
) -> list[FloatArray]:
    """Vectors of zeros for parameters, moments and what callbacks keep, in the order of a file."""
    vectors = [network.params]
    if trainer:
        state = trainer.optimizer_state
        state.counts[:] = header["trainer"].get("counts", _NO_COUNTS)
        vectors.extend(state.moments)
        kept = []
        for each in header["trainer"].get("callbacks", []):
            arrays = {name: np.zeros_like(network.params) for name in each["vectors"]}
            vectors.extend(arrays.values())
            kept.append(
                CallbackState(each["callback"], each["epochs_seen"], each["values"] | arrays)
            )
        trainer.workings.listening.loaded = kept
    return vectors


# Of files of version 0.1, which had no optimizer but plain SGD.
_NO_COUNTS = (0, 0, 0)


def _restored_network(header: dict[str, Any]) -> Network:
    """A network as its header says, which has no parameters yet."""
    preparation = header.get("preparation")
    network = Network.blank(
        header["sizes"],
        activation=header["activations"][:-1],
        loss=header["loss"],
        output=header["activations"][-1] if header["activations"] else "",
        init=header["inits"],
        dtype=checks.choice("dtype", header["dtype"], ("float32", "float64")),
        classes=header.get("classes"),
        preparation=preparation and Preparation.from_description(preparation),
    )
    ours = network.loss_name, [*network.activations], [*network.inits]
    if (theirs := (header["loss"], header["activations"], header["inits"])) != ours:
        raise ValueError(f"{reprlib.repr(theirs)} must be names of ours, {reprlib.repr(ours)}")
    return network


def _restored_trainer(network: Network, part: dict[str, Any]) -> Trainer:
    """A trainer as its part of the header says, of a network that has no parameters yet."""
    options = restored_options(part["options"])
    trainer = Trainer(network, options.pop("optimizer", "sgd"))
    for name, value in options.items():
        setattr(trainer, name, value)
    n = len(part["history"]["seconds"])
    once = {"method": ["sequential"] * n, "learning_rate": [trainer.learning_rate] * n}
    trainer.history = History.restored(once | part["history"])
    trainer.stream = Stream.restored(part.get("stream", {}))
    _ = trainer.options  # raises ValueError if they do not go together in its next epoch
    if not isinstance(trainer.optimizer, optimizers.NAdam) and part.get("counts", _NO_COUNTS)[1]:
        raise ValueError("trainer.counts[1] must be 0 for any optimizer but nadam")
    trainer.workings.orders.restore(part)
    if "unfinished" in part:
        trainer.workings.unfinished = Unfinished(**part["unfinished"])
    return trainer
