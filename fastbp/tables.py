"""Tables from files: text with separators, Parquet and Feather, as pyarrow.Table.

pyarrow reads all three, with a type and nulls for every column, and the rest of the library takes
its tables as data frames. It is an optional extra, imported only when a table is read.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fastbp import checks, delimited, frames
from fastbp import columns as cells
from fastbp.checks import nearest
from fastbp.columns import CellError, is_number
from fastbp.extras import missing

_TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat", ".data")
_BINARY = {".parquet": "Parquet", ".pq": "Parquet", ".feather": "Feather", ".arrow": "Feather"}
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
SUFFIXES = (*_TEXT, *_BINARY)
"""Suffixes of files that hold tables; .gz or .zst may follow."""

# What kind of file it is, by its first bytes.
_COMPRESSION_MARKS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_KIND_MARKS = {b"PAR1": "Parquet", b"ARROW1": "Feather", b"\xff\xff\xff\xff": "Feather stream"}
_FOREIGN_MARKS = {
    b"PK\x03\x04": "a spreadsheet or a zip archive; export it as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "a spreadsheet; export it as CSV",
    b"\x93NUMPY": "an array of NumPy; fastbp.load_dataset reads it from a file named .npy",
    b"FEA1": "Feather of the first version; write it again with a newer pyarrow",
    b"SQLite format 3": "a database; export a table of it as CSV",
    b"BZh": "compressed by bzip2; decompress it, or use gzip",
    b"\xfd7zXZ": "compressed by xz; decompress it, or use gzip",
    b"%PDF": "a PDF document; find the table as CSV",
}
_ROW_NUMBERS = re.compile(
    r"|1|column 1|unnamed: 0|index|(row[ _]?)?(id|number)|rows?|rownames", re.I
)
_INDEX = "__index_level_0__"
"""What pandas calls an index without a name."""


class Reading(NamedTuple):
    """A table, with what messages say about it."""

    name: str
    """Name of the file in messages."""
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


_DEFAULTS = Options()


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
        A file, or ``"-"``, standard input. Its first bytes say whether it is Parquet, Feather or
        text, and whether gzip or zstd has compressed it; a name such as ``.parquet``, ``.feather``
        or ``.csv.gz`` must not say otherwise.
    columns : sequence of str, optional
        Columns to read, in this order; by default all.
    drop : sequence of str
        Columns to leave out.
    text : sequence of str
        Columns whose cells stay as they are written, such as codes that look like numbers.
    sep : str, optional
        Separator of a text file, one character; by default whichever of tab, ``;``, ``|`` and
        ``,`` cuts the first rows into equally many cells.
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
        If the first column only counts the rows and is left out, or the header looks like a row.

    Notes
    -----
    A number in a text is a decimal or scientific one such as ``12``, ``-0.50``, ``.5`` or
    ``2e3``. ``007``, ``1_000``, ``0x1F`` and digits of other scripts are text, and so are integers
    that would become equal as float64. A word or two in a column of numbers (up to one cell in
    twenty) are taken for a mistake, and refused by column and line.

    Empty cells are missing values; in columns of numbers, truth values and dates, so are ``NA``,
    ``N/A``, ``n/a``, ``#N/A``, ``NaN``, ``nan``, ``null``, ``NULL``, ``None`` and ``?``. Spaces
    around a cell do not count, and blank lines are skipped.

    A first column that has no name, or is called ``index``, ``id``, ``row`` or the like, and holds
    0, 1, 2, … or 1, 2, 3, … is left out, unless ``columns`` names it. Columns without a name are
    called by their place, ``"column 3"``; they are left out if all their cells are empty.

    In Parquet and Feather, categories become text; NaN and empty text are missing values.
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
    options: Options = _DEFAULTS,
    keep: Sequence[str] = (),
) -> Reading:
    """`read_table` with its notes; a column in ``keep`` is not left out as row numbers."""
    _check(options)
    with _opened(path) as source:
        reading = (_read_text if source.kind == "text" else _read_typed)(source, options)
    if options.columns is not None or reading.table.column_names[0] in keep:
        return reading
    return _without_row_numbers(reading)


def pieces(
    path: str | os.PathLike[str] | BinaryIO, rows: int = 65536, options: Options = _DEFAULTS
) -> Iterator[Any]:
    """The table in pieces of up to ``rows`` rows, for files that do not fit into memory.

    Parquet and Feather are read piece by piece, unless they are compressed as a whole. Text is
    read as a whole, for the type of a column depends on all its cells. No column is left out as
    row numbers.
    """
    checks.integer("rows", rows, 1)
    _check(options)
    with _opened(path) as source:
        if source.kind != "text":
            yield from _typed_pieces(source, options, rows)
            return
        table = _read_text(source, options).table
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)


def from_frame(frame: Any, name: str = "the frame") -> Reading:
    """A frame of pandas, polars or Arrow as a table, in the types that files give."""
    _require_pyarrow()
    import pyarrow as pa

    _refuse_repeated(name, list(map(str, frames.labels(frame))))
    try:
        if hasattr(frame, "iloc"):
            frame = frame.rename(columns=str)
            table = pa.Table.from_pandas(frame, preserve_index=False)
        else:
            table = frame.to_arrow() if hasattr(frame, "to_arrow") else pa.table(frame)
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(f"{name}: {' '.join(map(str, error.args))}.") from None
    return Reading(name, _normal(name, table, 0, ()), (), lambda row: f"row {row}")


def _check(options: Options) -> None:
    for option in ("columns", "drop", "text"):
        value = getattr(options, option)
        if isinstance(value, str):
            raise ValueError(f"{option} must be a list of names such as [{value!r}], got a text.")
    if options.sep not in (None, r"\t") and not delimited.is_separator(options.sep):
        raise ValueError(f"sep must be one character such as ';' or a tab, got {options.sep!r}.")
    if options.decimal not in (None, ".", ","):
        raise ValueError(f"decimal must be '.' or ',', got {options.decimal!r}.")
    if not isinstance(options.header, bool):
        raise ValueError(f"header must be True or False, got {options.header!r}.")


def _require_pyarrow() -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise missing("tables are read by pyarrow", "tables")


# Files ------------------------------------------------------------------------------------------


class _Source(NamedTuple):
    """A file open for reading, decompressed."""

    name: str
    kind: str
    """text, Parquet, Feather or Feather stream"""
    file: Any
    """pyarrow.NativeFile"""


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str] | BinaryIO) -> Iterator[_Source]:
    _require_pyarrow()
    with contextlib.ExitStack() as stack:
        suffixes: list[str] = []
        if isinstance(path, (str, os.PathLike)) and os.fspath(path) != "-":
            name, suffixes = os.fspath(path), Path(path).suffixes
            file = _seekable(stack.enter_context(open(path, "rb")))
        elif isinstance(path, (str, os.PathLike)):
            name = "standard input"
            if sys.stdin is None:
                raise ValueError("standard input is closed.")
            file = _in_memory(name, sys.stdin.buffer.read())
        else:
            name = "the stream"
            file = _in_memory(name, path.read())
        yield _recognised(name, [suffix.lower() for suffix in suffixes], file)


def _seekable(stream: BinaryIO) -> Any:
    import pyarrow as pa

    if stream.seekable():
        return pa.PythonFile(stream, "r")
    return pa.BufferReader(stream.read())


def _in_memory(name: str, content: Any) -> Any:
    import pyarrow as pa

    if not isinstance(content, bytes):
        raise ValueError(f"{name} must give bytes, as a file opened with mode 'rb' does.")
    return pa.BufferReader(content)


def _recognised(name: str, suffixes: list[str], file: Any) -> _Source:
    """The file decompressed, and what it holds; its name must not say otherwise."""
    import pyarrow as pa

    compression = _marked(file, _COMPRESSION_MARKS)
    if suffixes and suffixes[-1] in _COMPRESSED:
        claimed = _COMPRESSED[suffixes.pop()]
        if compression != claimed:
            raise ValueError(f"{name}: not compressed by {claimed}, in spite of its name.")
    if compression is not None:
        try:
            file = pa.BufferReader(pa.CompressedInputStream(file, compression).read())
        except OSError as error:
            raise ValueError(f"{name}: damaged {compression} file: {error}.") from None
    kind = _marked(file, _KIND_MARKS) or "text"
    claimed = _BINARY.get(suffixes[-1], "") if suffixes else ""
    if not kind.startswith(claimed):
        raise ValueError(f"{name}: not a {claimed} file, in spite of its name.")
    foreign = _marked(file, _FOREIGN_MARKS)
    if foreign is not None:
        raise ValueError(f"{name}: not a table, but {foreign}.")
    return _Source(name, kind, file)


def _marked(file: Any, marks: dict[bytes, str]) -> str | None:
    start = file.read(16)
    file.seek(0)
    return next((kind for mark, kind in marks.items() if start.startswith(mark)), None)


# Columns ----------------------------------------------------------------------------------------


def _chosen(name: str, names: list[str], options: Options) -> list[str]:
    """Names of the columns to read."""
    _refuse_repeated(name, names)
    for each in (*(options.columns or ()), *options.drop, *options.text):
        if each not in names:
            raise ValueError(f"{name}: {no_column(each, names)}.")
    wanted = names if options.columns is None else dict.fromkeys(options.columns)
    chosen = [each for each in wanted if each not in options.drop]
    if not chosen:
        raise ValueError(f"{name}: no column is left to read.")
    return chosen


def no_column(name: Any, names: Sequence[str]) -> str:
    """What to say where a table has no such column."""
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"no column {name!r}{nearest(name, names)}; the columns are {shown}"


def _refuse_repeated(name: str, names: Sequence[str]) -> None:
    repeated = next((each for each, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        hint = ", unless it is a row (header=False)" if is_number(repeated) else ""
        raise ValueError(f"{name}: column {repeated!r} occurs more than once in the header{hint}.")


def _without_row_numbers(reading: Reading) -> Reading:
    """The table without its first column, if that one only counts the rows."""
    import pyarrow as pa

    table = reading.table
    first, column = table.column_names[0], table.column(0)
    if _ROW_NUMBERS.fullmatch(first) is None or table.num_columns < 2:
        return reading
    if not pa.types.is_integer(column.type) or column.null_count:
        return reading
    places = np.arange(len(column))
    if not any(np.array_equal(column.to_numpy(), places + start) for start in (0, 1)):
        return reading
    note = (
        f"{reading.name}: the first column, {first!r}, only counts the rows and is left out; name "
        "it in columns to keep it."
    )
    return reading._replace(table=table.remove_column(0), notes=(*reading.notes, note))


# Text -------------------------------------------------------------------------------------------


def _read_text(source: _Source, options: Options) -> Reading:
    import pyarrow as pa

    name = source.name
    sep, decimal = options.sep, options.decimal
    sep = "\t" if sep == r"\t" else sep  # as a shell gives it
    found = delimited.read(
        name,
        source.file.read(),
        separators=sep or delimited.SEPARATORS.replace(decimal or "", ""),
        encoding=options.encoding,
        header=options.header,
    )
    chosen = _chosen(name, found.names, options)
    strings = {each: found.table.column(found.names.index(each)) for each in chosen}
    if decimal is None:
        decimal = "." if found.sep == "," else delimited.decimal_sign(name, strings)

    def typed(label: str) -> Any:
        column = strings[label].combine_chunks()
        try:
            return cells.typed(column, as_text=label in options.text, decimal=decimal)
        except CellError as error:
            raise ValueError(
                f"{name}: column {label!r} {error}, line {found.line(error.place)}; an empty cell "
                f"is a missing value, and text=[{label!r}] (--text {label} of the command line) "
                "keeps the column as text."
            ) from None

    table = pa.table({label: typed(label) for label in chosen})
    notes = []
    if options.header and _looks_like_a_row(found.names):
        start = ", ".join(found.names[:3])
        notes.append(
            f"{name}: the first line ({start}, …) is taken for the names of the columns; if it is "
            "a row, say header=False."
        )
    return Reading(name, table, tuple(notes), lambda row: f"line {found.line(row)}")


def _looks_like_a_row(names: list[str]) -> bool:
    """Whether most names are numbers, and not only years or places."""
    numbers = list(filter(is_number, names))
    return 2 * len(numbers) > len(names) and not all(number.isdigit() for number in numbers)


# Parquet and Feather ----------------------------------------------------------------------------


def _read_typed(source: _Source, options: Options) -> Reading:
    (table,) = _typed_pieces(source, options, None)
    return Reading(source.name, table, (), lambda row: f"row {row}")


def _typed_pieces(source: _Source, options: Options, rows: int | None) -> Iterator[Any]:
    """Tables of up to ``rows`` rows each, or one of all rows if that is None."""
    import pyarrow as pa

    name, kind, _ = source
    for option in ("sep", "encoding", "decimal", "header"):
        if getattr(options, option) != getattr(_DEFAULTS, option):
            raise ValueError(f"{option} is for text such as CSV, and {name} is a {kind} file.")
    start = 0
    try:
        reader = _reader(source)
        chosen = _chosen(name, [each for each in reader.names if each != _INDEX], options)
        for part in reader.parts(chosen, rows):
            part = part.select(chosen)
            part.validate(full=True)  # offsets of a damaged file may lead out of its memory
            if part.num_rows:
                yield _normal(name, part, start, options.text)
            start += part.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{name}: damaged {kind} file: {reason}.") from None
    except MemoryError:
        raise ValueError(f"{name}: {kind} file that is larger than memory, or damaged.") from None
    if not start:
        raise ValueError(f"{name}: no rows.")


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

        self.is_stream = is_stream
        self.file = (pyarrow.ipc.open_stream if is_stream else pyarrow.ipc.open_file)(file)
        self.names: list[str] = self.file.schema.names

    def parts(self, columns: list[str], rows: int | None) -> Iterator[Any]:
        import pyarrow as pa

        if rows is None:
            yield self.file.read_all()
            return
        batches = self.file
        if not self.is_stream:
            batches = map(self.file.get_batch, range(self.file.num_record_batches))
        for batch in batches:
            for start in range(0, batch.num_rows, rows):
                yield pa.Table.from_batches([batch.slice(start, rows)])


def _reader(source: _Source) -> _Parquet | _Feather:
    source.file.seek(0)
    if source.kind == "Parquet":
        return _Parquet(source.file)
    return _Feather(source.file, source.kind == "Feather stream")


def _normal(name: str, table: Any, start: int, text: Sequence[str]) -> Any:
    """Rows from ``start`` of a table, in the types that `columns.plain` gives."""
    import pyarrow as pa

    def plain(label: str) -> Any:
        try:
            return cells.plain(table.column(label), as_text=label in text)
        except CellError as error:
            row = start + error.place
            raise ValueError(f"{name}: column {label!r} {error}, row {row}.") from None

    return pa.table({label: plain(label) for label in table.column_names})
