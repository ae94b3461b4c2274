"""Named tensors and a text in one file: safetensors, with a digest of every byte.

A file is the header's length in eight bytes, the header in JSON, and the tensors one after the
other. The text is the entry ``fastbp`` of the header's metadata. Beside it, ``sha256`` is the
digest of the whole file, its own digits taken for zeros; files of the first fastbp have none.

Files are read and written piece by piece, so neither needs memory for more than a few megabytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fastbp.validation import FloatArray

# As in every implementation of safetensors.
LONGEST_HEADER = 100_000_000

_TEXT, _DIGEST = "fastbp", "sha256"
_NO_DIGEST = "0" * 64
_CODES = {"float32": "F32", "float64": "F64"}
# Elements read or written at a time.
_PIECE = 1 << 20

# Refuses values of a tensor, whose name it is told.
Check = Callable[[str, FloatArray], None]


def parsed(text: str) -> Any:
    """What a text in JSON says; ValueError for what is none."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"its header cannot be read: {error}") from None


def _pieces(tensor: FloatArray) -> Iterator[FloatArray]:
    """Parts of a tensor in the order of its elements: some rows each, or some of one row."""
    matrix = np.atleast_2d(tensor)
    columns = matrix.shape[1]
    height = max(1, _PIECE // columns)
    for top in range(0, len(matrix), height):
        for left in range(0, columns, _PIECE):
            yield matrix[top : top + height, left : left + _PIECE]


class _Entry(NamedTuple):
    """Where a tensor lies, in bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def _entry(name: str, value: Any) -> _Entry:
    """A tensor's entry in the header of a file, which may say anything."""
    if isinstance(value, dict) and value.keys() == set(_Entry._fields):
        dtype, shape, offsets = (value[field] for field in _Entry._fields)
        lists = isinstance(dtype, str) and isinstance(shape, list) and isinstance(offsets, list)
        if lists and len(offsets) == 2 and {type(n) for n in (*shape, *offsets)} == {int}:
            return _Entry(dtype, tuple(shape), tuple(offsets))
    raise ValueError(
        f"{reprlib.repr(name)} must have a dtype, a shape and data_offsets, got "
        f"{reprlib.repr(value)}"
    )


def write(
    file: BinaryIO, text: str, tensors: Sequence[tuple[str, FloatArray]], check: Check
) -> None:
    """Write a text and tensors of one dtype, of whatever strides; ``check`` may refuse values."""
    header: dict[str, Any] = {"__metadata__": {_DIGEST: _NO_DIGEST, _TEXT: text}}
    place = 0
    for name, tensor in tensors:
        header[name] = {
            "dtype": _CODES[tensor.dtype.name],
            "shape": tensor.shape,
            "data_offsets": [place, place + tensor.nbytes],
        }
        place += tensor.nbytes
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    if len(raw) > LONGEST_HEADER:
        raise ValueError(
            f"its description, with extra and the history, takes {len(raw):,} bytes, and a model "
            f"file has room for {LONGEST_HEADER:,}"
        )
    digest = hashlib.sha256()
    for part in (len(raw).to_bytes(8, "little"), raw):
        file.write(part)
        digest.update(part)
    for name, tensor in tensors:
        for piece in _pieces(tensor):
            data = np.ascontiguousarray(piece, piece.dtype.newbyteorder("<"))
            check(name, data)
            file.write(data.data)
            digest.update(data.data)
    file.seek(8 + raw.index(_NO_DIGEST.encode()))
    file.write(digest.hexdigest().encode())


class Reader:
    """A file that `write` has written, or another program in its place.

    Parameters
    ----------
    file : binary file
        Its header is read at once, the rest when it is asked for.

    Attributes
    ----------
    text : str

    Raises
    ------
    ValueError
        If it is not such a file; the message says why, and not which file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if self._size < 8 or length > min(self._size - 8, LONGEST_HEADER):
            raise ValueError("it does not begin with the length of a header")
        self._raw = file.read(length)
        self._start = 8 + length
        header = parsed(self._raw.decode("utf-8"))
        metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
        if not isinstance(metadata, dict):
            raise ValueError("its header is not an object of JSON")
        self.text = metadata.get(_TEXT)
        self._metadata = metadata
        self._entries: dict[str, _Entry] = {}
        end = 0
        for name, entry in header.items():
            self._entries[name] = _entry(name, entry)
        for start, stop in sorted(entry.data_offsets for entry in self._entries.values()):
            if start != end:
                raise ValueError(f"its tensors overlap or leave bytes out, at byte {end:,} of them")
            end = stop
        if self._start + end != self._size:
            raise ValueError(
                f"it has {self._size - self._start:,} bytes of tensors, its header says {end:,}"
            )

    def verify(self) -> None:
        """Compare the digest with what is in the file."""
        if self._metadata.keys() == {_TEXT}:
            return
        given = self._metadata.get(_DIGEST)
        if self._metadata.keys() != {_TEXT, _DIGEST} or not isinstance(given, str):
            raise ValueError(
                f"its metadata must be {_TEXT} and {_DIGEST}, got "
                f"{reprlib.repr(sorted(self._metadata))}"
            )
        digest = hashlib.sha256((self._start - 8).to_bytes(8, "little"))
        digest.update(self._raw.replace(given.encode(), _NO_DIGEST.encode(), 1))
        self._file.seek(self._start)
        while part := self._file.read(_PIECE):
            digest.update(part)
        if digest.hexdigest() != given:
            raise ValueError("its digest is of other contents; it was changed after it was saved")

    def expect(self, shapes: Iterable[tuple[str, tuple[int, ...]]], dtype: np.dtype[Any]) -> None:
        """Refuse the file unless it holds exactly these tensors, and nothing else."""
        surplus = set(self._entries)
        for name, shape in shapes:
            surplus.discard(name)
            if name not in self._entries:
                raise ValueError(f"{name} is missing")
            kind, given, (start, stop) = self._entries[name]
            if kind != _CODES[dtype.name] or given != shape:
                kind = {code: known for known, code in _CODES.items()}.get(kind, kind)
                raise ValueError(f"{name} is {kind} {given}, the header says {dtype} {shape}")
            if stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name} has {stop - start:,} bytes, which do not fit its shape")
        if surplus:
            raise ValueError(f"{reprlib.repr(min(surplus))} is no tensor of this model")

    def read(self, name: str, tensor: FloatArray, check: Check) -> None:
        """Fill an array of zeros, of the shape that was expected and of whatever strides."""
        self._file.seek(self._start + self._entries[name].data_offsets[0])
        for piece in _pieces(tensor):
            raw = np.frombuffer(self._file.read(piece.nbytes), np.uint8)
            if len(raw) != piece.nbytes:
                raise ValueError(f"it ends within {name}")
            data = raw.view(tensor.dtype.newbyteorder("<")).reshape(piece.shape)
            check(name, data)
            # Zeros are there already: of a file with holes, no more memory is used than of disk.
            if raw.any():
                piece[...] = data
