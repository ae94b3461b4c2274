"""Readers of data sets, as arrays: the bundled digits, IDX folders, NumPy's files and tables."""

from __future__ import annotations

import gzip
import importlib.util
import operator
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import columns, tables
from fastbp.columns import CellError
from fastbp.extras import missing
from fastbp.frames import is_frame

Array = NDArray[Any]


class Dataset(NamedTuple):
    """Inputs and targets, as `load_dataset` returns them."""

    X: Array
    """(n, n_inputs) real numbers. Pixels are scaled to 0…1, as float32: see `load_dataset`."""
    y: Array | None
    """(n,) or (n, n_outputs) as the file has them, text as str; None if there are none."""
    X_test: Array | None = None
    """Inputs of the test part, if the data set comes with one."""
    y_test: Array | None = None
    """Targets of the test part, if the data set comes with them."""
    features: tuple[str, ...] | None = None
    """Column names of X, if the file has them."""


def load_dataset(
    source: str | os.PathLike[str] | Any,
    *,
    target: str | int | None = None,
    features: Sequence[str] | None = None,
) -> Dataset:
    """Read a data set of numbers.

    Parameters
    ----------
    source : str, path-like or frame
        One of these:

        - ``"digits"``, scikit-learn's bundled handwritten digits;
        - a folder of IDX files (MNIST and its relatives, gzipped or not);
        - an ``.npz`` file with the arrays ``X`` and ``y`` (or ``x_train`` and ``y_train``, or
          ``data`` and ``target``) and perhaps ``X_test`` and ``y_test``;
        - an ``.npy`` file, which is mapped into memory: only the rows in use are read;
        - a table: a file that `read_table` reads, ``"-"`` (standard input), or a frame of pandas,
          polars or Arrow, such as `read_table` returns.
    target : str or int, optional
        Column of a table that holds the targets, by name; column of an ``.npy`` file, by number
        (from 0, or from -1 backwards). Without it ``y`` is None.
    features : sequence of str, optional
        Columns of a table that hold the inputs; by default all but the target.

    Returns
    -------
    Dataset

    Raises
    ------
    OSError
        If nothing can be read at the path.
    ValueError
        If the content is not what it should be; the message names the file and the array, column
        or line. Text and missing values are for `read_table` and `Preparation`.
    ImportError
        If ``"digits"`` is asked for and scikit-learn is not installed, or a table and pyarrow.

    Warns
    -----
    UserWarning
        If the first column of a table only counts the rows and is left out.

    Notes
    -----
    Inputs are taken for pixels, and divided by 255, if they are uint8, those of the test part as
    well; nothing else is scaled. True and false are 1 and 0.

    What counts as a number in a text file is said at `read_table`. A target that holds anything
    else is a column of labels, which all stay as they are written. Numbers are equal by value:
    ``1`` and ``1.0`` are one class.

    `Network` learns class numbers. ``classes, y = np.unique(data.y, return_inverse=True)`` makes
    them from labels, ``np.searchsorted(classes, data.y_test)`` those of the test part, and
    ``classes[network.predict(X)]`` turns predictions into labels again.
    """
    dataset, notes = _read(source, target, features, as_text=False)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return scaled(dataset)


def read(
    source: str | os.PathLike[str],
    target: str | int | None = None,
    features: Sequence[str] | None = None,
    text_target: bool = False,
) -> Dataset:
    """A data set with its inputs as the file has them, and its target as text if asked for."""
    return _read(source, target, features, text_target)[0]


def _read(
    source: Any, target: str | int | None, features: Sequence[str] | None, as_text: bool
) -> tuple[Dataset, tuple[str, ...]]:
    """A data set with its inputs as the file has them, and what is to be said of it."""
    if is_frame(source):
        return _of_table(tables.from_frame(source), target, features)
    path = Path(source)
    if str(source) not in ("-", "digits") and not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; {_KINDS}.")
    if str(source) == "-" or (tables.is_table(path) and not path.is_dir()):
        targets = () if target is None else (str(target),)
        wanted = None if features is None else [*features, *targets]
        options = tables.Options(columns=wanted, text=targets if as_text else ())
        return _of_table(tables.read(source, options, keep=targets), target, features)
    if path.suffix.lower() == ".npy" and path.is_file():
        return _npy(path, target), ()
    if target is not None:
        raise ValueError(f"target names a column of a table or of an .npy file, not of {path}.")
    return _of_one_kind(path, _parts(path)), ()


_KINDS = (
    "a data set is 'digits', a folder of IDX files, an .npz or .npy file, or a table "
    f"({', '.join(tables.SUFFIXES)})"
)


def _parts(path: Path) -> Dataset:
    """A data set that says itself what its targets are, and may have a test part."""
    if path.is_dir():
        return _idx_folder(path)
    if str(path) == "digits":
        return _digits()
    if path.suffix.lower() == ".npz":
        return _npz(path)
    raise ValueError(f"{path}: unknown kind of file {path.suffix!r}; {_KINDS}.")


def _of_one_kind(path: Path, dataset: Dataset) -> Dataset:
    """The data set, if its test part goes with the training part."""
    X, y, X_test, y_test, _ = dataset
    if X_test is not None and X_test.shape[1] != X.shape[1]:
        raise ValueError(
            f"{path}: the test part has {X_test.shape[1]} columns, the training part has "
            f"{X.shape[1]}."
        )
    if y is not None and y_test is not None and (y.dtype.kind == "U") != (y_test.dtype.kind == "U"):
        raise ValueError(
            f"{path}: targets must be text or numbers in both parts, got {y.dtype} for training "
            f"and {y_test.dtype} for testing."
        )
    return dataset


def is_pixels(dataset: Dataset) -> bool:
    """Whether all inputs are uint8: both parts must be scaled alike."""
    return all(X is None or X.dtype == np.uint8 for X in (dataset.X, dataset.X_test))


def scaled(dataset: Dataset, pixels: bool | None = None) -> Dataset:
    """The data set with its pixels (uint8) in 0…1, as float32.

    ``pixels`` says whether a network has learned from scaled pixels; by default `is_pixels` does.
    """
    if not (is_pixels(dataset) if pixels is None else pixels):
        return dataset

    def scale(X: Array | None) -> Array | None:
        if X is None or X.dtype != np.uint8:
            return X
        return X.astype(np.float32) / np.float32(255)

    X = scale(dataset.X)
    assert X is not None
    return dataset._replace(X=X, X_test=scale(dataset.X_test))


def split(dataset: Dataset, share: float, seed: int | None) -> Dataset:
    """Hold out a random share of the rows as the test part, at least one row on either side."""
    assert dataset.y is not None
    n = len(dataset.X)
    if n < 2:
        raise ValueError(f"cannot hold out a share of {n} rows; at least 2 are needed.")
    n_test = min(n - 1, max(1, round(share * n)))
    order = np.random.default_rng(seed).permutation(n)
    test, train = order[:n_test], order[n_test:]
    X, y = dataset.X, dataset.y
    return dataset._replace(X=X[train], y=y[train], X_test=X[test], y_test=y[test])


def _digits() -> Dataset:
    # scikit-learn's folder is found without importing it, which takes longer than training. Its own
    # reader is for versions that keep the file elsewhere.
    found = importlib.util.find_spec("sklearn")
    if found is None:
        raise missing("the digits come with scikit-learn", "sklearn")
    for folder in found.submodule_search_locations or ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            rows = np.loadtxt(file, np.int64, delimiter=",")
            pixels, labels = rows[:, :-1], rows[:, -1]
            break
    else:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
    return Dataset((pixels / 16).astype(np.float32), labels.astype(np.int64))


def _inputs(path: Path, name: str, values: Array) -> Array:
    """``values`` as finite rows."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{path}: array {name} must hold real numbers, got dtype {values.dtype}.")
    if values.ndim < 2 or values.size == 0:
        raise ValueError(
            f"{path}: array {name} must have rows and columns, got shape {values.shape}."
        )
    rows = values.reshape(len(values), -1)
    if rows.dtype.kind == "f":
        _refuse_nonfinite(path, name, rows)
    return rows


def _refuse_nonfinite(path: Path, name: str, values: Array) -> None:
    step = max(1, 2**20 // max(1, values[:1].size))
    for start in range(0, len(values), step):  # an array in a file is looked at piece by piece
        finite = np.isfinite(values[start : start + step])
        if finite.all():
            continue
        row, *others = np.unravel_index(int(np.argmin(finite)), finite.shape)
        place = (start + row, *others)
        column = f", column {place[1]}" if others else ""
        raise ValueError(f"{path}: array {name} has {values[place]} in row {place[0]}{column}.")


# IDX (http://yann.lecun.com/exdb/mnist/): two zero bytes, a type code, the number of dimensions,
# the sizes as big-endian uint32, then the values.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_NAME = re.compile(r"(?P<part>train|t10k|test).*(?P<kind>images|labels).*idx\d.*", re.I)


def _read_idx(path: Path) -> Array:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file: {error}.") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise ValueError(f"{path}: not an IDX file.")
    ndim = content[3]
    start = 4 + 4 * ndim
    if ndim > 8:
        raise ValueError(f"{path}: the IDX header announces {ndim} dimensions.")
    if len(content) < start:
        raise ValueError(f"{path}: the IDX header ends early.")
    shape = struct.unpack(f">{ndim}I", content[4:start])
    kind = np.dtype(_IDX_TYPES[content[2]])
    expected = int(np.prod(shape, dtype=object)) * kind.itemsize
    if len(content) - start != expected:
        raise ValueError(
            f"{path}: {expected} bytes of values announced, {len(content) - start} found."
        )
    values = np.frombuffer(content, kind, offset=start).reshape(shape)
    return values.astype(kind.newbyteorder("="), copy=False)


def _idx_folder(folder: Path) -> Dataset:
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        match = _IDX_NAME.search(path.name)
        if match and not path.name.startswith("."):
            part = "train" if match["part"].lower() == "train" else "test"
            found.setdefault((part, match["kind"].lower()), path)
    if ("train", "images") not in found or ("train", "labels") not in found:
        raise ValueError(
            f"{folder}: no IDX files such as train-images-idx3-ubyte.gz and "
            "train-labels-idx1-ubyte.gz in this folder."
        )

    def read(name: str) -> tuple[Array, Array]:
        images, labels = found[name, "images"], found[name, "labels"]
        X, y = _inputs(images, "images", _read_idx(images)), _read_idx(labels)
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise ValueError(f"{labels}: labels must be a row of integers, got shape {y.shape}.")
        if len(X) != len(y):
            raise ValueError(f"{images} has {len(X)} images, but {labels} has {len(y)} labels.")
        return X, y.astype(np.int64)

    if ("test", "images") in found and ("test", "labels") in found:
        return Dataset(*read("train"), *read("test"))
    return Dataset(*read("train"))


_NPZ_NAMES = {
    "X": ("X", "x", "X_train", "x_train", "data"),
    "y": ("y", "y_train", "target"),
    "X_test": ("X_test", "x_test"),
    "y_test": ("y_test",),
}


def _npz(path: Path) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as file:
            held = file.files
            parts = {
                part: next(((name, file[name]) for name in names if name in held), None)
                for part, names in _NPZ_NAMES.items()
            }
    except (ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        # TypeError: a single .npy array, which is no context manager
        raise ValueError(f"{path}: cannot be read as .npz: {error}") from None
    if parts["X"] is None:
        raise ValueError(
            f"{path}: no array X, x_train or data; it has {', '.join(held) or 'no arrays'}."
        )

    def pair(x: str, y: str) -> tuple[Array | None, Array | None]:
        (name_X, X), (name_y, labels) = parts[x] or ("", None), parts[y] or ("", None)
        if X is None:
            return None, None
        X = _inputs(path, name_X, X)
        if labels is not None:
            if labels.dtype.kind not in "biufU" or labels.ndim not in (1, 2):
                raise ValueError(
                    f"{path}: array {name_y} must hold numbers or text in one or two dimensions, "
                    f"got {labels.dtype} of shape {labels.shape}."
                )
            if labels.dtype.kind == "f":
                _refuse_nonfinite(path, name_y, labels)
            if len(labels) != len(X):
                raise ValueError(
                    f"{path}: array {name_y} has {len(labels)} entries for {len(X)} rows of "
                    f"{name_X}."
                )
        return X, labels

    X, y = pair("X", "y")
    assert X is not None
    X_test, y_test = pair("X_test", "y_test")
    return Dataset(X, y, X_test, y_test)


def _npy(path: Path, target: str | int | None) -> Dataset:
    """The rows of an array, which stay in the file until they are used."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as .npy: {error}") from None
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{path}: cannot be read as .npy: it is an .npz file.")
    rows = _inputs(path, "in the file", values)
    if target is None:
        return Dataset(rows, None)
    n_columns = rows.shape[1]
    try:
        place = operator.index(int(target) if isinstance(target, str) else target)
    except (TypeError, ValueError):
        place = n_columns
    if not -n_columns <= place < n_columns:
        raise ValueError(
            f"{path}: target must be the number of a column, from 0 to {n_columns - 1} or from -1 "
            f"backwards, got {target!r}."
        )
    if n_columns == 1:
        raise ValueError(f"{path}: no columns besides the target {target!r}.")
    y = np.array(rows[:, place])
    if (y == np.rint(y)).all() and (np.abs(y) < 2**53).all():  # class numbers among floats
        y = y.astype(np.int64)
    return Dataset(np.delete(rows, place, axis=1), y)


def _of_table(
    reading: tables.Reading, target: str | int | None, features: Sequence[str] | None
) -> tuple[Dataset, tuple[str, ...]]:
    names = reading.table.column_names
    for name in (*(features or ()), *([] if target is None else [target])):
        if name not in names:
            raise ValueError(f"{reading.name}: {tables.no_column(name, names)}.")
    wanted = [name for name in names if name != target] if features is None else list(features)
    if not wanted:
        raise ValueError(f"{reading.name}: no columns besides the target {target!r}.")
    X = np.empty((reading.table.num_rows, len(wanted)))
    for j, name in enumerate(wanted):
        X[:, j] = _column(reading, name, columns.numbers, _FOR_OTHERS)
    y = None if target is None else _column(reading, str(target), columns.targets)
    return Dataset(X, y, features=tuple(wanted)), reading.notes


_FOR_OTHERS = "; fastbp.read_table and fastbp.Preparation take text and missing values"


def _column(
    reading: tables.Reading, name: str, convert: Callable[[Any], Array], hint: str = ""
) -> Array:
    try:
        return convert(reading.table.column(name).combine_chunks())
    except CellError as error:
        where = reading.where(error.place)
        raise ValueError(f"{reading.name}: column {name!r} {error}, {where}{hint}.") from None
