"""Readers of data sets: the bundled digits, IDX folders, NPZ and CSV files."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Dataset(NamedTuple):
    """Inputs and targets, as `load_dataset` returns them."""

    X: Array
    """(n, n_inputs) floats. Pixels (uint8 arrays) are scaled to 0…1 as float32."""
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
        Column of a CSV file that holds the targets; without it ``y`` is None.
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
    """
    path = Path(name_or_path)
    if path.is_dir():
        return _idx_folder(path)
    if str(name_or_path) == "digits":
        return _digits()
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder; a data set is 'digits', a folder of IDX files, "
            "an .npz or a .csv file."
        )
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _npz(path)
    if suffix == ".csv":
        return _csv(path, target, features)
    raise ValueError(
        f"{path}: unknown kind of file {path.suffix!r}; a data set is 'digits', a folder of IDX "
        "files, an .npz or a .csv file."
    )


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
    # Where scikit-learn lies is asked without importing it, which takes longer than training; its
    # own reader is there for a version that keeps the file elsewhere.
    found = importlib.util.find_spec("sklearn")
    if found is None:
        raise ImportError(
            "the digits come with scikit-learn, which is not installed: "
            "pip install 'fastbp[sklearn]'"
        )
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
    """``values`` as finite rows of floats, pixels scaled to 0…1."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{path}: array {name} must hold real numbers, got dtype {values.dtype}.")
    if values.ndim < 2 or values.size == 0:
        raise ValueError(
            f"{path}: array {name} must have rows and columns, got shape {values.shape}."
        )
    rows = values.reshape(len(values), -1)
    if rows.dtype == np.uint8:
        return rows.astype(np.float32) / np.float32(255)
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


def _csv(path: Path, target: str | None, features: Sequence[str] | None) -> Dataset:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            lines, rows = [], []
            for row in reader:
                if row:
                    lines.append(reader.line_num)
                    rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as CSV text: {error}.") from None
    if not header:
        raise ValueError(f"{path}: empty file; a header line with column names is needed.")
    if duplicates := sorted({name for name in header if header.count(name) > 1}):
        raise ValueError(f"{path}: column {duplicates[0]!r} occurs more than once in the header.")
    if not rows:
        raise ValueError(f"{path}: no rows below the header.")
    wanted = [name for name in header if name != target] if features is None else list(features)
    for name in [*wanted, *([] if target is None else [target])]:
        if name not in header:
            raise ValueError(f"{path}: no column {name!r}; the columns are {', '.join(header)}.")
    if not wanted:
        raise ValueError(f"{path}: no columns besides the target {target!r}.")
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise ValueError(
                f"{path}: line {line} has {len(row)} fields, the header has {len(header)}."
            )
    X = np.empty((len(rows), len(wanted)))
    for j, name in enumerate(wanted):
        X[:, j] = _numbers(path, name, lines, [row[header.index(name)] for row in rows])
    y = None
    if target is not None:
        y = _target(path, target, lines, [row[header.index(target)].strip() for row in rows])
    return Dataset(X, y, features=tuple(wanted))


def _numbers(path: Path, name: str, lines: list[int], cells: list[str]) -> Array:
    """A column of finite numbers."""
    try:
        values = np.array(cells, dtype=np.float64)
        if np.isfinite(values).all():
            return values
    except ValueError:
        pass
    for line, cell in zip(lines, cells, strict=True):
        try:
            number = float(cell)
        except ValueError:
            what = f"has text {cell!r} where a number belongs" if cell.strip() else "is empty"
        else:
            if np.isfinite(number):
                continue
            what = f"has {cell.strip()} where a finite number belongs"
        raise ValueError(f"{path}: column {name!r} {what}, line {line}.")
    raise AssertionError("numpy refused a column that Python's float takes")


def _target(path: Path, name: str, lines: list[int], cells: list[str]) -> Array:
    """A column of integers, of finite floats, or of class names."""
    if "" in cells:
        raise ValueError(f"{path}: column {name!r} is empty, line {lines[cells.index('')]}.")
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    if not any(_is_number(cell) for cell in cells):
        return np.array(cells)
    return _numbers(path, name, lines, cells)


def _is_number(cell: str) -> bool:
    """Finite numbers only: ``inf`` and ``nan`` may be names of classes."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
