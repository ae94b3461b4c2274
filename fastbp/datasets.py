"""Readers of data sets: the bundled digits, IDX folders, NPZ and CSV files."""

from __future__ import annotations

import gzip
import importlib.util
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import columns, tables
from fastbp.columns import CellError
from fastbp.extras import missing
from fastbp.validation import nearest

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
    name_or_path: str | os.PathLike[str],
    *,
    target: str | None = None,
    features: Sequence[str] | None = None,
) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    name_or_path : str or path-like
        ``"digits"``, scikit-learn's bundled handwritten digits; a folder of IDX files (MNIST and
        its relatives, gzipped or not); an ``.npz`` file with the arrays ``X`` and ``y`` (or
        ``x_train``, ``y_train``) and perhaps ``X_test`` and ``y_test``; or a ``.csv`` file with
        a header.
    target : str, optional
        Column of a CSV file that holds the targets; without it ``y`` is None. It is read as text
        where it does not hold numbers throughout (see Notes).
    features : sequence of str, optional
        Columns of a CSV file that hold the inputs; by default all but the target.

    Returns
    -------
    Dataset

    Raises
    ------
    OSError
        If nothing can be read at the path.
    ValueError
        If the content is not what it should be; the message names the file and the array, column
        or line.
    ImportError
        If ``"digits"`` is asked for and scikit-learn is not installed.

    Notes
    -----
    Inputs are taken for pixels, and divided by 255, if they are uint8, those of the test part as
    well; nothing else is scaled.

    A number in a CSV file is a decimal or scientific one such as ``12``, ``-0.50``, ``.5`` or
    ``2e3``. ``007``, ``1_000``, ``0x1F`` and digits of other scripts are text, and so are
    integers that would become equal as float64. A feature must not hold text; a target that does
    is a column of labels, which all stay as they are written. Words such as ``NA`` among numbers
    are an error. Numbers are equal by value: ``1`` and ``1.0`` are one class.

    `Network` learns class numbers. ``classes, y = np.unique(data.y, return_inverse=True)`` makes
    them from labels, ``np.searchsorted(classes, data.y_test)`` those of the test part, and
    ``classes[network.predict(X)]`` turns predictions into labels again.
    """
    return scaled(read(name_or_path, target, features))


def read(
    name_or_path: str | os.PathLike[str],
    target: str | None = None,
    features: Sequence[str] | None = None,
    text_target: bool = False,
) -> Dataset:
    """A data set with its inputs as the file has them, and its target as text if asked for."""
    path = Path(name_or_path)
    if path.is_dir():
        return _of_one_kind(path, _idx_folder(path))
    if str(name_or_path) == "digits":
        return _digits()
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder; a data set is 'digits', a folder of IDX files, "
            "an .npz or a .csv file."
        )
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _of_one_kind(path, _npz(path))
    if tables.is_table(path):
        return _table(path, target, features, text_target)
    raise ValueError(
        f"{path}: unknown kind of file {path.suffix!r}; a data set is 'digits', a folder of IDX "
        f"files, an .npz file or a table ({', '.join(tables.SUFFIXES)})."
    )


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
    finite = np.isfinite(values)
    if not finite.all():
        place = np.unravel_index(int(np.argmin(finite)), values.shape)
        column = f", column {place[1]}" if len(place) > 1 else ""
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
    "X": ("X", "x", "X_train", "x_train"),
    "y": ("y", "y_train"),
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
        raise ValueError(f"{path}: no array X or x_train; it has {', '.join(held) or 'no arrays'}.")

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


def _table(
    path: str | os.PathLike[str],
    target: str | None,
    features: Sequence[str] | None,
    text_target: bool,
) -> Dataset:
    targets = [] if target is None else [target]
    columns = None if features is None else list(dict.fromkeys([*features, *targets]))
    options = tables.Options(columns=columns, text=targets if text_target else ())
    reading = tables.read(path, options, keep=targets)
    for note in reading.notes:
        warnings.warn(note, stacklevel=4)
    table = reading.table
    if target is not None and target not in table.column_names:
        hint = nearest(target, table.column_names)
        names = ", ".join(table.column_names)
        raise ValueError(f"{reading.name}: no column {target!r}{hint}; the columns are {names}.")
    wanted = [name for name in table.column_names if name != target]
    if features is not None:
        wanted = list(features)
    if not wanted:
        raise ValueError(f"{reading.name}: no columns besides the target {target!r}.")
    X = np.empty((table.num_rows, len(wanted)))
    for j, name in enumerate(wanted):
        X[:, j] = _feature(reading, name)
    y = None if target is None else _targets(reading, target)
    return Dataset(X, y, features=tuple(wanted))


def _feature(reading: tables.Reading, name: str) -> Array:
    """A column of numbers; truth values are 0 and 1."""
    column = reading.table.column(name).combine_chunks()
    try:
        return columns.floats(column)
    except CellError as error:
        raise ValueError(
            f"{reading.name}: column {name!r} {error}, {reading.where(error.place)}; "
            "fastbp.read_table and fastbp.Preparation take text and missing values."
        ) from None


def _targets(reading: tables.Reading, name: str) -> Array:
    column = reading.table.column(name).combine_chunks()
    if column.null_count:
        place = column.is_null().index(True).as_py()
        raise ValueError(f"{reading.name}: column {name!r} is empty, {reading.where(place)}.")
    values: Array = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind in "bf":
        return values
    return values.astype(str)
