"""Text with separators, such as CSV: from bytes to columns of cells, each a string."""

from __future__ import annotations

import itertools
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fastbp.columns import has_decimal_commas, is_number

SEPARATORS = "\t;|,"
"""In this order, for a comma may also stand in text and in numbers."""
_OTHER_TEXT = {
    "a web page (HTML)": rb"\s*<(!doctype|html)",
    "JSON": rb'\s*(\{\s*["}]|\[\s*[\[{])',
}
_LINE_END = rb"\r\n|\r|\n"


class Cells(NamedTuple):
    """Cells of a text file, as they are written."""

    names: list[str]
    """Of the columns; "1", "2", … where the file has none."""
    table: Any
    """pyarrow.Table of strings, the columns in the file's order."""
    sep: str
    line: Callable[[int], int]
    """Number of the line at which a row begins."""


def read(
    name: str, content: bytes, *, separators: str, encoding: str | None, header: bool
) -> Cells:
    """Cells of a text file, cut by that one of the separators which fits.

    Columns with neither a name nor a cell are left out: some programs end each line by a separator.

    Raises
    ------
    ValueError
        If it is no such text; the message says in which line.
    """
    content = _utf8(name, content, encoding)
    if not content.strip():
        raise ValueError(f"{name}: empty file; a header line with column names is needed.")
    sep = _separator(content, separators)
    _refuse_open_quote(name, content, sep)
    n_columns = len(_cut(next(_records(content, sep)).text, sep))
    table = _parsed(name, content, sep, n_columns, header)
    names = [str(j + 1) for j in range(n_columns)]
    if header:
        titles = [column[0].as_py().strip() for column in table.columns]
        table = table.slice(1)
        names = [title or f"column {j + 1}" for j, title in enumerate(titles)]
        kept = [j for j in range(n_columns) if titles[j] or not _is_empty(table.column(j))]
        table, names = table.select(kept), [names[j] for j in kept]
    if not table.num_rows:
        raise ValueError(f"{name}: no rows below the header.")

    def line(row: int) -> int:
        return _nth(content, sep, row + header).line

    return Cells(names, table, sep, line)


def is_separator(sep: Any) -> bool:
    """Whether a text can separate cells."""
    return isinstance(sep, str) and len(sep) == 1 and sep.isascii() and sep not in '"\r\n\0'


def _is_empty(column: Any) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.equal(column, "")).as_py())


def decimal_sign(name: str, columns: dict[str, Any]) -> str:
    """The decimal sign of a file whose separator is not the comma.

    Raises
    ------
    ValueError
        If no column tells whether 1,234 is 1.234 or 1234.
    """
    found = {label: has_decimal_commas(column) for label, column in columns.items()}
    commas = found.values()
    if None in commas and True not in commas:
        column = next(label for label in found if found[label] is None)
        raise ValueError(
            f"{name}: column {column!r} has numbers such as 1,234, which may mean 1.234 or 1234; "
            "say decimal=',' for the first, or write them without commas."
        )
    return "," if True in commas else "."


def _utf8(name: str, content: bytes, encoding: str | None) -> bytes:
    """The text in UTF-8, without a byte order mark."""
    hint = "name another encoding"
    if encoding is None:
        encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8"
        hint = "name its encoding (--encoding of the command line), such as latin-1 or cp1252"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = _line_at(content, error.start)
        raise ValueError(
            f"{name}: cannot be read as {encoding} text, line {line} ({error.reason}); {hint}."
        ) from None
    except (LookupError, UnicodeError, TypeError) as error:
        raise ValueError(
            f"encoding must be one that Python knows, such as utf-8, latin-1 or utf-16: {error}."
        ) from None
    if encoding != "utf-8" or text.startswith("\ufeff"):
        content = text.removeprefix("\ufeff").encode()
    place = content.find(b"\0")
    if place >= 0:
        raise ValueError(
            f"{name}: not text, for there is a NUL character in line {_line_at(content, place)}; "
            "if it is UTF-16, name the encoding utf-16-le."
        )
    for kind, pattern in _OTHER_TEXT.items():
        if re.match(pattern, content, re.IGNORECASE):
            raise ValueError(f"{name}: not a table, but {kind}.")
    return content


def _line_at(content: bytes, place: int) -> int:
    return len(re.findall(_LINE_END, content[:place])) + 1


class _Record(NamedTuple):
    line: int
    text: bytes


def _patterns(sep: str) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """A cell and a row; a quote matters at the start of a cell alone."""
    separator = re.escape(sep.encode())
    rest = rb"[^%b\r\n]*" % separator
    cell = rb'(?:"[^"]*(?:""[^"]*)*(?:"%b|\Z)|(?!")%b)' % (rest, rest)
    return re.compile(cell), re.compile(rb"%b(?:%b%b)*" % (cell, separator, cell))


def _records(content: bytes, sep: str) -> Iterator[_Record]:
    """Rows with the lines at which they begin, blank lines left out."""
    _, row = _patterns(sep)
    end = re.compile(_LINE_END)
    place, line = 0, 1
    while place < len(content):
        found = row.match(content, place)
        assert found is not None
        if not _is_blank(found[0], sep):
            yield _Record(line, found[0])
        line += len(end.findall(found[0])) + 1
        after = end.match(content, found.end())
        place = after.end() if after else len(content)


def _is_blank(line: bytes, sep: str) -> bool:
    return not line.strip(b" \t\v\f".replace(sep.encode(), b""))


def _nth(content: bytes, sep: str, n: int) -> _Record:
    return next(itertools.islice(_records(content, sep), n, None))


def _cut(record: bytes, sep: str) -> list[bytes]:
    """Cells of a row, with their quotes."""
    cell, _ = _patterns(sep)
    cells: list[bytes] = []
    place = 0
    while place <= len(record):
        found = cell.match(record, place)
        assert found is not None
        cells.append(found[0])
        place = found.end() + 1
    return cells


def _separator(content: bytes, separators: str) -> str:
    """The separator that cuts the first rows into equally many cells.

    If several do, it is the one with the most numbers among the cells, then the one with the most
    cells: rows such as ``1,5;2,5`` and ``1,2,"a;b"`` fall into two parts by either sign.
    """
    fits, in_header = {}, {}
    for sep in separators:
        records = itertools.islice(_records(content, sep), 50)
        rows = [_cut(record.text, sep) for record in records]
        n = in_header[sep] = len(rows[0])
        if n > 1 and all(len(row) == n for row in rows):
            cells = list(itertools.chain(*rows))
            has_stray_quotes = any(b'"' in cell and cell[:1] != b'"' for cell in cells)
            fits[sep] = (not has_stray_quotes, _share_of_numbers(cells, sep), n)
    if fits:
        return max(fits, key=fits.__getitem__)
    return max(reversed(separators), key=in_header.__getitem__)


def _share_of_numbers(cells: list[bytes], sep: str) -> float:
    texts = [cell.decode().strip('"') for cell in cells]
    if sep != ",":
        texts = [text.replace(",", ".") for text in texts]
    return sum(map(is_number, texts)) / len(texts)


def _refuse_open_quote(name: str, content: bytes, sep: str) -> None:
    if content.count(b'"') % 2 == 0:
        return
    (last,) = deque(_records(content, sep), 1)
    for cell in _cut(last.text, sep):
        if re.fullmatch(rb'"[^"]*(?:""[^"]*)*', cell):
            raise ValueError(f"{name}: a quote in line {last.line} is never closed.")


def _parsed(name: str, content: bytes, sep: str, n_columns: int, header: bool) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    names = [str(j) for j in range(n_columns)]
    blank: list[Any] = []
    ragged: list[Any] = []

    def handle(row: Any) -> str:
        is_blank = _is_blank(row.text.encode(), sep)
        (blank if is_blank else ragged).append(row)
        return "skip" if is_blank else "error"

    try:
        table = csv.read_csv(
            pa.BufferReader(content),
            # In one block, for a row must not be longer than a block, and on one thread, for only
            # then is a ragged row's number known.
            csv.ReadOptions(
                use_threads=False, block_size=min(len(content), 2**30), column_names=names
            ),
            csv.ParseOptions(delimiter=sep, newlines_in_values=True, invalid_row_handler=handle),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if not ragged:
            raise ValueError(f"{name}: cannot be read as text with {sep!r}: {error}.") from None
        row = ragged[0]
        line = _nth(content, sep, row.number - 1 - len(blank)).line
        fields = "1 field" if row.actual_columns == 1 else f"{row.actual_columns} fields"
        first = "header" if header else "first row"
        raise ValueError(
            f"{name}: line {line} has {fields}, the {first} has {n_columns}."
        ) from None
    if n_columns == 1:  # where a line of spaces is a row to pyarrow
        cells = table.column(0)
        table = table.filter(pc.invert(pc.match_substring_regex(cells, r"\A\s+\z")))
    return table.combine_chunks()
