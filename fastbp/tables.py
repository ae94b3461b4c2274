"""Tables from files: text with separators, Parquet and Feather, as pyarrow.Table.

pyarrow reads all three, has a type and a null for every column, and its tables are frames to
the rest of the library. It is an extra, imported only where a table is read.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fastbp import columns as cells
from fastbp.extras import missing
from fastbp.validation import nearest

_TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat", ".data")
_BINARY = {".parquet": "Parquet", ".pq": "Parquet", ".feather": "Feather", ".arrow": "Feather"}
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
SUFFIXES = (*_TEXT, *_BINARY)
"""Of the files that hold tables, perhaps followed by .gz or .zst."""
_MAGIC = {b"PAR1": "Parquet", b"ARROW1": "Feather", b"\xff\xff\xff\xff": "Feather stream"}
_MAGIC_OF_COMPRESSION = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or export it as CSV",
    b"\xd0\xcf\x11\xe0": "a spreadsheet; export it as CSV",
    b"\x93NUMPY": "an array of NumPy; read it with fastbp.load_dataset",
    b"FEA1": "Feather of the first version; write it again with a newer pyarrow",
    b"SQLite format 3": "a database; export the table as CSV",
    b"BZh": "compressed by bzip2; decompress it first, or use gzip",
    b"\xfd7zXZ": "compressed by xz; decompress it first, or use gzip",
    b"%PDF": "a PDF document; find the table as CSV",
}
_ROW_NUMBERS = ("", "unnamed: 0", "index", "id", "row", "rows", "rownames", "row_id", "rowid")


class Reading(NamedTuple):
    """A table, and what is to be said of it."""

    name: str
    """Of the file, as messages say it."""
    table: Any
    """pyarrow.Table"""
    notes: tuple[str, ...]
    """Sentences on what was left out."""
    where: Callable[[int], str]
    """Where a row stands: "line 7" of a text, "row 3" (from 0) of another file."""


class Options(NamedTuple):
    """What a caller asks of a table; `read_table` says what each means."""

    columns: Sequence[str] | None = None
    drop: Sequence[str] = ()
    text: Sequence[str] = ()
    sep: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    header: bool = True


def read_table(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    text: Sequence[str] = (),
    sep: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    header: bool = True,
) -> Any:
    """Read a table: CSV and its relatives, Parquet or Feather.

    Parameters
    ----------
    path : str, path-like or binary stream
        A file named ``.csv``, ``.tsv``, ``.txt``, ``.tab``, ``.dat``, ``.data``, ``.parquet``,
        ``.pq``, ``.feather`` or ``.arrow``, perhaps compressed by gzip (``.gz``) or zstd
        (``.zst``); or ``"-"``, standard input. What it holds is seen from its first bytes.
    columns : sequence of str, optional
        Columns to read, in this order; by default all.
    drop : sequence of str
        Columns to leave out.
    text : sequence of str
        Columns whose cells stay as they are written, such as codes that look like numbers.
    sep : str, optional
        Separator of a text file, one character; by default the first of tab, ``;``, ``|`` and
        ``,`` that cuts the first rows into equally many cells.
    encoding : str, optional
        Encoding of a text file; by default UTF-8, or UTF-16 where a byte order mark says so.
    decimal : "." or ",", optional
        Decimal sign of a text file. By default it is the comma if the separator is another
        character and there is a column all of whose numbers have decimal commas.
    header : bool
        Whether the first line of a text file has the names of the columns; without them they are
        ``"1"``, ``"2"`` and so on.

    Returns
    -------
    pyarrow.Table
        int64 and float64 for numbers, bool for ``true`` and ``false``, date32 or timestamp for
        ISO dates, string for anything else; Parquet and Feather have types of their own.
        Null where a value is missing.

    Raises
    ------
    OSError
        If nothing can be read at the path.
    ValueError
        If the content is not what it should be; the message names the file and the column or line.
    ImportError
        If pyarrow is not installed.

    Warns
    -----
    UserWarning
        If a first column is left out because it holds only row numbers.

    Notes
    -----
    A number in a text is a decimal or scientific one such as ``12``, ``-0.50``, ``.5`` or
    ``2e3``. ``007``, ``1_000``, ``0x1F`` and digits of other scripts are text, and so are integers
    that would become equal as float64. A word or two in a column of numbers (up to one cell in
    twenty) are taken for a mistake, and refused by column and line.

    Empty cells are missing values; in columns of numbers, truth values and dates, so are ``NA``,
    ``N/A``, ``n/a``, ``#N/A``, ``NaN``, ``nan``, ``null``, ``NULL``, ``None`` and ``?``. Spaces
    around a cell do not count, and blank lines are skipped.

    A first column that has no name, or is called ``index``, ``id`` or ``row``, and holds 0, 1, 2,
    … or 1, 2, 3, … is left out, unless ``columns`` names it.
    """
    options = Options(columns, drop, text, sep, encoding, decimal, header)
    reading = read(path, options)
    for note in reading.notes:
        warnings.warn(note, stacklevel=2)
    return reading.table


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it holds a table."""
    path = Path(path)
    if path.suffix.lower() in _COMPRESSED:
        path = path.with_suffix("")
    return path.suffix.lower() in SUFFIXES


def read(
    path: str | os.PathLike[str] | BinaryIO,
    options: Options | None = None,
    keep: Sequence[str] = (),
) -> Reading:
    """`read_table` with its notes; columns in ``keep`` are no row numbers."""
    options = options or Options()
    with _opened(path) as source:
        if source.kind == "text":
            return _text_table(source, options, keep)
        return _typed_table(source, options, keep)


def pieces(
    path: str | os.PathLike[str] | BinaryIO, rows: int = 65536, options: Options | None = None
) -> Iterator[Any]:
    """The same table in pieces of up to ``rows`` rows, for files that memory would not hold.

    Parquet and Feather are read piece by piece; text is read as a whole, for the type of a column
    depends on all its cells. A first column of row numbers is not looked for.
    """
    options = options or Options()
    with _opened(path) as source:
        if source.kind != "text":
            yield from _typed_pieces(source, options, rows)
            return
        table = _text_table(source, options, None).table
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)


class _Source(NamedTuple):
    """A file open for reading, decompressed."""

    name: str
    kind: str
    """text, Parquet, Feather or Feather stream"""
    file: Any
    """pyarrow.NativeFile"""


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str] | BinaryIO) -> Iterator[_Source]:
    if importlib.util.find_spec("pyarrow") is None:
        raise missing("tables are read by pyarrow", "tables")
    with contextlib.ExitStack() as stack:
        if hasattr(path, "read"):
            name, suffixes, stream = "the stream", [], path
        elif os.fspath(path) == "-":
            if sys.stdin is None:
                raise ValueError("standard input is closed.")
            name, suffixes, stream = "standard input", [], sys.stdin.buffer
        else:
            name, suffixes = os.fspath(path), [s.lower() for s in Path(path).suffixes]
            stream = stack.enter_context(open(path, "rb"))
        file = _native(name, stream)
        compression = _kind(file, _MAGIC_OF_COMPRESSION)
        if suffixes and suffixes[-1] in _COMPRESSED:
            claimed = _COMPRESSED[suffixes.pop()]
            if compression != claimed:
                raise ValueError(f"{name}: not compressed by {claimed}, in spite of its name.")
        if compression is not None:
            file = _decompressed(name, file, compression)
        kind = _kind(file, _MAGIC) or "text"
        claimed = _BINARY.get(suffixes[-1]) if suffixes else None
        if claimed and not kind.startswith(claimed):
            raise ValueError(f"{name}: not a {claimed} file, in spite of its name.")
        yield _Source(name, kind, file)


def _native(name: str, stream: Any) -> Any:
    import pyarrow as pa

    if isinstance(stream, io.IOBase) and stream.seekable() and hasattr(stream, "name"):
        return pa.PythonFile(stream, "r")
    content = stream.read()
    if not isinstance(content, bytes):
        raise ValueError(f"{name} must give bytes, as a file opened with mode 'rb' does.")
    return pa.BufferReader(content)


def _kind(file: Any, magic: dict[bytes, str]) -> str | None:
    start = file.read(16)
    file.seek(0)
    return next((kind for mark, kind in magic.items() if start.startswith(mark)), None)


def _decompressed(name: str, file: Any, compression: str) -> Any:
    import pyarrow as pa

    try:
        return pa.BufferReader(pa.CompressedInputStream(file, compression).read())
    except OSError as error:
        raise ValueError(f"{name}: damaged {compression} file: {error}.") from None


def _text_table(source: _Source, options: Options, keep: Sequence[str] | None) -> Reading:
    import pyarrow as pa

    from fastbp import delimited

    name = source.name
    foreign = _kind(source.file, _FOREIGN)
    if foreign is not None:
        raise ValueError(f"{name}: {foreign}.")
    found = delimited.read(name, source.file.read(), options.sep, options.encoding, options.header)
    names = [each or f"column {j + 1}" for j, each in enumerate(found.names)]
    chosen = _chosen(name, names, options)
    strings = {each: found.table.column(names.index(each)).combine_chunks() for each in chosen}
    decimal = options.decimal
    if decimal is None:
        decimal = "." if found.sep == "," else delimited.decimal_sign(name, strings)
    typed = {}
    for each, column in strings.items():
        try:
            typed[each] = cells.typed(column, as_text=each in options.text, decimal=decimal)
        except cells.CellError as error:
            raise ValueError(
                f"{name}: column {each!r} {error}, line {found.line(error.place)}."
            ) from None
    first = names[0] if options.columns is None and not found.names[0] else None
    table, notes = _without_row_numbers(name, pa.table(typed), options, keep, first)
    return Reading(name, table, notes, lambda row: f"line {found.line(row)}")


def _typed_table(source: _Source, options: Options, keep: Sequence[str] | None) -> Reading:
    import pyarrow as pa

    name = source.name
    parts = list(_typed_pieces(source, options, None))
    table = pa.concat_tables(parts).combine_chunks()
    table, notes = _without_row_numbers(name, table, options, keep)
    return Reading(name, table, notes, lambda row: f"row {row}")


def _typed_pieces(source: _Source, options: Options, rows: int | None) -> Iterator[Any]:
    """Tables of so many rows, or one of all."""
    import pyarrow as pa

    name, kind, _ = source
    for option, default in (("sep", None), ("encoding", None), ("decimal", None), ("header", True)):
        if getattr(options, option) != default:
            raise ValueError(f"{option} is for text files; {name} is a {kind} file.")
    n_rows = 0
    try:
        file = _reader(source)
        chosen = _chosen(name, [each for each in file.names if each not in _INDEX], options)
        for part in file.parts(chosen, rows):
            yield _normal(name, part.select(chosen), n_rows, options.text)
            n_rows += part.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{name}: damaged {kind} file: {reason}.") from None
    if not n_rows:
        raise ValueError(f"{name}: no rows.")


_INDEX = ("__index_level_0__",)
"""What pandas calls an index without a name."""


class _Parquet:
    def __init__(self, file: Any) -> None:
        import pyarrow.parquet

        self.file = pyarrow.parquet.ParquetFile(file)
        self.names: list[str] = self.file.schema_arrow.names

    def parts(self, columns: list[str], rows: int | None) -> Iterator[Any]:
        import pyarrow as pa

        if rows is None:
            yield self.file.read(columns)
            return
        for batch in self.file.iter_batches(rows, columns=columns):
            yield pa.Table.from_batches([batch])


class _Feather:
    def __init__(self, file: Any, is_stream: bool) -> None:
        import pyarrow.ipc

        self.file = (pyarrow.ipc.open_stream if is_stream else pyarrow.ipc.open_file)(file)
        self.is_stream = is_stream
        self.names: list[str] = self.file.schema.names

    def parts(self, columns: list[str], rows: int | None) -> Iterator[Any]:
        import pyarrow as pa

        if rows is None:
            yield self.file.read_all()
            return
        batches = (
            self.file
            if self.is_stream
            else map(self.file.get_batch, range(self.file.num_record_batches))
        )
        for batch in batches:
            for start in range(0, batch.num_rows, rows):
                yield pa.Table.from_batches([batch.slice(start, rows)])


def _reader(source: _Source) -> _Parquet | _Feather:
    if source.kind == "Parquet":
        return _Parquet(source.file)
    return _Feather(source.file, source.kind != "Feather")


def _normal(name: str, table: Any, start: int, text: Sequence[str]) -> Any:
    """Rows from ``start`` in the types that a table of text has."""
    import pyarrow as pa

    return pa.table(
        {
            label: _normal_column(name, label, table.column(label), start, label in text)
            for label in table.column_names
        }
    )


def _normal_column(name: str, label: str, column: Any, start: int, as_text: bool) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):  # pandas' categories: labels, even where they are numbers
        column = column.cast(kind.value_type).cast(pa.string())
    elif as_text or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.string())
    elif pa.types.is_decimal(kind) or pa.types.is_null(kind):
        column = column.cast(pa.float64())
    if pa.types.is_string(column.type):
        empty = pc.equal(pc.utf8_trim_whitespace(column), "")
        return pc.if_else(empty, pa.scalar(None, pa.string()), column)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        place = pc.index(pc.is_inf(column), True).as_py()
        if place >= 0:
            raise ValueError(
                f"{name}: column {label!r} has {column[place]} where a finite number belongs, "
                f"row {start + place}."
            )
    return column


def _chosen(name: str, names: list[str], options: Options) -> list[str]:
    """Names of the columns to read."""
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise ValueError(f"{name}: column {twice[0]!r} occurs more than once in the header.")
    for each in (*(options.columns or ()), *options.drop, *options.text):
        if each not in names:
            hint = nearest(each, names)
            raise ValueError(
                f"{name}: no column {each!r}{hint}; the columns are {', '.join(names)}."
            )
    chosen = [each for each in options.columns or names if each not in options.drop]
    if not chosen:
        raise ValueError(f"{name}: no columns are left to read.")
    return chosen


def _without_row_numbers(
    name: str, table: Any, options: Options, keep: Sequence[str] | None, unnamed: str | None = None
) -> tuple[Any, tuple[str, ...]]:
    first = table.column_names[0]
    if options.columns is not None or keep is None or first in keep or table.num_columns < 2:
        return table, ()
    if first != unnamed and first.lower() not in _ROW_NUMBERS:
        return table, ()
    column = table.column(0)
    if str(column.type) not in ("int64", "int32") or column.null_count:
        return table, ()
    numbers = column.to_numpy()
    start = numbers[0]
    if start not in (0, 1) or not np.array_equal(numbers, np.arange(start, start + len(numbers))):
        return table, ()
    note = (
        f"{name}: the first column {first!r} holds only row numbers and is left out; name it in "
        "columns to keep it."
    )
    return table.remove_column(0), (note,)
